package invoke

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/npy"
	"kvcompress/safetensors"
)

// goDevice is a device whose kernels are Go functions: memory is a map of
// allocations, and a kernel gets the buffers that its arguments point to.
type goDevice struct {
	device.Device // nil: not used here
	mem           map[device.Ptr][]byte
	kernel        func(buffers [][]byte, args []device.Arg) error
}

func (d *goDevice) Alloc(_ string, size int64) (device.Ptr, error) {
	if size > 1<<30 {
		return 0, errors.New("out of memory")
	}
	p := device.Ptr(len(d.mem)+1) << 40
	d.mem[p] = make([]byte, size)
	for i := range d.mem[p] {
		d.mem[p][i] = 0xa5
	}
	return p, nil
}

func (d *goDevice) Free(p device.Ptr) error {
	if d.mem[p] == nil {
		return errors.New("it is not allocated")
	}
	d.mem[p] = nil
	return nil
}

// at returns the memory from an address on.
func (d *goDevice) at(p device.Ptr) []byte { return d.mem[p>>40<<40][p&(1<<40-1):] }

func (d *goDevice) Write(to device.Ptr, from []byte) error { copy(d.at(to), from); return nil }
func (d *goDevice) Read(to []byte, from device.Ptr) error  { copy(to, d.at(from)); return nil }
func (d *goDevice) Fill(p device.Ptr, value byte, n int64) error {
	for i := range n {
		d.at(p)[i] = value
	}
	return nil
}
func (d *goDevice) Time(f func() error) (time.Duration, error) { return time.Second, f() }

func (d *goDevice) Kernel(entry string) (device.Kernel, error) {
	if entry != "f" {
		return nil, errors.New("there is no kernel " + entry)
	}
	return d, nil
}

func (d *goDevice) Launch(_ context.Context, _, _ device.Dim, _ int, args ...device.Arg) error {
	buffers := make([][]byte, len(args))
	for i, a := range args {
		buffers[i] = d.mem[device.Ptr(a)]
	}
	return d.kernel(buffers, args)
}

// run runs a kernel, a Go function, with arguments in words.
func run(t *testing.T, kernel func(buffers [][]byte, args []device.Arg) error, args ...string) (Result, error) {
	t.Helper()
	d := &goDevice{mem: map[device.Ptr][]byte{}, kernel: kernel}
	l := Launch{Module: d, Entry: "f"}
	for _, text := range args {
		a, err := ParseArg(text)
		if err != nil {
			t.Fatal(err)
		}
		l.Args = append(l.Args, a)
	}
	r, err := Run(t.Context(), d, l)
	for _, m := range d.mem {
		if m != nil {
			t.Error("memory was not freed")
		}
	}
	return r, err
}

func floats(v ...float32) []byte {
	raw, _ := binary.Append(nil, binary.LittleEndian, v)
	return raw
}

func writeNPY(t *testing.T, file, typ string, shape []int64, data []byte) {
	t.Helper()
	header, err := npy.AppendHeader(nil, npy.Header{Type: typ, Shape: shape})
	if err == nil {
		err = os.WriteFile(file, append(header, data...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	nan := float32(math.NaN())
	writeNPY(t, "x.npy", "<f4", []int64{2, 2}, floats(1, 2, 3, 4))
	header, err := safetensors.AppendHeader(nil, []safetensors.Info{{Name: "skip", DType: safetensors.U8, Shape: []int64{3}}, {Name: "w", DType: safetensors.BF16, Shape: []int64{2}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("m.safetensors", append(header, 9, 9, 9, 0x80, 0x3f, 0xc0, 0xbf), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := run(t, func(buffers [][]byte, args []device.Arg) error {
		for i, want := range []string{
			string(floats(1, 2, 3, 4)), "\x80\x3f\xc0\xbf", "\xa5\xa5\xa5\xa5\xa5\xa5\xa5\xa5", "\x00\x00\x00", string(floats(1, 2, 3, 4)), "\xa5",
		} {
			if string(buffers[i]) != want {
				t.Errorf("buffer %d holds %q, want %q", i, buffers[i], want)
			}
		}
		if args[6] != 7 {
			t.Errorf("the scalar is %d", args[6])
		}
		copy(buffers[2], floats(nan, float32(math.Inf(-1))))
		copy(buffers[3], "\x01\xff\x00")
		copy(buffers[4], floats(-0.5))
		return nil
	}, "in=x.npy", "in=m.safetensors#w", "out=f32[2]:y.npy", "zeros=i8[3]:z.safetensors#z", "inout=x.npy:x.npy", "tmp=u8[1]", "u32=7")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(r)
	const want = `{"Time":1000000000,"Buffers":[` +
		`{"arg":2,"type":"f32","shape":[2],"file":"y.npy","min":"-Inf","max":"-Inf","nans":1},` +
		`{"arg":3,"type":"i8","shape":[3],"file":"z.safetensors#z","min":-1,"max":1,"nans":0},` +
		`{"arg":4,"type":"f32","shape":[2,2],"file":"x.npy","min":-0.5,"max":4,"nans":0}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	// What was written can be read again.
	if _, err := run(t, func(buffers [][]byte, _ []device.Arg) error {
		if string(buffers[0]) != "\x01\xff\x00" || string(buffers[1]) != string(floats(-0.5, 2, 3, 4)) {
			t.Errorf("%q, %q", buffers[0], buffers[1])
		}
		return nil
	}, "in=z.safetensors#z", "in=x.npy"); err != nil {
		t.Error(err)
	}
}

func TestRunErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	writeNPY(t, "short.npy", "<f4", []int64{4}, floats(1, 2, 3))
	writeNPY(t, "long.npy", "<f4", []int64{2}, floats(1, 2, 3))
	writeNPY(t, "huge.npy", "<f4", []int64{1 << 40, 1 << 40}, floats(1, 2, 3))
	writeNPY(t, "big-endian.npy", ">f4", []int64{1}, floats(1))
	writeNPY(t, "good.npy", "<f4", []int64{1}, floats(1))
	if err := os.WriteFile("text.npy", []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("folder.npy", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ arg, want string }{
		{"in=none.npy", "none.npy: no such file"},
		{"in=folder.npy", "not a regular file"},
		{"in=text.npy", "not a .npy file"},
		{"in=short.npy", "12 bytes, but f32[4] has 16"},
		{"in=long.npy", "its header is followed by 12 bytes"},
		{"in=huge.npy", "too large"},
		{"in=big-endian.npy", `type ">f4"`},
		{"in=good.npy#", "neither"},
		{"out=f32[1073741824]:y.npy", "out of memory"},
		{"out=f32[1]:nowhere/y.npy", "nowhere/y.npy: the folder nowhere does not exist"},
		{"zeros=f32[1]:folder.npy", "folder.npy"},
	} {
		a, err := ParseArg(c.arg)
		if err == nil {
			_, err = run(t, func([][]byte, []device.Arg) error { return nil }, a.String())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.arg) {
			t.Errorf("%s: %v; want %q", c.arg, err, c.want)
		}
	}
	fault := errors.New("a fault")
	if _, err := run(t, func([][]byte, []device.Arg) error { return fault }, "in=good.npy", "zeros=f32[1]:y.npy"); !errors.Is(err, fault) {
		t.Errorf("%v", err)
	}
	// The second file cannot be created, so the first one is not written either.
	for _, second := range []string{"out=u8[1]:nowhere/z.npy", "zeros=u8[1]:./y.npy", "zeros=u8[1]:y.safetensors#b"} {
		first := "zeros=f32[1]:y.npy"
		if strings.HasSuffix(second, "#b") {
			first = "zeros=f32[1]:y.safetensors#a"
		}
		if _, err := run(t, func([][]byte, []device.Arg) error { return nil }, first, second); err == nil || !strings.Contains(err.Error(), second) {
			t.Errorf("%s: %v", second, err)
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil || len(entries) != 7 {
		t.Errorf("something is left behind: %v, %v", entries, err)
	}
}

func TestRunCanceled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	dev := ptx.New(ptx.Options{})
	m, err := dev.Load("endless.ptx", []byte(".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry f() { L: bar.sync 0; bra L; }"))
	if err != nil {
		t.Fatal(err)
	}
	one := device.Dim{X: 1, Y: 1, Z: 1}
	if _, err := Run(ctx, dev, Launch{Module: m, Entry: "f", Grid: one, Block: one}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
