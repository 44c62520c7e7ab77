package ptx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
)

// programOf makes a module from a kernel's body, which gets the thread's index in the block in %r1 and leaves
// a result in %r2.
func programOf(body string) string {
	return `.version 7.8
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 dynamic[];
.func (.param .b32 out) early(.param .b32 in)
{
	.reg .pred %p<2>;
	.reg .b32 %r<3>;
	ld.param.u32 %r1, [in];
	st.param.b32 [out], %r1;
	setp.lt.u32 %p1, %r1, 10;
	@%p1 ret;
	add.u32 %r2, %r1, 100;
	st.param.b32 [out], %r2;
	ret;
}
.visible .entry kernel(.param .u64 out)
{
	.reg .pred %p<10>;
	.reg .b32 %r<30>;
	.reg .b64 %rd<10>;
	.shared .align 8 .b8 tile[1024];
	mov.u32 %r20, %tid.x;
	mov.u32 %r21, %ntid.x;
	mov.u32 %r22, %ntid.y;
	mov.u32 %r23, %tid.y;
	mov.u32 %r24, %tid.z;
	mad.lo.u32 %r25, %r24, %r22, %r23;
	mad.lo.u32 %r1, %r25, %r21, %r20;
	mov.u32 %r2, 0;
` + body + `
DONE:
	ld.param.u64 %rd1, [out];
	mul.wide.u32 %rd2, %r1, 4;
	add.s64 %rd3, %rd1, %rd2;
	st.global.u32 [%rd3], %r2;
	ret;
}
`
}

// execute runs a program with one block and returns each thread's result, 0xdeadbeef if the thread wrote
// none.
func execute(text string, block device.Dim, opt Options) ([]uint32, error) {
	return executeIn(context.Background(), text, block, opt)
}

func executeIn(ctx context.Context, text string, block device.Dim, opt Options) ([]uint32, error) {
	dev := New(opt)
	m, err := dev.Load("test.ptx", []byte(text))
	if err != nil {
		return nil, err
	}
	k, err := m.Kernel("kernel")
	if err != nil {
		return nil, err
	}
	n := block.X * block.Y * block.Z
	out, err := dev.Alloc("out", int64(4*n))
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(raw[4*i:], 0xdeadbeef)
	}
	if err := dev.Write(out, raw); err != nil {
		return nil, err
	}
	if err := k.Launch(ctx, device.Dim{X: 1, Y: 1, Z: 1}, block, 64, device.Pointer(out)); err != nil {
		return nil, err
	}
	if err := dev.Read(raw, out); err != nil {
		return nil, err
	}
	got := make([]uint32, n)
	for i := range got {
		got[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	if err := dev.Free(out); err != nil {
		return nil, err
	}
	return got, dev.Close()
}

const unwritten = 0xdeadbeef

// TestFlow runs control flow of every kind, and checks which lanes have reconverged after it.
func TestFlow(t *testing.T) {
	const all = 0xffffffff
	pick := func(c bool, a, b uint32) uint32 {
		if c {
			return a
		}
		return b
	}
	for _, c := range []struct {
		name string
		body string
		want func(tid uint32) uint32
	}{
		{"straight", "add.u32 %r2, %r1, 5;", func(i uint32) uint32 { return i + 5 }},
		{"if, together after it", `
			setp.lt.u32 %p1, %r1, 7;
			@%p1 bra A;
			mov.u32 %r3, 1;
		A:	activemask.b32 %r2;`, func(uint32) uint32 { return all }},
		{"if and else, apart within", `
			setp.lt.u32 %p1, %r1, 7;
			@%p1 bra A;
			activemask.b32 %r2;
			bra B;
		A:	activemask.b32 %r2;
		B:	activemask.b32 %r3;
			and.b32 %r2, %r2, %r3;`, func(i uint32) uint32 { return pick(i < 7, 0x7f, all&^0x7f) }},
		{"nested", `
			and.b32 %r3, %r1, 1;
			and.b32 %r4, %r1, 2;
			setp.eq.u32 %p1, %r3, 0;
			setp.eq.u32 %p2, %r4, 0;
			@%p1 bra EVEN;
			@%p2 bra ODD2;
			activemask.b32 %r2;
			bra ODD3;
		ODD2:	activemask.b32 %r2;
		ODD3:	activemask.b32 %r5;
			bra JOIN;
		EVEN:	mov.u32 %r5, 0x55555555;
			mov.u32 %r2, %r5;
		JOIN:	activemask.b32 %r6;
			not.b32 %r6, %r6;
			xor.b32 %r2, %r2, %r5;
			or.b32 %r2, %r2, %r6;`, func(i uint32) uint32 {
			return [4]uint32{0, 0xaaaaaaaa &^ 0x22222222, 0, 0xaaaaaaaa &^ 0x88888888}[i%4]
		}},
		{"a loop with a count for each lane", `
			mov.u32 %r3, %r1;
		L:	setp.eq.u32 %p1, %r3, 0;
			@%p1 bra OUT;
			add.u32 %r2, %r2, %r3;
			sub.u32 %r3, %r3, 1;
			bra L;
		OUT:	activemask.b32 %r4;
			not.b32 %r4, %r4;
			add.u32 %r2, %r2, %r4;`, func(i uint32) uint32 { return i * (i + 1) / 2 }},
		{"continue and break", `
			mov.u32 %r3, 0;
		L:	add.u32 %r3, %r3, 1;
			setp.gt.u32 %p1, %r3, 20;
			@%p1 bra OUT;
			and.b32 %r4, %r3, 1;
			setp.eq.u32 %p2, %r4, 0;
			@%p2 bra L;
			setp.gt.u32 %p3, %r3, %r1;
			@%p3 bra OUT;
			add.u32 %r2, %r2, 1;
			bra L;
		OUT:	activemask.b32 %r4;
			setp.ne.u32 %p4, %r4, 0xffffffff;
			@%p4 mov.u32 %r2, 99;`, func(i uint32) uint32 { return (min(i, 20) + 1) / 2 }},
		{"exit of some lanes, a shuffle by all the others", `
			setp.ge.u32 %p1, %r1, 8;
			@%p1 exit;
			shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0xffffffff;`, func(i uint32) uint32 { return pick(i < 8, i^1, unwritten) }},
		{"a branch to the end, a shuffle by all the others", `
			setp.ge.u32 %p1, %r1, 8;
			@%p1 bra GONE;
			shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0xffffffff;
			bra DONE;
		GONE:	exit;`, func(i uint32) uint32 { return pick(i < 8, i^1, unwritten) }},
		{"the end where others branch away", `
			setp.lt.u32 %p1, %r1, 8;
			@%p1 bra STAY;
			ret;
		STAY:	shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0xffffffff;`, func(i uint32) uint32 { return pick(i < 8, i^1, unwritten) }},
		{"a shuffle waits for lanes that are on their way to the end", `
			setp.lt.u32 %p1, %r1, 8;
			@%p1 bra STAY;
			mov.u32 %r2, 9;
			bra LAST;
		STAY:	shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0xffffffff;
			bra DONE;
		LAST:	ld.param.u64 %rd1, [out];
			mul.wide.u32 %rd2, %r1, 4;
			add.s64 %rd3, %rd1, %rd2;
			st.global.u32 [%rd3], 7;
			ret;`, func(i uint32) uint32 { return pick(i < 8, i^1, 7) }},
		{"a shuffle waits for lanes that come to it on another way", `
			setp.lt.u32 %p1, %r1, 8;
			@%p1 bra LOW;
			setp.eq.u32 %p2, %r1, 20;
			@%p2 exit;
			setp.eq.u32 %p2, %r1, 21;
			@%p2 bra GONE;
			mov.u32 %r3, 1;
			bra MEET;
		LOW:	setp.eq.u32 %p2, %r1, 5;
			@%p2 bra GONE;
			mov.u32 %r3, 2;
		MEET:	activemask.b32 %r5;
			vote.sync.ballot.b32 %r2, %p1, 0xffffffff;
			activemask.b32 %r4;
			xor.b32 %r4, %r4, 0xffcfffdf;
			add.u32 %r2, %r2, %r4;
			bra DONE;
		GONE:	add.u32 %r2, %r1, 0;
			exit;`, func(i uint32) uint32 { return pick(i == 5 || i == 20 || i == 21, unwritten, 0xdf) }},
		{"a table of targets", `
			and.b32 %r3, %r1, 3;
		T:	.branchtargets A, B, C, B;
			brx.idx %r3, T;
		A:	mov.u32 %r2, 10;
			bra J;
		B:	activemask.b32 %r2;
			bra J;
		C:	mov.u32 %r2, 30;
		J:	activemask.b32 %r4;
			not.b32 %r4, %r4;
			xor.b32 %r2, %r2, %r4;`, func(i uint32) uint32 { return [4]uint32{10, 0xaaaaaaaa, 30, 0xaaaaaaaa}[i%4] }},
		{"a call, of which some lanes return early", `
			.param .b32 x; .param .b32 y;
			st.param.b32 [x], %r1;
			call.uni (y), early, (x);
			ld.param.b32 %r2, [y];
			activemask.b32 %r4;
			not.b32 %r4, %r4;
			add.u32 %r2, %r2, %r4;`, func(i uint32) uint32 { return pick(i < 10, i, i+100) }},
		{"a call under a guard", `
			.param .b32 x; .param .b32 y;
			setp.lt.u32 %p1, %r1, 20;
			st.param.b32 [x], %r1;
			st.param.b32 [y], 7;
			@%p1 call (y), early, (x);
			ld.param.b32 %r2, [y];`, func(i uint32) uint32 { return pick(i < 10, i, pick(i < 20, i+100, 7)) }},
		{"everything guarded away", `
			setp.lt.u32 %p1, %r1, 0;
			@%p1 mov.u32 %r2, 1;
			@%p1 ld.global.u32 %r2, [8];
			@%p1 trap;
			@%p1 exit;
			@!%p1 add.u32 %r2, %r2, 3;`, func(uint32) uint32 { return 3 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			checks := AllChecks()
			got, err := execute(programOf(c.body), device.Dim{X: 32, Y: 1, Z: 1}, Options{Checks: checks})
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if want := c.want(uint32(i)); got[i] != want {
					t.Errorf("thread %d: %#x, want %#x", i, got[i], want)
				}
			}
		})
	}
}

// TestBlocks runs kernels that need several warps, in order and shuffled.
func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		name  string
		block device.Dim
		body  string
		want  func(i uint32) uint32
	}{
		{"warps that are not full, in three dimensions", device.Dim{X: 5, Y: 3, Z: 3}, `
			mov.u32 %r3, %tid.z;
			mov.u32 %r4, %tid.y;
			mov.u32 %r5, %tid.x;
			mad.lo.u32 %r2, %r3, 10, %r4;
			mad.lo.u32 %r2, %r2, 10, %r5;`,
			func(i uint32) uint32 { return i/15*100 + i/5%3*10 + i%5 }},
		{"contiguous through shared memory", device.Dim{X: 96, Y: 1, Z: 1}, `
			mul.lo.u32 %r3, %r1, 4;
			mov.u32 %r4, tile;
			add.u32 %r5, %r4, %r3;
			st.shared.u32 [%r5], %r1;
			bar.sync 0;
			xor.b32 %r3, %r1, 63;
			setp.ge.u32 %p1, %r3, 96;
			@%p1 mov.u32 %r3, 0;
			mul.lo.u32 %r3, %r3, 4;
			add.u32 %r5, %r4, %r3;
			ld.shared.u32 %r2, [%r5];`,
			func(i uint32) uint32 {
				if i^63 >= 96 {
					return 0
				}
				return i ^ 63
			}},
		{"barriers that reduce", device.Dim{X: 80, Y: 1, Z: 1}, `
			setp.lt.u32 %p1, %r1, 33;
			barrier.red.popc.u32 %r2, 1, %p1;
			barrier.red.and.pred %p2, 2, %p1;
			barrier.red.or.pred %p3, 3, !%p1;
			@%p2 add.u32 %r2, %r2, 1000;
			@%p3 add.u32 %r2, %r2, 100;`,
			func(uint32) uint32 { return 133 }},
		{"one warp waits for another's flag", device.Dim{X: 64, Y: 1, Z: 1}, `
			setp.eq.u32 %p1, %r1, 32;
			setp.eq.u32 %p2, %r1, 0;
			@%p2 st.shared.u32 [tile], 0;
			bar.sync 0;
			setp.ge.u32 %p3, %r1, 32;
			@%p3 bra SET;
		WAIT:	ld.acquire.cta.shared.u32 %r3, [tile];
			setp.eq.u32 %p4, %r3, 0;
			@%p4 bra WAIT;
			mov.u32 %r2, %r3;
			bra DONE;
		SET:	mov.u32 %r2, 7;
			@%p1 st.release.cta.shared.u32 [tile], 5;`,
			func(i uint32) uint32 { return [2]uint32{5, 7}[i/32] }},
		{"a barrier of those that have not exited", device.Dim{X: 96, Y: 1, Z: 1}, `
			setp.ge.u32 %p1, %r1, 40;
			@%p1 exit;
			bar.sync 0;
			barrier.red.popc.u32 %r2, 1, %p1;
			add.u32 %r2, %r2, 3;`,
			func(i uint32) uint32 {
				if i < 40 {
					return 3
				}
				return unwritten
			}},
		{"a barrier waits for lanes that store, and exit", device.Dim{X: 64, Y: 1, Z: 1}, `
			mul.lo.u32 %r3, %r1, 4;
			mov.u32 %r4, tile;
			add.u32 %r5, %r4, %r3;
			and.b32 %r6, %r1, 3;
			setp.ne.u32 %p1, %r6, 0;
			@%p1 bra STAY;
			st.shared.u32 [%r5], 11;
			exit;
		STAY:	st.shared.u32 [%r5], 12;
			bar.sync 0;
			xor.b32 %r7, %r3, 4;
			add.u32 %r5, %r4, %r7;
			ld.shared.u32 %r2, [%r5];`,
			func(i uint32) uint32 { return [4]uint32{unwritten, 11, 12, 12}[i%4] }},
		{"half of the block waits at a barrier of its own", device.Dim{X: 128, Y: 1, Z: 1}, `
			mov.u32 %r2, 2;
			setp.lt.u32 %p1, %r1, 64;
			@%p1 bra LOW;
			bar.arrive 1, 128;
			bra DONE;
		LOW:	bar.sync 1, 128;
			mov.u32 %r2, 1;`,
			func(i uint32) uint32 { return 1 + i/64 }},
	} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%s/seed %d", c.name, seed), func(t *testing.T) {
				got, err := execute(programOf(c.body), c.block, Options{Checks: AllChecks(), Shuffle: seed})
				if err != nil {
					t.Fatal(err)
				}
				for i := range got {
					if want := c.want(uint32(i)); got[i] != want {
						t.Errorf("thread %d: %#x, want %#x", i, got[i], want)
					}
				}
			})
		}
	}
}

// TestFaults runs kernels that the machine stops.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, body string
		kind       Kind
		want       []string
	}{
		{"past an allocation", "ld.param.u64 %rd1, [out]; ld.global.u32 %r2, [%rd1+256];", OutOfBounds,
			[]string{"kernel: block (0,0,0) thread (0,0,0)", "ld.global.u32", `4 bytes past the end of "out" (256 bytes)`}},
		{"before an allocation", "ld.param.u64 %rd1, [out]; ld.global.u32 %r2, [%rd1+-4];", OutOfBounds, []string{`4 bytes before "out"`}},
		{"across its end", "ld.param.u64 %rd1, [out]; ld.global.v2.u32 {%r2, %r3}, [%rd1+256];", OutOfBounds, []string{"8 bytes past the end"}},
		{"misaligned", "ld.param.u64 %rd1, [out]; ld.global.u32 %r2, [%rd1+2];", Misaligned, []string{"no multiple of 4 bytes"}},
		{"nowhere", "ld.global.u32 %r2, [64];", OutOfBounds, []string{"0x40"}},
		{"past shared memory", "ld.shared.u32 %r2, [dynamic+64];", OutOfBounds, []string{"shared memory"}},
		{"before shared memory", "mov.u32 %r3, 0; ld.shared.u32 %r2, [%r3+-4];", OutOfBounds, []string{"shared memory"}},
		{"only one lane of the second warp", `
			ld.param.u64 %rd1, [out];
			setp.eq.u32 %p1, %r1, 35;
			@%p1 ld.global.u32 %r2, [%rd1+4096];`, OutOfBounds, []string{"thread (35,0,0)"}},
		{"trap", "setp.eq.u32 %p1, %r1, 3; @%p1 trap;", Trapped, []string{"thread (3,0,0)"}},
		{"a barrier in a branch", "setp.lt.u32 %p1, %r1, 3; @%p1 bra A; bra B; A: bar.sync 0; B:", BarrierDiverged, []string{"lanes"}},
		{"a barrier that a warp never comes to", "setp.lt.u32 %p1, %r1, 32; @%p1 bra A; bra DONE; A: bar.sync 0, 64;", BarrierDiverged, []string{"barrier 0 waits for 64 threads; 32 have arrived"}},
		{"barriers that differ", "setp.lt.u32 %p1, %r1, 32; @%p1 bra A; bar.sync 1; bra DONE; A: bar.sync 0;", BarrierDiverged, []string{"no other can"}},
		{"a shuffle with too many lanes", "setp.lt.u32 %p1, %r1, 3; @%p1 bra A; bra DONE; A: shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;", MaskMismatch, []string{"names lanes"}},
		{"a shuffle without itself", "shfl.sync.bfly.b32 %r2, %r1, 1, 31, 1;", MaskMismatch, []string{"leaves out"}},
		{"a shuffle from outside", "setp.lt.u32 %p1, %r1, 3; @%p1 bra A; bra DONE; A: shfl.sync.idx.b32 %r2, %r1, 9, 31, 7;", InactiveLane, []string{"lane 9"}},
		{"a register that nothing has written", "add.u32 %r2, %r1, %r9;", UninitRegister, []string{"%r9"}},
		{"a guard that nothing has written", "@%p7 mov.u32 %r2, 1;", UninitRegister, []string{"%p7"}},
		{"a predicate that nothing has written", "selp.u32 %r2, 1, 2, %p7;", UninitRegister, []string{"%p7"}},
		{"through copies and a sum", "mov.u32 %r8, %r9; mov.b64 %rd5, {%r8, %r1}; add.s64 %rd6, %rd5, 1; cvt.u32.u64 %r2, %rd6;", UninitRegister, []string{"what is stored depends on %r9"}},
		{"a branch", "setp.lt.u32 %p1, %r9, 3; @%p1 bra DONE;", UninitRegister, []string{"whether it executes depends on %r9"}},
		{"an address", "add.s64 %rd6, %rd5, 8; ld.global.u32 %r2, [%rd6];", UninitRegister, []string{"the address depends on %rd5"}},
		{"a shuffle's mask", "shfl.sync.bfly.b32 %r2, %r1, 1, 31, %r9;", UninitRegister, []string{"the mask depends on %r9"}},
		{"a barrier's number", "bar.sync %r9;", UninitRegister, []string{"the barrier depends on %r9"}},
		{"an atomic's operand", "ld.param.u64 %rd1, [out]; red.global.add.u32 [%rd1], %r9;", UninitRegister, []string{"what the atomic does depends on %r9"}},
		{"a table's index", "T: .branchtargets A, DONE; brx.idx %r9, T; A:", UninitRegister, []string{"where it goes depends on %r9"}},
		{"the carry flag", "addc.u32 %r2, 0, 0;", UninitRegister, []string{"the carry flag"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := execute(programOf(c.body), device.Dim{X: 64, Y: 1, Z: 1}, Options{Checks: AllChecks()})
			var r *Report
			if !errors.As(err, &r) {
				t.Fatalf("error %v, want a report", err)
			}
			if r.Kind != c.kind {
				t.Errorf("kind %v, want %v: %v", r.Kind, c.kind, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// TestEndlessLoop ends by its budget.
func TestEndlessLoop(t *testing.T) {
	for _, body := range []string{
		"L: add.u32 %r3, %r3, %r1; bra L;",
		"mov.u32 %r4, 0; L: add.u32 %r4, %r4, 1; setp.lt.u32 %p1, %r1, 5; @%p1 bra L;",
		"L: bar.sync 0; bra L;",
	} {
		_, err := execute(programOf(body), device.Dim{X: 64, Y: 1, Z: 1}, Options{Budget: 100000})
		if err == nil || !strings.Contains(err.Error(), "100000 instructions") {
			t.Errorf("%s: error %v", body, err)
		}
	}
}

// TestStopped stops an endless loop by its context.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := executeIn(ctx, programOf("L: bar.sync 0; bra L;"), device.Dim{X: 64, Y: 1, Z: 1}, Options{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("error %v", err)
	}
}

// TestRandomFlow runs random control-flow graphs, structured or not, and compares with a model that runs one
// thread at a time.
func TestRandomFlow(t *testing.T) {
	for seed := range testsize.Of[uint64](20, 100, 300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		g := randomGraph(rng)
		const threads = 50
		got, err := execute(programOf(g.ptx()), device.Dim{X: threads, Y: 1, Z: 1}, Options{Checks: AllChecks()})
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, g.ptx())
		}
		want := make([]uint32, threads)
		for i := range want {
			want[i] = g.thread(uint32(i))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %x, want %x\n%s", seed, got, want, g.ptx())
		}
	}
}

// graph has blocks that hash their number, and branch by a bit of the hash.
type graph []node

type node struct {
	salt  uint32
	shift uint32
	taken int // the next block if the bit is set
	other int
	end   bool // the thread may end here, if two bits are set
}

func randomGraph(rng *rand.Rand) graph {
	g := make(graph, 2+rng.IntN(10))
	for i := range g {
		g[i] = node{salt: rng.Uint32(), shift: rng.Uint32N(32), taken: rng.IntN(len(g)), other: rng.IntN(len(g)), end: rng.IntN(4) == 0}
	}
	return g
}

// fuel is the largest number of blocks that a thread executes.
const fuel = 40

func (g graph) ptx() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mov.u32 %%r3, %d;\nadd.u32 %%r2, %%r1, 1;\n", fuel)
	for i, n := range g {
		fmt.Fprintf(&b, "B%d:\n", i)
		fmt.Fprintf(&b, "setp.eq.u32 %%p1, %%r3, 0;\n@%%p1 bra DONE;\nsub.u32 %%r3, %%r3, 1;\n")
		fmt.Fprintf(&b, "mad.lo.u32 %%r2, %%r2, 0x9e3779b1, %d;\nshr.u32 %%r4, %%r2, 15;\nxor.b32 %%r2, %%r2, %%r4;\n", n.salt)
		fmt.Fprintf(&b, "shr.u32 %%r4, %%r2, %d;\nand.b32 %%r5, %%r4, 1;\nsetp.ne.u32 %%p2, %%r5, 0;\n", n.shift)
		if n.end {
			fmt.Fprintf(&b, "and.b32 %%r5, %%r4, 3;\nsetp.eq.u32 %%p3, %%r5, 3;\n@%%p3 exit;\n")
		}
		fmt.Fprintf(&b, "@%%p2 bra B%d;\nbra B%d;\n", n.taken, n.other)
	}
	return b.String()
}

func (g graph) thread(tid uint32) uint32 {
	h, at := tid+1, 0
	for range fuel {
		n := g[at]
		h = h*0x9e3779b1 + n.salt
		h ^= h >> 15
		bits := h >> n.shift
		if n.end && bits&3 == 3 {
			return unwritten
		}
		if at = n.other; bits&1 != 0 {
			at = n.taken
		}
	}
	return h
}
