//go:build cuda

package cuda

import (
	"fmt"
	"slices"
	"testing"

	"gorgonia.org/cu"

	"kvcompress/kernels/conform"
)

// TestConformance compares the GPU with the same tables as the PTX machine. A failure here means that the PTX
// machine, or a table, may be wrong. Forms that need a later architecture are left out.
func TestConformance(t *testing.T) {
	dev := open(t)
	gpu, err := cu.GetDevice(0)
	if err != nil {
		t.Fatal(err)
	}
	major, minor, err := gpu.ComputeCapability()
	if err != nil {
		t.Fatal(err)
	}
	ops := conform.Ops()
	all := len(ops)
	ops = slices.DeleteFunc(ops, func(o *conform.Op) bool {
		var needs int
		if _, err := fmt.Sscanf(o.Target, "sm_%d", &needs); err != nil {
			t.Fatalf("%s: target %s", o.Name, o.Target)
		}
		return needs > 10*major+minor
	})
	res, err := conform.Run(dev, ops)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.Failures {
		t.Error(f)
	}
	t.Logf("%s: %d of %d forms, %d rows, %d values; %d forms failed", dev.Name(), res.Ops, all, res.Rows, res.Values, res.Failed)
}
