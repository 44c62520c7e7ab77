package ptx_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/conform"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

// TestUndefined checks which results are marked as undefined: the forms of the instructions run with some
// undefined operand bytes, and again with other values in these bytes. A result byte that differs must be
// marked.
func TestUndefined(t *testing.T) {
	seeds, every := testsize.Of[uint64](1, 1, 4), testsize.Of(8, 2, 1)
	all, undefined, reported := 0, 0, 0
	for i, o := range conform.Ops() {
		if i%every != 0 {
			continue
		}
		rows := o.Rows()
		if n := 256; len(rows) > n && o.Alone() {
			rows = rows[:n]
		}
		for seed := range seeds {
			dev := &forgetful{Device: ptx.New(ptx.Options{Checks: ptx.Checks{Uninit: true, Registers: true}}), rng: rand.New(rand.NewPCG(seed, 1))}
			if fails, err := o.Try(dev, rows); err != nil {
				t.Fatal(err)
			} else if dev.launches == 0 {
				t.Fatalf("%s: %v", o.Name, fails)
			}
			if dev.differs >= 0 {
				t.Errorf("%s, seed %d: byte %d of the results is said to be defined and differs", o.Name, seed, dev.differs)
			}
			all += dev.bytes
			undefined += dev.undefined
			if dev.reported {
				reported++
			}
		}
	}
	t.Logf("%d bytes, %d of them undefined; %d runs ended with a report", all, undefined, reported)
	if undefined == 0 || undefined == all || reported == 0 {
		t.Error("the operands are of one kind")
	}
}

// forgetful is a device that makes some bytes of a conformance kernel's operands undefined before its launch.
type forgetful struct {
	*ptx.Device
	rng              *rand.Rand
	launches         int
	bytes, undefined int // of results
	differs          int // index of a result byte that differs; -1 if none does
	reported         bool
}

func (f *forgetful) Load(name string, text []byte) (device.Module, error) {
	m, err := f.Device.Load(name, text)
	return forgetfulModule{m, f}, err
}

type forgetfulModule struct {
	device.Module
	f *forgetful
}

func (m forgetfulModule) Kernel(name string) (device.Kernel, error) {
	k, err := m.Module.Kernel(name)
	return forgetfulKernel{k, m.f}, err
}

type forgetfulKernel struct {
	device.Kernel
	f *forgetful
}

func (k forgetfulKernel) Launch(ctx context.Context, grid, block device.Dim, shared int, args ...device.Arg) error {
	f := k.f
	f.launches++
	f.differs = -1
	in, out := device.Ptr(args[0]), device.Ptr(args[1])
	operands := f.Bytes(in, f.Extent(in))
	before := f.Bytes(out, f.Extent(out))
	var forgotten []int
	few := 2 + f.rng.IntN(30)
	for i := range operands {
		if f.rng.IntN(few) == 0 {
			forgotten = append(forgotten, i)
			f.Forget(in + device.Ptr(i))
		}
	}
	err := k.Kernel.Launch(ctx, grid, block, shared, args...)
	var r *ptx.Report
	if errors.As(err, &r) && (r.Kind == ptx.Uninitialized || r.Kind == ptx.UninitRegister) {
		f.reported = true
		return nil
	} else if err != nil {
		return err
	}
	first := f.Bytes(out, len(before))
	defined := make([]bool, len(first))
	for i := range defined {
		defined[i] = f.Defined(out + device.Ptr(i))
		f.bytes++
		if !defined[i] {
			f.undefined++
		}
	}
	for range 3 {
		for _, i := range forgotten {
			operands[i] = byte(f.rng.Uint32())
		}
		if err := errors.Join(f.Write(in, operands), f.Write(out, before)); err != nil {
			return err
		}
		if err := k.Kernel.Launch(ctx, grid, block, shared, args...); err != nil {
			if errors.As(err, &r) { // a refused operand, which does not matter here
				return nil
			}
			return err
		}
		for i, b := range f.Bytes(out, len(before)) {
			if defined[i] && b != first[i] && f.differs < 0 {
				f.differs = i
			}
		}
	}
	return nil
}
