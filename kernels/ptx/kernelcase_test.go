package ptx

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// kernelCase is a launch of a kernel of testdata, and its expected results.
type kernelCase struct {
	file, entry string // file: a path in testdata, without .ptx
	grid, block device.Dim
	shared      int
	args        []any // a number is a device.Arg, an array a caseBuffer, its address a caseAddress
	cooperative bool
	approx      bool   // approximate instructions must be allowed
	fails       string // expected error
}

// caseBuffer is an array with its initial contents, nil for undefined, and its expected contents, nil for
// any.
type caseBuffer struct {
	in, want any
	rtol     float64 // relative tolerance of floats
}

// caseAddress is an array with the address of an earlier argument, which is not itself passed to the kernel.
type caseAddress int

func reads(in any) caseBuffer             { return caseBuffer{in: in} }
func writes(want any) caseBuffer          { return caseBuffer{want: want} }
func changes(in, want any) caseBuffer     { return caseBuffer{in: in, want: want} }
func near(want any, r float64) caseBuffer { return caseBuffer{want: want, rtol: r} }
func extent(n ...int) device.Dim          { n = append(n, 1, 1); return device.Dim{X: n[0], Y: n[1], Z: n[2]} }
func sequence[T any](n int, f func(int) T) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = f(i)
	}
	return s
}

// test runs the case under all checks, in several orders.
func (c *kernelCase) test(t *testing.T) {
	text, err := c.text()
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Options{Cache: &parsed}).Load(c.file, text)
	if err == nil {
		_, err = m.Kernel(c.entry)
	}
	if (err != nil) != c.approx {
		t.Errorf("without approximation: %v", err)
	}
	for _, seed := range []uint64{0, 1, 7} {
		err := c.run(Options{Checks: AllChecks(), Shuffle: seed, AllowApprox: c.approx, Budget: 1 << 24})
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("seed %d: %v, want %q", seed, err, c.fails)
		}
	}
}

// text reads the file.
func (c *kernelCase) text() ([]byte, error) { return os.ReadFile("testdata/" + c.file + ".ptx") }

// loadedCase is a case on a device, with its arguments.
type loadedCase struct {
	*kernelCase
	dev    *Device
	kernel device.Kernel
	values []device.Arg
	at     []device.Ptr // of the arguments that are arrays
}

// load loads the kernel and writes its arguments.
func (c *kernelCase) load(dev *Device) (*loadedCase, error) {
	text, err := c.text()
	if err != nil {
		return nil, err
	}
	m, err := dev.Load(c.file+".ptx", text)
	if err != nil {
		return nil, err
	}
	l := &loadedCase{kernelCase: c, dev: dev, at: make([]device.Ptr, len(c.args))}
	if l.kernel, err = m.Kernel(c.entry); err != nil {
		return nil, err
	}
	if c.cooperative {
		l.kernel = l.kernel.(device.CooperativeKernel).Cooperative()
	}
	buffer := func(i int, b caseBuffer) error {
		size := int64(max(binary.Size(b.in), binary.Size(b.want)))
		if l.at[i], err = dev.Alloc(fmt.Sprint("argument ", i), size); err != nil || b.in == nil {
			return err
		}
		raw, err := binary.Append(nil, binary.LittleEndian, b.in)
		if err != nil {
			return err
		}
		return dev.Write(l.at[i], raw)
	}
	hidden := map[int]bool{}
	for i, a := range c.args {
		switch a := a.(type) {
		case caseBuffer:
			err = buffer(i, a)
		case caseAddress:
			hidden[int(a)] = true
			err = buffer(i, reads([]uint64{uint64(l.at[a])}))
		}
		if err != nil {
			return nil, err
		}
	}
	for i, a := range c.args {
		if n, ok := a.(device.Arg); ok {
			l.values = append(l.values, n)
		} else if !hidden[i] {
			l.values = append(l.values, device.Pointer(l.at[i]))
		}
	}
	return l, nil
}

func (l *loadedCase) launch() error {
	return l.kernel.Launch(context.Background(), l.grid, l.block, l.shared, l.values...)
}

// run launches the kernel once and compares.
func (c *kernelCase) run(opt Options) error {
	opt.Cache = &parsed
	l, err := c.load(New(opt))
	if err != nil {
		return err
	}
	if err := l.launch(); err != nil {
		return err
	}
	for i, a := range c.args {
		b, ok := a.(caseBuffer)
		if !ok || b.want == nil {
			continue
		}
		raw := make([]byte, binary.Size(b.want))
		if err := l.dev.Read(raw, l.at[i]); err != nil {
			return err
		}
		if err := b.compare(raw); err != nil {
			return fmt.Errorf("argument %d: %w", i, err)
		}
	}
	return nil
}

// compare returns the first difference between expected and actual contents.
func (b *caseBuffer) compare(raw []byte) error {
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
