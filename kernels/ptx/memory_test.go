package ptx

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

var oneThread = device.Dim{X: 1, Y: 1, Z: 1}

// TestMemory covers the host's operations on global memory.
func TestMemory(t *testing.T) {
	dev := New(Options{Checks: AllChecks(), MemoryLimit: 8 << 30})
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	a, err := dev.Alloc("a", 1000)
	ok(err)
	b, err := dev.Alloc("b", 1000)
	ok(err)
	if a%256 != 0 || b%256 != 0 || b < a+1000+256 {
		t.Errorf("allocations at %#x and %#x", a, b)
	}
	text := []byte("to be copied")
	ok(dev.Fill(a, 7, 1000))
	ok(dev.Write(a+100, text))
	ok(dev.Copy(b+5, a+100, int64(len(text))))
	ok(dev.Copy(a+102, a+100, int64(len(text)))) // overlapping ranges
	got := make([]byte, len(text))
	ok(dev.Read(got, b+5))
	if !bytes.Equal(got, text) {
		t.Errorf("copied %q", got)
	}
	ok(dev.Read(got, a+102))
	if !bytes.Equal(got, text) {
		t.Errorf("copied over itself: %q", got)
	}
	ok(dev.Write(b+200, text)) // the bytes around it stay undefined
	ok(dev.Copy(b+195, b+200, int64(len(text))+5))
	ok(dev.Copy(b+300, b+195, int64(len(text))))
	ok(dev.Read(got, b+300))
	if !bytes.Equal(got, text) {
		t.Errorf("copied over itself, downwards: %q", got)
	}
	ok(dev.Copy(b+400, b+200, 2*int64(len(text))))
	ok(dev.Copy(b+405, b+400, 2*int64(len(text))))
	refused(dev.Read(make([]byte, 20), b+405), "nothing has written byte")
	ok(dev.Write(a+1000, nil)) // zero bytes, at the end
	refused(dev.Read(got, b), "nothing has written byte 0")
	refused(dev.Write(a+995, text), `7 bytes past the end of "a" (1000 bytes)`)
	refused(dev.Read(got, a-1), `1 bytes before "a"`)
	refused(dev.Fill(0, 0, 1), "before")
	refused(dev.Copy(a, b, -1), "-1 bytes")
	refused(dev.Free(a+8), "not the start of an allocation")
	ok(dev.Free(a))
	refused(dev.Free(a), `"a" was freed before`)
	refused(dev.Read(got, a), "which was freed")

	// Untouched pages take no memory.
	big, err := dev.Alloc("big", 5<<30)
	ok(err)
	ok(dev.Write(big+5<<30-4, []byte{1, 2, 3, 4}))
	_, err = dev.Alloc("more", 4<<30)
	refused(err, "out of memory")
	_, err = dev.Alloc("negative", -1)
	refused(err, "-1 bytes")

	refused(dev.Close(), "never freed")
	refused(dev.Sync(), "closed")
	ok(dev.Close())
}

// TestClosed uses a device after it is closed.
func TestClosed(t *testing.T) {
	dev := New(Options{})
	m, err := dev.Load("x.ptx", []byte(".version 7.8\n.target sm_80\n.visible .entry k() { ret; }"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := m.Kernel("k")
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if err := k.Launch(context.Background(), oneThread, oneThread, 0); err != errClosed {
		t.Errorf("Launch: %v", err)
	}
	if _, err := m.Kernel("k"); err != errClosed {
		t.Errorf("Kernel: %v", err)
	}
}

// TestRefusedModule checks that a module that cannot be loaded leaves nothing allocated.
func TestRefusedModule(t *testing.T) {
	dev := New(Options{Checks: AllChecks(), MemoryLimit: 1 << 20})
	for range 3 {
		_, err := dev.Load("x.ptx", []byte(".version 7.8\n.target sm_80\n.global .b8 x[600000];\n.const .b8 c[65537];"))
		if err == nil || !strings.Contains(err.Error(), "constant memory of more than") {
			t.Error(err)
		}
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

// TestFreedShadow checks that freed memory's shadow is freed too.
func TestFreedShadow(t *testing.T) {
	dev := New(Options{Checks: AllChecks()})
	p, err := dev.Alloc("x", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Free(p); err != nil {
		t.Fatal(err)
	}
	if dev.mem.freed[0].shadow != nil {
		t.Error("the shadow of freed memory is kept")
	}
}

// TestLaunchArguments refuses what a GPU refuses.
func TestLaunchArguments(t *testing.T) {
	dev := New(Options{})
	m, err := dev.Load("x.ptx", []byte(`.version 7.8
.target sm_80
.visible .entry k(.param .u32 n, .param .u64 p) { ret; }
.visible .entry fixed() .reqntid 64 { ret; }
.visible .entry limited() .maxntid 64 { ret; }
.visible .entry large(.param .align 8 .b8 s[16]) { ret; }
`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Kernel("nothing"); err == nil || !strings.Contains(err.Error(), `no entry "nothing"`) {
		t.Errorf("error %v", err)
	}
	one := device.Dim{X: 1, Y: 1, Z: 1}
	n, p := device.U32(3), device.U64(0)
	for _, c := range []struct {
		kernel      string
		grid, block device.Dim
		shared      int
		args        []device.Arg
		want        string // "" for none
	}{
		{"k", one, one, 0, []device.Arg{n, p}, ""},
		{"k", device.Dim{X: 1, Y: 65535, Z: 2}, one, 0, []device.Arg{n, p}, ""},
		{"k", one, device.Dim{X: 16, Y: 1, Z: 64}, 227 << 10, []device.Arg{n, p}, ""},
		{"k", device.Dim{}, one, 0, []device.Arg{n, p}, "grid (0,0,0)"},
		{"k", device.Dim{X: 1, Y: 65536, Z: 1}, one, 0, []device.Arg{n, p}, "grid (1,65536,1)"},
		{"k", one, device.Dim{X: 1, Y: 1, Z: 65}, 0, []device.Arg{n, p}, "block (1,1,65)"},
		{"k", one, device.Dim{X: 1024, Y: 2, Z: 1}, 0, []device.Arg{n, p}, "2048 threads"},
		{"k", one, one, 227<<10 + 1, []device.Arg{n, p}, "shared memory"},
		{"k", one, one, -1, []device.Arg{n, p}, "shared memory"},
		{"k", one, one, 0, []device.Arg{n}, "1 arguments; the kernel has 2 parameters"},
		{"k", one, one, 0, []device.Arg{device.U64(1 << 40), p}, "parameter n has 4 bytes"},
		{"fixed", one, device.Dim{X: 64, Y: 1, Z: 1}, 0, nil, ""},
		{"fixed", one, device.Dim{X: 32, Y: 1, Z: 1}, 0, nil, "requires (64,1,1)"},
		{"limited", one, device.Dim{X: 65, Y: 1, Z: 1}, 0, nil, "allows 64"},
		{"large", one, one, 0, []device.Arg{0}, "16 bytes"},
	} {
		k, err := m.Kernel(c.kernel)
		if err != nil {
			t.Fatal(err)
		}
		err = k.Launch(context.Background(), c.grid, c.block, c.shared, c.args...)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v %v %d %v: error %v, want %q", c.kernel, c.grid, c.block, c.shared, c.args, err, c.want)
		}
	}
}

// TestSpaces accesses every space by its own addresses and by generic ones, with lanes in different spaces.
func TestSpaces(t *testing.T) {
	body := `
	.local .align 8 .b8 own[16];
	.reg .b32 %a<10>;
	mov.u64 %rd1, own;
	st.local.u32 [own+4], %r1;
	cvta.local.u64 %rd1, %rd1;
	mov.u32 %a1, tile;
	mul.lo.u32 %a2, %r1, 4;
	add.u32 %a1, %a1, %a2;
	add.u32 %a3, %r1, 1000;
	st.shared.u32 [%a1], %a3;
	cvt.u64.u32 %rd2, %a1;
	cvta.shared.u64 %rd2, %rd2;
	ld.param.u64 %rd3, [out];
	mul.wide.u32 %rd4, %r1, 4;
	add.s64 %rd3, %rd3, %rd4;
	add.u32 %a3, %r1, 2000;
	st.global.u32 [%rd3], %a3;
	mov.u64 %rd5, %rd3;
	rem.u32 %a4, %r1, 3;
	setp.eq.u32 %p1, %a4, 1;
	@%p1 mov.u64 %rd5, %rd2;
	setp.eq.u32 %p2, %a4, 2;
	@%p2 add.s64 %rd5, %rd1, 4;
	ld.u32 %r2, [%rd5];
	isspacep.shared %p3, %rd5;
	@%p3 add.u32 %r2, %r2, 10000;
	isspacep.local %p3, %rd5;
	@%p3 add.u32 %r2, %r2, 20000;
	isspacep.global %p3, %rd5;
	@%p3 add.u32 %r2, %r2, 30000;`
	got, err := execute(programOf(body), device.Dim{X: 40, Y: 1, Z: 1}, Options{Checks: AllChecks()})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if want := [3]uint32{32000, 11000, 20000}[i%3] + uint32(i); v != want {
			t.Errorf("thread %d: %d, want %d", i, v, want)
		}
	}
}

// TestCoalescing compares the coalescing of addresses in assembly with the plain Go.
func TestCoalescing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var from, x, y [warpSize]uint64
		base := rng.Uint64N(1 << 40)
		s := coalescing{imm: uint64(rng.Int64N(64) - 32), base: base, step: 1 << rng.IntN(5)}
		stride := [4]uint64{0, s.step, s.step, 4}[rng.IntN(4)]
		for i := range from {
			from[i] = base + uint64(i)*stride
			if rng.IntN(100) == 0 {
				from[i] = rng.Uint64() >> rng.IntN(64)
			}
		}
		mask := rng.Uint32() | rng.Uint32() | 1<<rng.IntN(32)
		if rng.IntN(3) == 0 {
			mask = allLanes
		}
		s.first = from[bits.TrailingZeros32(mask)] + s.imm
		s.lane0 = from[0] + s.imm
		want := s
		s.look(&x, &from, mask)
		want.plain(&y, &from, mask)
		if s != want || x != y {
			t.Fatalf("mask %#x: %+v, want %+v", mask, s, want)
		}
	}
}

// TestPermutation has every block once.
func TestPermutation(t *testing.T) {
	for n := uint64(1); n < 300; n++ {
		p := newPermutation(n, rand.New(rand.NewPCG(n, 3)))
		seen := make([]bool, n)
		for i := range n {
			j := p.at(i)
			if j >= n || seen[j] {
				t.Fatalf("of %d: %d goes to %d", n, i, j)
			}
			seen[j] = true
		}
	}
}

// TestShortCopy copies the end of an array with cp.async, where the last copy reads fewer bytes than its
// size. The bytes after the end must not be read.
func TestShortCopy(t *testing.T) {
	const text = `.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 x, .param .u32 n, .param .u64 out)
{
	.reg .b32 %r<4>; .reg .b64 %rd<4>;
	.shared .align 16 .b8 s[16];
	ld.param.u64 %rd1, [x];
	ld.param.u32 %r1, [n];
	ld.param.u64 %rd2, [out];
	mov.u32 %r2, s;
	cp.async.cg.shared.global [%r2], [%rd1], 16, %r1;
	cp.async.wait_all;
	ld.shared.u64 %rd3, [s];
	st.global.u64 [%rd2], %rd3;
	ret;
}
`
	for _, test := range []struct {
		at   device.Ptr // the 5 bytes of x are at 256 to 260
		n    uint32
		want uint64
		err  string
	}{
		{256, 5, 0x0504030201, ""},
		{256, 1, 1, ""},
		{256, 0, 0, ""},
		{1, 0, 0, ""}, // a copy of 0 bytes needs no valid address
		{256, 6, 0, "out of bounds"},
		{256, 16, 0, "out of bounds"},
		{257, 1, 0, "no multiple of 16 bytes"},
	} {
		dev := New(Options{Checks: AllChecks()})
		m, err := dev.Load("x.ptx", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		k, err := m.Kernel("k")
		if err != nil {
			t.Fatal(err)
		}
		x, _ := dev.Alloc("x", 5)
		out, _ := dev.Alloc("out", 8)
		if err := dev.Write(x, []byte{1, 2, 3, 4, 5}); err != nil {
			t.Fatal(err)
		}
		err = k.Launch(context.Background(), oneThread, oneThread, 0, device.Pointer(x-256+test.at), device.U32(test.n), device.Pointer(out))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%d bytes at %d: %v, want %q", test.n, test.at, err, test.err)
			}
			continue
		}
		var got [8]byte
		if err == nil {
			err = dev.Read(got[:], out)
		}
		if v := binary.LittleEndian.Uint64(got[:]); err != nil || v != test.want {
			t.Errorf("%d bytes at %d: %#x, want %#x, %v", test.n, test.at, v, test.want, err)
		}
	}
}
