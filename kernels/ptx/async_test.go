package ptx

import (
	"errors"
	"strings"
	"testing"
)

// asyncKernel has a buffer of 1024 words in %rd1, where word i holds i; the thread's own 16 bytes of it in
// %rd3; and in shared memory the thread's 16 bytes of one tile at %r4 and of another at %r5. It leaves its
// result in %r2.
func asyncKernel(body string) string {
	return `.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 in, .param .u64 out)
{
	.reg .pred %p<4>;
	.reg .b32 %r<16>;
	.reg .b64 %rd<16>;
	.shared .align 16 .b8 tiles[2048];
	ld.param.u64 %rd1, [in];
	ld.param.u64 %rd2, [out];
	mov.u32 %r1, %tid.x;
	shl.b32 %r3, %r1, 4;
	mov.u32 %r4, tiles;
	add.u32 %r4, %r4, %r3;
	add.u32 %r5, %r4, 1024;
	cvt.u64.u32 %rd3, %r3;
	add.u64 %rd3, %rd1, %rd3;
	mov.u32 %r2, 0;
` + body + `
	mul.wide.u32 %rd5, %r1, 4;
	add.u64 %rd5, %rd2, %rd5;
	st.global.u32 [%rd5], %r2;
	ret;
}
`
}

func runAsync(opt Options, text string, threads int) ([]uint32, error) {
	dev := New(opt)
	in, err := dev.Alloc("in", 4096)
	if err != nil {
		return nil, err
	}
	out, err := dev.Alloc("out", int64(4*threads))
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 4096)
	for i := range 1024 {
		raw[4*i], raw[4*i+1] = byte(i), byte(i>>8)
	}
	if err := dev.Write(in, raw); err != nil {
		return nil, err
	}
	if err := launchOn(dev, text, threads, uint64(in), uint64(out)); err != nil {
		return nil, err
	}
	got := make([]uint32, threads)
	b := make([]byte, 4*threads)
	if err := dev.Read(b, out); err != nil {
		return nil, err
	}
	for i := range got {
		got[i] = uint32(b[4*i]) | uint32(b[4*i+1])<<8 | uint32(b[4*i+2])<<16 | uint32(b[4*i+3])<<24
	}
	return got, nil
}

// TestAsync runs asynchronous copies, with and without the waits that they need.
func TestAsync(t *testing.T) {
	const (
		toA    = "cp.async.cg.shared.global [%r4], [%rd3], 16;\n"
		toB    = "cp.async.cg.shared.global [%r5], [%rd3+1024], 16;\n"
		commit = "cp.async.commit_group;\n"
		zero   = "st.shared.v4.u32 [%r4], {%r2, %r2, %r2, %r2}; st.shared.v4.u32 [%r5], {%r2, %r2, %r2, %r2};\n"
		wait   = "cp.async.wait_group "
		all    = "cp.async.wait_all;\n"
		readA  = "ld.shared.u32 %r2, [%r4];\n"
		readB  = "ld.shared.u32 %r2, [%r5];\n"
		// what the next thread has copied
		next  = "xor.b32 %r6, %r1, 1; shl.b32 %r6, %r6, 4; mov.u32 %r7, tiles; add.u32 %r6, %r6, %r7; ld.shared.u32 %r2, [%r6];\n"
		block = "bar.sync 0;\n"
	)
	own := func(i int) uint32 { return uint32(4 * i) }
	ownB := func(i int) uint32 { return uint32(4*i + 256) }
	zeros := func(int) uint32 { return 0 }
	for _, c := range []struct {
		name, body string
		want       func(thread int) uint32 // without checks
		kind       Kind                    // with them
		says       string
	}{
		{"wait_all", toA + all + readA, own, noReport, ""},
		{"a group", toA + commit + wait + "0;\n" + readA, own, noReport, ""},
		{"the first of two groups", toA + commit + toB + commit + wait + "1;\n" + readA + wait + "0;", own, noReport, ""},
		{"both of two groups", toA + commit + toB + commit + wait + "0;\n" + readB, ownB, noReport, ""},
		{"an empty group counts", toA + commit + commit + wait + "1;\n" + readA, own, noReport, ""},
		{"wait_all takes what is not committed", toA + commit + toB + all + readB, ownB, noReport, ""},
		{"wait_all makes a group", toA + all + toB + commit + wait + "0;\n" + readB, ownB, noReport, ""},
		{"another thread's", toA + all + block + next, func(i int) uint32 { return own(i ^ 1) }, noReport, ""},
		{"nobody reads", toA, zeros, noReport, ""},
		{"a wait of half the lanes", toA + commit + "setp.lt.u32 %p1, %r1, 16;\n@%p1 " + wait + "0;\n@%p1 " + readA, func(i int) uint32 {
			if i%32 < 16 && i < 32 {
				return own(i)
			}
			return 0
		}, noReport, ""},
		{"groups of half the lanes", "setp.lt.u32 %p1, %r1, 16;\n" + toA + "@%p1 " + commit + "@%p1 " + commit + toB + commit + wait + "1;\n@%p1 " + readA + all, func(i int) uint32 {
			if i < 16 {
				return own(i)
			}
			return 0
		}, noReport, ""},
		{"fewer bytes", "mov.u32 %r6, 4; cp.async.cg.shared.global [%r4], [%rd3], 16, %r6;\n" + all + "ld.shared.u32 %r2, [%r4+4]; ld.shared.u32 %r7, [%r4]; add.u32 %r2, %r2, %r7;", own, noReport, ""},
		{"no bytes", "mov.u32 %r6, 0; mov.u64 %rd3, 0; cp.async.cg.shared.global [%r4], [%rd3], 16, %r6;\n" + all + readA, zeros, noReport, ""},

		{"no wait", zero + toA + commit + readA, zeros, NotAwaited, "the destination of an asynchronous copy"},
		{"no commit", zero + toA + wait + "0;\n" + readA, zeros, NotAwaited, "the destination of an asynchronous copy"},
		{"a wait too few", zero + toA + commit + toB + commit + wait + "1;\n" + readB, zeros, NotAwaited, "the destination of an asynchronous copy"},
		{"a wait of others", zero + toA + commit + "setp.lt.u32 %p1, %r1, 16;\n@%p1 " + wait + "0;\n" + readA, func(i int) uint32 {
			if i < 16 {
				return own(i)
			}
			return 0
		}, NotAwaited, "the destination"},
		{"another thread's, without its wait", zero + block + toA + commit + block + next, zeros, NotAwaited, "the destination"},
		{"another thread's, without a barrier", zero + block + toA + all + next, func(i int) uint32 { return own(i ^ 1) }, Race, ""},
		{"a store to the destination", toA + commit + zero + wait + "0;\n" + readA, own, NotAwaited, "the destination"},
		{"two copies to one place", toA + "cp.async.cg.shared.global [%r4], [%rd3+1024], 16;\n" + all + readA, ownB, NotAwaited, "the destination"},
		{"a store to the source", toA + commit + "st.global.u32 [%rd3], 7;\n" + wait + "0;\n" + readA, func(int) uint32 { return 7 }, NotAwaited, "the source"},
		{"a store beside the source", toA + commit + "st.global.u32 [%rd3+2048], 7;\n" + wait + "0;\n" + readA, own, noReport, ""},
		{"an atomic on the source", toA + commit + "red.global.add.u32 [%rd3], 7;\n" + wait + "0;\n" + readA, func(i int) uint32 { return own(i) + 7 }, NotAwaited, "the source"},
	} {
		for _, opt := range everyForm() {
			if opt.Checks == (Checks{}) && strings.HasSuffix(c.name, "a barrier") {
				continue
			}
			got, err := runAsync(opt, asyncKernel(c.body), 32)
			var r *Report
			switch {
			case opt.Checks != (Checks{}) && c.kind != noReport:
				if !errors.As(err, &r) || r.Kind != c.kind || !strings.Contains(r.Detail, c.says) || r.Other == nil {
					t.Errorf("%s: %v, want %s: %s", c.name, err, c.kind, c.says)
				}
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			default:
				for i := range got {
					if got[i] != c.want(i) {
						t.Errorf("%s: thread %d has %d, want %d", c.name, i, got[i], c.want(i))
						break
					}
				}
			}
		}
	}
}

// TestAsyncOfDefined checks that a copy also copies which bytes are defined.
func TestAsyncOfDefined(t *testing.T) {
	for _, c := range []struct {
		written int
		kind    Kind
	}{{512, noReport}, {60, Uninitialized}} {
		dev := New(Options{Checks: AllChecks()})
		in, err := dev.Alloc("in", 512)
		if err != nil {
			t.Fatal(err)
		}
		if err := dev.Write(in, make([]byte, c.written)); err != nil {
			t.Fatal(err)
		}
		out, err := dev.Alloc("out", 128)
		if err != nil {
			t.Fatal(err)
		}
		text := asyncKernel("cp.async.cg.shared.global [%r4], [%rd3], 16; cp.async.wait_all; ld.shared.u32 %r2, [%r4+12];")
		err = errors.Join(launchOn(dev, text, 32, uint64(in), uint64(out)), dev.Read(make([]byte, 16), out))
		var r *Report
		if errors.As(err, &r) != (c.kind != noReport) || r != nil && r.Kind != c.kind {
			t.Errorf("%d bytes written: %v, want %s", c.written, err, c.kind)
		}
	}
}

// TestAsyncGroups refuses waits with a number of groups that is not constant.
func TestAsyncGroups(t *testing.T) {
	for _, body := range []string{"cp.async.wait_group %r1;", "cp.async.wait_group;", "cp.async.wait_group -1;", "cp.async.wait_all 1;"} {
		if _, err := Parse("k.ptx", []byte(asyncKernel(body)), false); err == nil {
			t.Errorf("%s is taken", body)
		}
	}
}

// TestNonCoherent loads non-coherently memory that the launch has, or has not, written.
func TestNonCoherent(t *testing.T) {
	for _, c := range []struct {
		name, body string
		kind       Kind
	}{
		{"only read", "ld.global.nc.u32 %r2, [%rd3];", noReport},
		{"another place", "st.global.u32 [%rd3], %r1; ld.global.nc.u32 %r2, [%rd3+1024];", noReport},
		{"one's own store", "st.global.u32 [%rd3], %r1; ld.global.nc.u32 %r2, [%rd3];", NonCoherent},
		{"a part of one's own store", "st.global.u32 [%rd3], %r1; ld.global.nc.u8 %r2, [%rd3+3];", NonCoherent},
		{"a vector", "st.global.u32 [%rd3+4], %r1; ld.global.nc.v4.u32 {%r2, %r6, %r7, %r8}, [%rd3];", NonCoherent},
		{"another thread's store, after a barrier", "st.global.u32 [%rd3], %r1; bar.sync 0; xor.b32 %r6, %r3, 16; cvt.u64.u32 %rd6, %r6; add.u64 %rd6, %rd1, %rd6; ld.global.nc.u32 %r2, [%rd6];", NonCoherent},
		{"the same by a plain load", "st.global.u32 [%rd3], %r1; bar.sync 0; xor.b32 %r6, %r3, 16; cvt.u64.u32 %rd6, %r6; add.u64 %rd6, %rd1, %rd6; ld.global.u32 %r2, [%rd6];", noReport},
		{"an atomic", "red.global.add.u32 [%rd3], 1; bar.sync 0; ld.global.nc.u32 %r2, [%rd3];", NonCoherent},
		{"one place for all", "setp.eq.u32 %p1, %r1, 0; @%p1 st.global.u32 [%rd1], %r1; bar.sync 0; ld.global.nc.u32 %r2, [%rd1];", NonCoherent},
		{"ldu", "st.global.u32 [%rd3], %r1; ldu.global.u32 %r2, [%rd3];", NonCoherent},
	} {
		for _, opt := range everyForm() {
			_, err := runAsync(opt, asyncKernel(c.body), 32)
			var r *Report
			switch {
			case c.kind == noReport || opt.Checks == (Checks{}):
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			case !errors.As(err, &r) || r.Kind != c.kind || r.Other == nil:
				t.Errorf("%s: %v, want %s", c.name, err, c.kind)
			}
		}
	}
}

// TestIgnoreSource copies by cp.async with a predicate, in the lanes of which zeros are written and no source is read.
func TestIgnoreSource(t *testing.T) {
	for _, not := range []bool{false, true} {
		p := map[bool]string{false: "%p1", true: "!%p1"}[not]
		body := `
st.global.u32 [%rd3], 7; shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; add.u32 %r4, %r5, %r4; and.b32 %r6, %r20, 1; setp.ne.u32 %p1, %r6, 0;
mov.u64 %rd4, %rd3; @` + p + ` add.u64 %rd4, %rd4, 1000000;
cp.async.ca.shared.global [%r4], [%rd4], 4, ` + p + `; cp.async.wait_all; ld.shared.u32 %r7, [%r4]; st.global.u32 [%rd3+128], %r7;`
		out, err := launchBody(t, Options{Checks: AllChecks()}, 1, 32, body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 32 {
			want := byte(7)
			if (i%2 != 0) != not {
				want = 0
			}
			if got := out[128+4*i]; got != want {
				t.Errorf("%s, lane %d: %d, want %d", p, i, got, want)
			}
		}
	}
	_, err := launchBody(t, Options{Checks: AllChecks()}, 1, 1, "cp.async.ca.shared.global [tile], [%rd1], 4, %p1; cp.async.wait_all;")
	if err == nil || !strings.Contains(err.Error(), "how much is copied depends on %p1") {
		t.Errorf("an undefined predicate: %v", err)
	}
}
