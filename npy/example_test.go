package npy_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log"

	"kvcompress/npy"
)

// An array of float32 is its header, then its elements in little-endian order.
func Example() {
	file, err := npy.AppendHeader(nil, npy.Header{Type: "<f4", Shape: []int64{2, 3}})
	if err != nil {
		log.Fatal(err)
	}
	elements := []float32{1, 2, 3, 4, 5, 6}
	if file, err = binary.Append(file, binary.LittleEndian, elements); err != nil {
		log.Fatal(err)
	}

	r := bytes.NewReader(file)
	h, err := npy.ReadHeader(r)
	if err != nil {
		log.Fatal(err)
	}
	n, ok := h.Count()
	if !ok || n != int64(r.Len())/4 { // checked before memory is allocated for the array
		log.Fatal("the file does not hold the array that its header describes")
	}
	got := make([]float32, n)
	if err := binary.Read(r, binary.LittleEndian, got); err != nil {
		log.Fatal(err)
	}
	fmt.Println(h.Type, h.Shape, got)
	// Output:
	// <f4 [2 3] [1 2 3 4 5 6]
}
