package devices

import (
	"strings"
	"testing"

	"kvcompress/kernels/cuda"
	"kvcompress/kernels/ptx"
)

func TestOpen(t *testing.T) {
	gpu, err := cuda.Open(0)
	if err == nil {
		if err := gpu.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		cpu, gpu bool // whether it may be
	}{
		{PTX, true, false},
		{CUDA, false, true},
		{Auto, err != nil, true},
		{"", false, false},
		{"tpu", false, false},
	} {
		dev, failed := Open(c.name, ptx.Options{})
		if failed != nil {
			if c.cpu || c.gpu && err == nil {
				t.Errorf("%s: %v", c.name, failed)
			}
			continue
		}
		onCPU := strings.HasPrefix(dev.Name(), "PTX on the CPU")
		if onCPU && !c.cpu || !onCPU && !c.gpu {
			t.Errorf("%s: %s", c.name, dev.Name())
		}
		if err := dev.Close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
