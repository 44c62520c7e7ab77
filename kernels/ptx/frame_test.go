package ptx

import (
	"fmt"
	"strings"
	"testing"
)

// passes is a kernel whose pointers take more passes over the code than the search for origins makes, with n
// calls that copy the largest argument whose pointers are followed.
func passes(n int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `.version 7.8
.target sm_80
.address_size 64
.func f(.param .align 8 .b8 a[%d]) { ret; }
.visible .entry k(.param .u64 p)
{
	.reg .b64 %%rd<100>; .reg .b32 %%r<4>; .local .align 8 .b8 x[520000]; .param .align 8 .b8 v[%[1]d];
`, maxCopied)
	for i := range maxOriginPasses + 2 {
		fmt.Fprintf(&b, "mov.u64 %%rd%d, %%rd%d;\n", i, i+1)
	}
	fmt.Fprintf(&b, "ld.param.u64 %%rd%d, [p]; st.param.u64 [v], %%rd1; st.local.u64 [x+500000], %%rd1; st.u64 [%%rd1], %%rd2; st.u32 [%%rd0], %%r1;\n", maxOriginPasses+2)
	b.WriteString(strings.Repeat("call f, (v);\n", n))
	b.WriteString("ret;\n}\n")
	return []byte(b.String())
}

// TestOriginSteps checks that the search for the origins of pointers takes a number of steps that is linear in the code,
// and at most the budget.
func TestOriginSteps(t *testing.T) {
	steps := func(calls, budget int) int {
		p, err := Parse("k.ptx", passes(calls), false)
		if err != nil {
			t.Fatal(err)
		}
		e := p.entries["k"]
		e.origins, e.originSets, e.bounds = nil, nil, nil
		return budget - findOrigins(e, budget)
	}
	const calls = 500
	one, two := steps(calls, maxOriginSteps), steps(2*calls, maxOriginSteps)
	if one < maxOriginPasses*calls {
		t.Errorf("%d steps for %d calls: fewer passes than meant", one, calls)
	}
	if two > 2*one {
		t.Errorf("%d steps for %d calls, %d for twice as many", one, calls, two)
	}
	if few, most := steps(calls, one/4), one/4+2*calls*(1+2*maxCopied/localUnit); few > most {
		t.Errorf("%d steps with a budget of %d, want at most %d", few, one/4, most)
	}
}

// BenchmarkHostileLoad loads a file of calls whose arguments' pointers are followed through local memory in as many
// passes as possible.
func BenchmarkHostileLoad(b *testing.B) {
	for _, calls := range []int{1000, 4000, 16000, 64000} {
		text := passes(calls)
		b.Run(fmt.Sprint(calls), func(b *testing.B) {
			for b.Loop() {
				if _, err := Parse("k.ptx", text, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*calls), "ns/call")
		})
	}
}
