package conform_test

import (
	"fmt"

	"kvcompress/kernels/conform"
	"kvcompress/kernels/ptx"
)

// Test one form of an instruction on a device, here the PTX machine.
func ExampleRun() {
	var forms []*conform.Op
	for _, o := range conform.Ops() {
		if o.Name == "fma.rn.f32" {
			forms = append(forms, o)
		}
	}
	dev := ptx.New(ptx.Options{})
	defer dev.Close()
	r, err := conform.Run(dev, forms)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Ops, "form,", r.Values, "values,", r.Failed, "wrong")
	// Output:
	// 1 form, 925 values, 0 wrong
}
