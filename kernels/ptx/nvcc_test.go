package ptx

import (
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// The kernels of testdata/nvcc are compiled by NVRTC, which is nvcc's compiler:
//
//	reduce      12.4.127  --gpu-architecture=compute_90 -lineinfo -fmad=false
//	sort        11.8.89   --gpu-architecture=compute_80 -lineinfo
//	ints        11.8.89   --gpu-architecture=compute_80 -lineinfo -fmad=false
//	paged       12.4.127  --gpu-architecture=compute_80 -lineinfo
//	misc        12.4.127  --gpu-architecture=compute_90 -lineinfo
//	half        12.4.127  --gpu-architecture=compute_80 -lineinfo
//
// Only the folders in .file are cut off.

// nvccCase is a launch of one of their kernels.
type nvccCase struct {
	file, entry string
	grid, block device.Dim
	shared      int
	args        []any  // a number is a device.Arg, an array an nvccBuffer, its address an nvccAddress
	approx      bool   // it needs to be allowed
	fails       string // what the error says
}

// nvccBuffer is an array: what it holds before, or nil for nothing; and what it has
// to hold after, or nil for anything.
type nvccBuffer struct {
	in, want any
	rtol     float64 // of floats
}

// nvccAddress is an array that holds the address of an earlier argument. The kernel
// does not get the earlier one.
type nvccAddress int

func reads(in any) nvccBuffer             { return nvccBuffer{in: in} }
func writes(want any) nvccBuffer          { return nvccBuffer{want: want} }
func changes(in, want any) nvccBuffer     { return nvccBuffer{in: in, want: want} }
func near(want any, r float64) nvccBuffer { return nvccBuffer{want: want, rtol: r} }
func extent(n ...int) device.Dim          { n = append(n, 1, 1); return device.Dim{X: n[0], Y: n[1], Z: n[2]} }
func sequence[T any](n int, f func(int) T) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = f(i)
	}
	return s
}

// TestNVCC runs what NVIDIA's compiler writes under all checks, and in several
// orders, and compares with Go.
func TestNVCC(t *testing.T) {
	for _, c := range nvccCases() {
		t.Run(c.entry, func(t *testing.T) {
			text, err := os.ReadFile("testdata/nvcc/" + c.file + ".ptx")
			if err != nil {
				t.Fatal(err)
			}
			m, err := New(Options{}).Load(c.file, text)
			if err == nil {
				_, err = m.Kernel(c.entry)
			}
			if (err != nil) != c.approx {
				t.Errorf("without approximation: %v", err)
			}
			for _, seed := range []uint64{0, 1, 7} {
				opt := Options{Checks: AllChecks(), Shuffle: seed, AllowApprox: c.approx, Budget: 1 << 24}
				err := c.run(text, opt)
				if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
					t.Errorf("seed %d: %v, want %q", seed, err, c.fails)
				}
			}
		})
	}
}

func (c *nvccCase) run(text []byte, opt Options) error {
	dev := New(opt)
	m, err := dev.Load(c.file+".ptx", text)
	if err != nil {
		return err
	}
	k, err := m.Kernel(c.entry)
	if err != nil {
		return err
	}
	var args []device.Arg
	at := make([]device.Ptr, len(c.args))
	buffer := func(i int, b nvccBuffer) error {
		size := int64(max(binary.Size(b.in), binary.Size(b.want)))
		if at[i], err = dev.Alloc(fmt.Sprint("argument ", i), size); err != nil || b.in == nil {
			return err
		}
		raw, err := binary.Append(nil, binary.LittleEndian, b.in)
		if err != nil {
			return err
		}
		return dev.Write(at[i], raw)
	}
	hidden := map[int]bool{}
	for i, a := range c.args {
		switch a := a.(type) {
		case nvccBuffer:
			err = buffer(i, a)
		case nvccAddress:
			hidden[int(a)] = true
			err = buffer(i, reads([]uint64{uint64(at[a])}))
		}
		if err != nil {
			return err
		}
	}
	for i, a := range c.args {
		if n, ok := a.(device.Arg); ok {
			args = append(args, n)
		} else if !hidden[i] {
			args = append(args, device.Pointer(at[i]))
		}
	}
	if err := k.Launch(c.grid, c.block, c.shared, args...); err != nil {
		return err
	}
	for i, a := range c.args {
		b, ok := a.(nvccBuffer)
		if !ok || b.want == nil {
			continue
		}
		raw := make([]byte, binary.Size(b.want))
		if err := dev.Read(raw, at[i]); err != nil {
			return err
		}
		if err := b.compare(raw); err != nil {
			return fmt.Errorf("argument %d: %w", i, err)
		}
	}
	return nil
}

// compare returns the first difference between what is wanted and what was read.
func (b *nvccBuffer) compare(raw []byte) error {
	want := reflect.ValueOf(b.want)
	got := reflect.MakeSlice(want.Type(), want.Len(), want.Len())
	if _, err := binary.Decode(raw, binary.LittleEndian, got.Interface()); err != nil {
		return err
	}
	for i := range want.Len() {
		g, w := got.Index(i), want.Index(i)
		if g.Equal(w) {
			continue
		}
		if b.rtol > 0 {
			if d := g.Float() - w.Float(); max(d, -d) <= b.rtol*max(0.01, w.Float(), -w.Float()) {
				continue
			}
		}
		return fmt.Errorf("[%d] is %v, want %v", i, g, w)
	}
	return nil
}
