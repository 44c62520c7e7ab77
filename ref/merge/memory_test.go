package merge

import (
	"encoding/csv"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kvcompress/internal/docstest"
)

var update = flag.Bool("update", false, "rewrite the tables in docs/methods/minicache.md")

// llama returns Llama-2-7B, merged from layer s on.
func llama(s int, ratio float64) Payload {
	return Payload{Layers: 32, From: s, KVHeads: 32, HeadSize: 128, Ratio: ratio, Bits: 16, NormBytes: 2}
}

// fourBits returns the payload with all elements in groups of 32 with 4 bits and two 16-bit numbers.
func (p Payload) fourBits() Payload {
	p.Bits = 5
	return p
}

// pages returns the payload as stored by this repository: a binary32 norm for each head, and an index of 4
// bytes for each retained token.
func (p Payload) pages() Payload {
	p.PerHead, p.NormBytes, p.IndexBytes = true, 4, 4
	return p
}

// TestPayloadClosedForm compares Bytes with the paper's closed form, and the cost of norms for each head with
// 2L(H−1) bytes, both for S = L/2.
func TestPayloadClosedForm(t *testing.T) {
	for _, c := range []struct{ layers, heads, size int }{{32, 32, 128}, {40, 40, 128}, {32, 8, 128}, {4, 1, 8}} {
		p := Payload{Layers: c.layers, From: c.layers / 2, KVHeads: c.heads, HeadSize: c.size, Ratio: 0.05, Bits: 16, NormBytes: 2}
		width := float64(c.heads * c.size)
		if got, want := p.Bytes(), (3.1*width+2)*float64(c.layers); math.Abs(got-want) > 1e-9*want {
			t.Errorf("%+v: %v bytes, want %v", c, got, want)
		}
		perHead := p
		perHead.PerHead = true
		if got, want := perHead.Bytes()-p.Bytes(), float64(2*c.layers*(c.heads-1)); math.Abs(got-want) > 1e-6 {
			t.Errorf("%+v: norms for each head add %v bytes, want %v", c, got, want)
		}
	}
}

// TestPayloadByHand has one small model, computed by hand: 5 layers of 2 heads of 8, with layers 1 and 2, 3
// and 4 merged.
func TestPayloadByHand(t *testing.T) {
	p := Payload{Layers: 5, From: 1, KVHeads: 2, HeadSize: 8, Ratio: 0.25, Bits: 16, NormBytes: 4, PerHead: true, IndexBytes: 4}
	// Layer 0: 2·16·2 = 64. A pair: directions 64, retained 2·0.25·64 = 32, norms 2·2·2·4 = 32, indices
	// 0.25 of K and V of 2 heads · 4 = 4.
	if got := p.Bytes(); got != 64+2*(64+32+32+4) {
		t.Errorf("%v bytes", got)
	}
	p.From = 2 // layer 4 is not merged
	if got := p.Bytes(); p.Pairs() != 1 || got != 3*64+64+32+32+4 {
		t.Errorf("%d pairs, %v bytes", p.Pairs(), got)
	}
	p.From = 5
	if got := p.Bytes(); p.Pairs() != 0 || got != p.Full() || p.Compression() != 1 {
		t.Errorf("without pairs: %v bytes, %v full", got, p.Full())
	}
	if rho, ok := p.RatioFor(1.5); ok {
		t.Errorf("without pairs, ρ = %v", rho)
	}
	for name, bad := range map[string]Payload{
		"layers": {Layers: 0, KVHeads: 1, HeadSize: 8, Bits: 16}, "from": {Layers: 2, From: 3, KVHeads: 1, HeadSize: 8, Bits: 16},
		"bits": {Layers: 2, KVHeads: 1, HeadSize: 8}, "ratio": {Layers: 2, KVHeads: 1, HeadSize: 8, Bits: 16, Ratio: 2},
	} {
		if bad.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

// TestPublishedRatios shows which S and ρ the published 1.53 and 5.02 need. S = L/2 gives neither. Any S and
// ρ that give 1.53 give less than 5.02 with 4 bits: 5.02 / 1.53 is 3.28, and 4-bit codes in groups of 32 take
// 5 bits per value, 16/5 = 3.2.
func TestPublishedRatios(t *testing.T) {
	const merging, both = 1.53, 5.02
	found := 0
	for s := 0; s < 32; s += 2 {
		rho, ok := llama(s, 0).RatioFor(merging)
		if s == 16 && ok {
			t.Errorf("S = 16 gives %v with ρ = %v", merging, rho)
		}
		if !ok {
			continue
		}
		found++
		p := llama(s, rho)
		if got := p.Compression(); math.Abs(got-merging) > 1e-9 {
			t.Errorf("S = %d, ρ = %v: %v", s, rho, got)
		}
		if got := p.fourBits().Compression(); got >= both || got < 4.85 {
			t.Errorf("S = %d, ρ = %v: with 4 bits %v", s, rho, got)
		}
	}
	if found == 0 {
		t.Error("no S gives 1.53")
	}
}

// TestMemoryTables compares the tables of docs/methods/minicache.md with the values that this package
// computes.
func TestMemoryTables(t *testing.T) {
	var table strings.Builder
	table.WriteString("| S | 16 bits, ρ = 0 | ρ = 0.05 | ρ = 0.1 | 4 bits, ρ = 0 | ρ = 0.05 | ρ = 0.1 | here, 16 bits, ρ = 0.05 | here, 4 bits |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range []int{0, 4, 6, 8, 12, 16} {
		fmt.Fprintf(&table, "| %d |", s)
		for _, bits := range []func(Payload) Payload{func(p Payload) Payload { return p }, Payload.fourBits} {
			for _, rho := range []float64{0, 0.05, 0.1} {
				fmt.Fprintf(&table, " %.2f |", bits(llama(s, rho)).Compression())
			}
		}
		here := llama(s, 0.05).pages()
		fmt.Fprintf(&table, " %.2f | %.2f |\n", here.Compression(), here.fourBits().Compression())
	}
	table.WriteString("\n| S | ρ for 1.53 | with it, 4 bits give | ρ for 5.02 with 4 bits | with it, 16 bits give |\n|---|---|---|---|---|\n")
	for s := 0; s < 32; s += 2 {
		merging, ok := llama(s, 0).RatioFor(1.53)
		if !ok {
			continue
		}
		both, ok := llama(s, 0).fourBits().RatioFor(5.02)
		of5, with := "none", ""
		if ok {
			of5, with = fmt.Sprintf("%.3f", both), fmt.Sprintf("%.2f", llama(s, both).Compression())
		}
		fmt.Fprintf(&table, "| %d | %.3f | %.2f | %s | %s |\n", s, merging, llama(s, merging).fourBits().Compression(), of5, with)
	}

	const path, begin, end = "../../docs/methods/minicache.md", "-run MemoryTables -update writes it -->\n", "<!-- end -->"
	docstest.Between(t, path, begin, end, table.String(), *update, "go test ./ref/merge -run MemoryTables -update")
}

// TestPublishedAverages finds the rows of the published LongBench table with an average equal to that of
// their columns, and compares them with those that docs/methods/minicache.md names.
func TestPublishedAverages(t *testing.T) {
	f, err := os.Open("../../../shared/data/published/minicache_longbench.csv")
	if err != nil {
		t.Skipf("needs ../shared/data beside the repository: %v", err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var agree []string
	for _, row := range rows[1:] {
		var numbers []float64
		for _, cell := range row[2:10] { // seven columns and their average
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, v)
		}
		sum := 0.0
		for _, v := range numbers[:7] {
			sum += v
		}
		if math.Abs(sum/7-numbers[7]) <= 0.005+1e-9 { // printed with two decimals
			agree = append(agree, row[0]+" "+row[1])
		}
	}
	if want := []string{"Llama-2-13B-Chat Baseline", "Llama-2-13B-Chat RTN"}; len(rows) != 21 || !slices.Equal(agree, want) {
		t.Errorf("of %d rows the averages of %v are those of their columns, want %v", len(rows)-1, agree, want)
	}
}

// The bytes of a Llama-2-7B token under MiniCache, merged from the middle layer on.
func ExamplePayload() {
	p := Payload{Layers: 32, From: 16, KVHeads: 32, HeadSize: 128, Ratio: 0.05, Bits: 16, NormBytes: 2}
	fmt.Printf("%.0f of %.0f bytes a token: %.2f\n", p.Bytes(), p.Full(), p.Compression())
	// Output: 406387 of 524288 bytes a token: 1.29
}
