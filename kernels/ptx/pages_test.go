package ptx

import (
	"context"
	"errors"
	"os"
	"testing"

	"kvcompress/kernels/device"
)

// TestPages runs kernels compiled by clang that load undefined bytes without using them: nothing is
// reported. With an argument that is one token or value more than was written, the use is reported.
func TestPages(t *testing.T) {
	text, err := os.ReadFile("testdata/checks/pages.ptx")
	if err != nil {
		t.Fatal(err)
	}
	// run launches a kernel with one block on two undefined buffers and the arguments of fill, and reads n
	// bytes of the first.
	run := func(name string, threads, n int, fill func(dev *Device, from, more device.Ptr) error, last ...device.Arg) *Report {
		dev := New(Options{Checks: AllChecks()})
		m, err := dev.Load("pages.ptx", text)
		if err != nil {
			t.Fatal(err)
		}
		k, err := m.Kernel(name)
		if err != nil {
			t.Fatal(err)
		}
		var p [3]device.Ptr
		for i, what := range []string{"out", "from", "more"} {
			if p[i], err = dev.Alloc(what, 4096); err != nil {
				t.Fatal(err)
			}
		}
		if err := fill(dev, p[1], p[2]); err != nil {
			t.Fatal(err)
		}
		args := []device.Arg{device.Pointer(p[0]), device.Pointer(p[1])}
		if name == "attend" {
			args = append(args, device.Pointer(p[2]), device.Pointer(p[2]+2048))
		}
		one := device.Dim{X: 1, Y: 1, Z: 1}
		err = k.Launch(context.Background(), one, device.Dim{X: threads, Y: 1, Z: 1}, 0, append(args, last...)...)
		if err == nil {
			err = dev.Read(make([]byte, n), p[0])
		}
		var r *Report
		if err != nil && !errors.As(err, &r) {
			t.Fatal(err)
		}
		return r
	}
	judge := func(what string, n, missing int, r *Report) {
		t.Helper()
		if missing == 0 && r != nil || missing > 0 && (r == nil || r.Kind != Uninitialized) {
			t.Errorf("%s of %d, %d of them not written: %v", what, n, missing, r)
		}
	}
	for missing := range 2 {
		for _, context := range []int{1, 7, 8, 9, 13, 16, 20, 31, 32} {
			judge("attention", context, missing, run("attend", 32, 32, func(dev *Device, keys, values device.Ptr) error {
				err := dev.Fill(values+2048, 0, 64) // the query
				for token := range context - missing {
					err = errors.Join(err, dev.Fill(keys+device.Ptr(32*token), 1, 32))
					for d := range 16 {
						at := token/16*512 + d*32 + token%16*2
						err = errors.Join(err, dev.Fill(values+device.Ptr(at), 2, 2))
					}
				}
				return err
			}, device.U32(uint32(context))))
		}
		for _, n := range []int{1, 31, 32, 33, 70, 96} {
			judge("a sum", n, missing, run("sum", (n+31)&^31, 4, func(dev *Device, in, _ device.Ptr) error {
				return dev.Fill(in, 0, int64(4*(n-missing)))
			}, device.U32(uint32(n))))
		}
		judge("a copy, and a read of what is written,", 100, missing, run("copy_pages", 32, 200+missing, func(dev *Device, from, _ device.Ptr) error {
			return dev.Fill(from, 0, 200)
		}))
	}
}
