package dtype_test

import (
	"fmt"
	"log"

	"kvcompress/dtype"
)

// The same numbers as a cache of each format holds them.
func Example() {
	for _, name := range []string{"f16", "bf16", "fp8_e4m3", "fp8_e5m2"} {
		t, err := dtype.Parse(name)
		if err != nil {
			log.Fatal(err)
		}
		x := []float32{0.1, 3.14159, 1000}
		bytes := make([]byte, len(x)*t.Size())
		t.Encode(bytes, x)
		t.Decode(x, bytes)
		fmt.Println(t, x, "largest:", t.Max())
	}
	// Output:
	// f16 [0.099975586 3.140625 1000] largest: 65504
	// bf16 [0.100097656 3.140625 1000] largest: 3.3895314e+38
	// fp8_e4m3 [0.1015625 3.25 448] largest: 448
	// fp8_e5m2 [0.09375 3 1024] largest: 57344
}
