package safetensors_test

import (
	"bytes"
	"fmt"
	"log"

	"kvcompress/safetensors"
)

// A file is a header that describes its tensors, and their bytes in the same order.
func Example() {
	data, err := safetensors.AppendHeader(nil, []safetensors.Info{
		{Name: "tokens", DType: safetensors.U8, Shape: []int64{2, 2}},
		{Name: "mask", DType: safetensors.Bool, Shape: []int64{3}},
	}, 0)
	if err != nil {
		log.Fatal(err)
	}
	data = append(data, 5, 6, 7, 8, 1, 0, 1)

	f, err := safetensors.Open(bytes.NewReader(data), int64(len(data)), "example.safetensors")
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range f.Names() {
		t, _ := f.Tensor(name)
		fmt.Println(name, t.DType, t.Shape, t.Bytes(), "bytes")
	}
	row := make([]byte, 2)
	if err := f.ReadBytes(row, "tokens", 2); err != nil { // from byte 2 of the tensor
		log.Fatal(err)
	}
	fmt.Println(row)

	// A file that ends before its tensors do is refused.
	_, err = safetensors.Open(bytes.NewReader(data[:len(data)-1]), int64(len(data)-1), "short.safetensors")
	fmt.Println(err)
	// Output:
	// tokens U8 [2 2] 4 bytes
	// mask BOOL [3] 3 bytes
	// [7 8]
	// safetensors: short.safetensors: tensor "mask": truncated: it ends at byte 135, and the file at 134
}
