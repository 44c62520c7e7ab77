package ptx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
)

// TestShortcuts runs random kernels with and without the shortcuts for known addresses (memknown.go), defined
// registers (sure.go) and deferred accesses (racedeferred.go): memory, and the instructions with findings,
// must be equal.
func TestShortcuts(t *testing.T) {
	rounds := testsize.Of(100, 200, 600)
	rng := rand.New(rand.NewPCG(11, 12))
	clean, found, follow, noted := 0, 0, 0, 0
	for range rounds {
		src := randomAccesses(rng)
		checks := []Checks{{}, AllChecks(), {Races: true}}[rng.IntN(3)]
		run := func(known, deferred bool) (exact, loose string, mem []byte) {
			p, err := Parse("k.ptx", []byte(src), true)
			if err != nil {
				t.Fatal(err, src)
			}
			e := p.entries["k"]
			for i := range e.code {
				if !known {
					e.code[i].sure = false
				}
				if m := e.code[i].mem; m != nil {
					if m.slot != 0 && !m.leads {
						follow++
					}
					if !known {
						m.slot, m.leads = 0, false
					}
				}
			}
			if !known {
				clear(e.initial)
			}
			dev := New(Options{Checks: checks, MaxFindings: 100})
			if checks.Races {
				dev.checks.races.deferred.off = !deferred
			}
			m, err := dev.LoadProgram(p)
			if err != nil {
				t.Fatal(err)
			}
			k, err := m.Kernel("k")
			if err != nil {
				t.Fatal(err)
			}
			at, err := dev.Alloc("buffer", 4096)
			if err == nil {
				err = dev.Write(at, bytes.Repeat([]byte{1, 2, 3, 4}, 1024))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Launch(context.Background(), device.Dim{X: 2, Y: 1, Z: 1}, device.Dim{X: 80, Y: 1, Z: 1}, 0, device.Pointer(at)); err != nil {
				exact, loose = err.Error(), err.Error()
				if f := (*Findings)(nil); errors.As(err, &f) {
					// Which of several accesses is reported as the earlier one of a race may differ, and with
					// it the number of further lanes.
					times := map[string]int64{}
					for _, one := range f.List {
						what := fmt.Sprintf("line %d: %v", one.PTXLine, one.Kind)
						if times[what] += one.Times; one.Kind == Race {
							times[what] = 1
						}
					}
					loose = fmt.Sprint(f.List[0].Kind, f.List[0].PTXLine, times)
				}
			}
			if checks.Races {
				noted += cap(dev.checks.races.deferred.list)
			}
			return exact, loose, dev.Bytes(at, 4096)
		}
		want, wantLoose, wantBytes := run(false, false)
		for _, with := range [][2]bool{{true, false}, {false, true}, {true, true}} {
			got, loose, gotBytes := run(with[0], with[1])
			if !with[1] && got != want || loose != wantLoose || !bytes.Equal(gotBytes, wantBytes) {
				t.Fatalf("known %v, put off %v:\n%s\n%s\nwant\n%s\n%s\nof\n%s", with[0], with[1], got, loose, want, wantLoose, src)
			}
		}
		if want == "" {
			clean++
		} else {
			found++
		}
	}
	t.Logf("%d kernels without findings, %d with; %d accesses followed, %d were noted", clean, found, follow, noted)
	if clean < rounds/10 || found < rounds/10 || follow == 0 || noted == 0 {
		t.Error("they are too much alike")
	}
}

// randomAccesses returns a kernel that accesses shared and global memory through a few registers.
func randomAccesses(rng *rand.Rand) string {
	var b strings.Builder
	b.WriteString(`.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 p)
{
.reg .pred %p<4>; .reg .b32 %r<30>; .reg .b64 %rd<20>;
.shared .align 16 .b8 tile[2048];
mov.u32 %r1, %tid.x; ld.param.u64 %rd0, [p]; mov.u32 %r20, tile; mov.u64 %rd10, tile; cvta.shared.u64 %rd11, %rd10;
and.b32 %r2, %r1, 31; setp.lt.u32 %p1, %r2, 20; setp.eq.u32 %p2, %r1, 33;
mov.u32 %r5, 0; mov.u32 %r6, 0; mov.u32 %r7, 0; mov.u32 %r8, 0;
`)
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	// Each thread's offset: %r10 is its own, with a stride, or the same for all.
	address := func() {
		fmt.Fprintf(&b, "mul.lo.u32 %%r10, %%r1, %d; add.u32 %%r11, %%r20, %%r10; cvt.u64.u32 %%rd5, %%r10; add.u64 %%rd1, %%rd0, %%rd5; add.u64 %%rd2, %%rd10, %%rd5; add.u64 %%rd3, %%rd11, %%rd5;\n",
			[]int{0, 4, 4, 4, 8, 16, 16, 20}[rng.IntN(8)])
	}
	address()
	// Usually all memory is written first.
	if rng.IntN(4) > 0 {
		b.WriteString("shl.b32 %r12, %r1, 2; add.u32 %r13, %r20, %r12;\n")
		for at := 0; at < 2048; at += 320 {
			if at+320 <= 2048 {
				fmt.Fprintf(&b, "st.shared.u32 [%%r13+%d], %%r1;\n", at)
			}
		}
		b.WriteString("setp.lt.u32 %p3, %r1, 32; @%p3 st.shared.u32 [%r13+1920], %r1;\nbar.sync 0;\n")
	}
	writes := rng.IntN(3) // how many of the accesses write
	label := 0
	for range 3 + rng.IntN(25) {
		guard := pick("", "", "", "", "@%p1 ", "@!%p1 ", "@%p2 ")
		imm := 4 * rng.IntN(40)
		if rng.IntN(60) == 0 {
			imm = []int{-4, 2040, 3000, 2, 4090}[rng.IntN(5)]
		}
		where := pick("shared.u32", "shared.u32", "global.u32", "u32")
		base := map[string]string{"shared.u32": pick("%r11", "%rd2"), "global.u32": "%rd1", "u32": "%rd3"}[where]
		switch op := rng.IntN(20); {
		case op < 9:
			fmt.Fprintf(&b, "%sld.%s %%r5, [%s+%d];\n", guard, where, base, imm)
		case op < 11:
			fmt.Fprintf(&b, "%sld.%s {%%r5,%%r6,%%r7,%%r8}, [%s+%d];\n", guard, strings.Replace(where, "u32", "v4.u32", 1), base, imm&^15)
		case op < 12:
			fmt.Fprintf(&b, "%sld.%s %%r5, [%s+%d];\n", guard, strings.Replace(where, "u32", "u8", 1), base, imm)
		case op < 12+writes:
			fmt.Fprintf(&b, "%sst.%s [%s+%d], %%r5;\n", guard, where, base, imm)
		case op < 15:
			fmt.Fprintf(&b, "%satom.shared.add.u32 %%r6, [%s+%d], 1;\n", guard, pick("%r11", "%rd2"), imm)
		case op < 17:
			b.WriteString("bar.sync 0;\n")
		case op < 18:
			b.WriteString(pick("bar.warp.sync 0xffffffff;\n", "membar.cta;\n", "ld.volatile.shared.u32 %r5, [%rd2];\n"))
		case op < 19:
			address()
		default: // only some lanes
			label++
			fmt.Fprintf(&b, "@%%p1 bra L%d;\nld.%s %%r5, [%s+%d];\nld.%s %%r6, [%s+%d];\nL%d:\n", label, where, base, imm, where, base, imm+4, label)
		}
	}
	b.WriteString("add.u32 %r5, %r5, %r6; shl.b32 %r12, %r1, 2; cvt.u64.u32 %rd5, %r12; add.u64 %rd6, %rd0, %rd5; setp.eq.u32 %p3, %r1, 0; @%p3 st.global.u32 [%rd6], %r5;\nret;\n}\n")
	return b.String()
}

// TestQuickAtomics compares the loops of common atomics with the general one.
func TestQuickAtomics(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for key, quick := range quickAtomics {
		for range 200 {
			var file [2][4 * 4 * warpSize]uint32
			var mem [2][8]uint32
			var addr [warpSize]uint64
			for i := range file[0] {
				file[0][i] = rng.Uint32()
			}
			for i := range mem[0] {
				mem[0][i] = rng.Uint32()
			}
			for i := range addr {
				addr[i] = uint64(rng.IntN(8)) * 4
			}
			file[1], mem[1] = file[0], mem[0]
			mask, sink := rng.Uint32()|1, rng.IntN(3) == 0
			for k := range 2 {
				w := &warp{block: &block{launch: &launch{}}}
				w.regs = unsafe.Pointer(&file[k])
				m := &memOp{kind: accessAtomic, elem: 4, size: 4, n: 1, atomic: atomics[key]}
				if k == 1 {
					m.quick = quick
				}
				m.regs[0] = memReg{off: 256, bytes: 4, sink: sink}
				in := &instr{b: 128, mem: m}
				tg := &target{mem: unsafe.Pointer(&mem[k]), addr: &addr, mask: mask, space: spaceShared}
				atom(w, in, tg)
			}
			if file[0] != file[1] || mem[0] != mem[1] {
				t.Fatalf("%v: %x and %x", key, mem[0], mem[1])
			}
		}
	}
}
