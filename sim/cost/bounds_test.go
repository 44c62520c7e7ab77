package cost

import (
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// TestBounds checks the last value within each bound of a deployment, and the first beyond it.
func TestBounds(t *testing.T) {
	type change = func(*Deployment)
	for _, c := range []struct {
		name, model    string
		within, beyond change
	}{
		{"utilisation", "llama-3.1-8b", func(d *Deployment) { d.Utilization = 1 }, func(d *Deployment) { d.Utilization = math.Nextafter(1, 2) }},
		{"no utilisation", "llama-3.1-8b", func(d *Deployment) { d.Utilization = math.SmallestNonzeroFloat64 }, func(d *Deployment) { d.Utilization = 0 }},
		{"a token a batch", "llama-3.1-8b", func(d *Deployment) { d.MaxTokens = 1 }, func(d *Deployment) { d.MaxTokens = 0 }},
		{"tokens a batch", "llama-3.1-8b", func(d *Deployment) { d.MaxTokens = 1 << 24 }, func(d *Deployment) { d.MaxTokens = 1<<24 + 1 }},
		{"a sequence", "llama-3.1-8b", func(d *Deployment) { d.MaxSeqs = 1 }, func(d *Deployment) { d.MaxSeqs = 0 }},
		{"sequences", "llama-3.1-8b", func(d *Deployment) { d.MaxSeqs = 1 << 24 }, func(d *Deployment) { d.MaxSeqs = 1<<24 + 1 }},
		{"context", "llama-3.1-8b", func(d *Deployment) { d.MaxModelLen = 131072 }, func(d *Deployment) { d.MaxModelLen = 131073 }},
		{"bytes", "llama-3.1-8b", func(d *Deployment) { d.CardMemory = 1 << 42 }, func(d *Deployment) { d.CardMemory = 1<<42 + 1 }},
		{"no bytes", "llama-3.1-8b", func(d *Deployment) { d.CardMemory = 0 }, func(d *Deployment) { d.CardMemory = -1 }},
		{"blocks", "llama-3.1-8b", func(d *Deployment) { d.BlocksGiven = sim.MaxLedgerBlocks }, func(d *Deployment) { d.BlocksGiven = sim.MaxLedgerBlocks + 1 }},
		{"no blocks", "llama-3.1-8b", func(d *Deployment) { d.BlocksGiven = 0 }, func(d *Deployment) { d.BlocksGiven = -1 }},
		{"cards", "llama-3.1-70b", func(d *Deployment) { d.TP = 64 }, func(d *Deployment) { d.TP = 128 }},
		{"a card", "llama-3.1-70b", func(d *Deployment) { d.TP = 1 }, func(d *Deployment) { d.TP = 0 }},
		{"stages", "llama-3.1-70b", func(d *Deployment) { d.PP = 64 }, func(d *Deployment) { d.PP = 65 }},
		{"a stage", "llama-3.1-70b", func(d *Deployment) { d.PP = 0 }, func(d *Deployment) { d.PP = -1 }},
		{"stages of a layer", "llama-3.1-8b", func(d *Deployment) { d.PP = 32 }, func(d *Deployment) { d.PP = 33 }},
		{"heads with a method", "llama-3.1-8b",
			func(d *Deployment) { d.TP, d.Method.Compression.Rate = 8, 0.5 }, func(d *Deployment) { d.TP, d.Method.Compression.Rate = 16, 0.5 }},
	} {
		if err := onRoundCard(t, c.model, c.within).Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if onRoundCard(t, c.model, c.beyond).Validate() == nil {
			t.Errorf("%s: no error beyond the bound", c.name)
		}
	}
	// One card needs no link; several do, counted over all stages.
	for _, c := range []struct {
		tp, pp int
		ok     bool
	}{{1, 1, true}, {2, 1, false}, {1, 2, false}} {
		d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.TP, d.PP, d.Card.Link, d.Card.Network = c.tp, c.pp, 0, 0 })
		if err := d.Validate(); (err == nil) != c.ok {
			t.Errorf("%d × %d cards without a link: %v", c.tp, c.pp, err)
		}
	}
	if d := onRoundCard(t, "llama-3.1-8b", nil); d.MaxTokens != 32_768 || d.MaxSeqs != 256 || d.Utilization != 0.9 || d.BlockSize != 16 || d.TP != 1 {
		t.Errorf("defaults %+v", d)
	}
}

// TestGivenBlocksByHand divides a given number of blocks: equally among the cards of a group, rounded
// up, and by layers among the stages.
func TestGivenBlocksByHand(t *testing.T) {
	for _, c := range []struct {
		tp, pp, given int
		held          int64 // on each card
	}{{1, 0, 12_345, 12_345}, {2, 0, 12_345, 6_173}, {2, 0, 12_346, 6_173}, {1, 2, 12_345, 6_172}, {1, 0, 1, 1}} {
		d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.TP, d.PP, d.BlocksGiven = c.tp, c.pp, c.given })
		m, err := d.Memory()
		if err != nil || m.Blocks != c.given || m.KV != c.held*16*512 {
			t.Errorf("%d × %d cards: %d blocks, %d bytes of KV, want %d of %d: %v", c.tp, c.pp, m.Blocks, m.KV, c.held*16*512, c.given, err)
		}
	}
	// No more than a ledger has, over all cards: 4 TiB in blocks of one KV of a head in 8 bits are more.
	many := onRoundCard(t, "llama-3.1-70b", func(d *Deployment) { d.TP, d.CardMemory, d.BlockSize, d.KV = 64, 1<<42, 1, dtype.E4M3 })
	if m, err := many.Memory(); err != nil || m.Blocks != sim.MaxLedgerBlocks {
		t.Errorf("%d blocks, want %d: %v", m.Blocks, sim.MaxLedgerBlocks, err)
	}
	// Only a compressor's weights are subtracted from the rest.
	llingua := func(d *Deployment) {
		d.Method = ref.Config{Method: llmLingua2, Compression: ref.Compression{Rate: 0.5}}
	}
	plain, err := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.BlocksGiven = 1 }).Memory()
	with, err2 := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { llingua(d); d.BlocksGiven = 1 }).Memory()
	if err != nil || err2 != nil || with.Compressor == 0 || plain.Unused-with.Unused != with.Compressor {
		t.Errorf("%d bytes unused, %d with a compressor of %d: %v %v", plain.Unused, with.Unused, with.Compressor, err, err2)
	}
	free, err := onRoundCard(t, "llama-3.1-8b", nil).Memory()
	less, err2 := onRoundCard(t, "llama-3.1-8b", llingua).Memory()
	if want := (int64(free.Blocks)*8192 + free.Unused - less.Compressor) / 8192; err != nil || err2 != nil || int64(less.Blocks) != want {
		t.Errorf("%d blocks, %d with a compressor: %v %v", free.Blocks, less.Blocks, err, err2)
	}
}

// TestWindowedConcurrency checks how many requests a cache of gpt-oss-20b holds. Its layers are in
// two groups of 12 layers of 8 heads: a request of 4,096 tokens has 256 blocks in each head that
// holds every token. In each with a window of 128, V1 counts those of 127 tokens and a batch of 512, and one more.
func TestWindowedConcurrency(t *testing.T) {
	const need = 96*256 + 96*(40+1)
	given := func(blocks, longest int) (Memory, error) {
		return onRoundCard(t, "gpt-oss-20b", func(d *Deployment) { d.BlocksGiven, d.MaxModelLen, d.MaxTokens = blocks, longest, 512 }).Memory()
	}
	if m, err := given(96_000, 4096); err != nil || m.Concurrency != 96_000./need || m.Tokens != 500*16 {
		t.Errorf("%v requests, %d tokens, want %v and %d: %v", m.Concurrency, m.Tokens, 96_000./need, 500*16, err)
	}
	if m, err := given(96_000, 97); err != nil || m.Concurrency != 96_000./(96*7+96*8) { // within the window
		t.Errorf("%v requests of 97 tokens, want %v: %v", m.Concurrency, 96_000./(96*15), err)
	}
	// vLLM 0.6 has a ring of 8 blocks.
	ring := onRoundCard(t, "gpt-oss-20b", func(d *Deployment) { d.BlocksGiven, d.MaxModelLen, d.Engine = 96_000, 4096, VLLM06 })
	if m, err := ring.Memory(); err != nil || m.Concurrency != 96_000./(96*256+96*8) {
		t.Errorf("vllm-0.6: %v requests: %v", m.Concurrency, err)
	}
	if m, err := given(need, 4096); err != nil || m.Concurrency != 1 {
		t.Errorf("%v requests in the blocks of one: %v", m.Concurrency, err)
	}
	if _, err := given(need-1, 4096); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("a block less than a request takes: %v", err)
	}
	if _, err := given(need-1, 0); err != nil { // no limit was asked for
		t.Error(err)
	}
	// Jamba has 4 layers of 8 heads, and states of as many blocks as in TestLayouts.
	jamba := onRoundCard(t, "jamba-v0.1", func(d *Deployment) { d.BlocksGiven, d.MaxModelLen = 96_000, 4096 })
	if m, err := jamba.Memory(); err != nil || m.Concurrency != 96_000./(4*8*256+28*8*5) {
		t.Errorf("jamba: %v requests: %v", m.Concurrency, err)
	}
	// A model of states alone holds as many requests as blocks on a card.
	states := onRoundCard(t, "mamba-2.8b", func(d *Deployment) { d.TP, d.BlocksGiven = 4, 400 })
	if m, err := states.Memory(); err != nil || m.Sequences != 100 || m.Concurrency != 100 {
		t.Errorf("%d sequences, %v: %v", m.Sequences, m.Concurrency, err)
	}
}

// TestGroupSize: layers of several kinds form groups. A group has as many layers as the rarest
// kind, or as the most frequent kind if that has less than a quarter more.
func TestGroupSize(t *testing.T) {
	for _, c := range []struct {
		kinds []int
		want  int
	}{{[]int{4, 5}, 4}, {[]int{8, 9}, 9}, {[]int{5, 6}, 6}, {[]int{4, 0, 28}, 4}, {[]int{28, 4}, 4}, {[]int{0, 7}, 7}, {[]int{0, 0}, 1}, {[]int{1, 3}, 1}} {
		if got := groupSize(c.kinds...); got != c.want {
			t.Errorf("groups of %v are of %d layers, want %d", c.kinds, got, c.want)
		}
	}
}

// TestSparedByHand: of 200 heads of 10 blocks that give up 1,000 of their 2,000 blocks, a half is
// kept: 4/5 · 1/4 of the heads are spared, and the other 160 give up all, 6 or 7 each.
func TestSparedByHand(t *testing.T) {
	lost := func(n, kvs, tokens, asked, can int) (spared int, each []int) {
		d := &sim.Demand{
			Tokens: tokens, Unit: 16, DenseUnits: 10 * n, Quotas: []ref.Quota{{First: 0, Heads: n, Units: asked}},
			Heads: []sim.Heads{{N: n, KVs: kvs, Units: 10, Can: can}},
		}
		at := 0
		for _, h := range (Spared{}).Spread(nil, d) {
			if h.First != at || h.N < 1 {
				t.Errorf("%d heads from %d on follow %d", h.N, h.First, at)
			}
			at += h.N
			if h.Lost == 0 {
				spared += h.N
			}
			for range h.N {
				each = append(each, h.Lost)
			}
		}
		if at != n {
			t.Errorf("%d heads of %d", at, n)
		}
		return spared, each
	}
	for _, c := range []struct{ kvs, tokens, asked, can, spared int }{
		{160, 160, 1000, 9, 40},
		{160, 160, 200, 9, 130}, // 9/10 stay: 4/5 · 81/100 of them, 129.6
		{160, 160, 1600, 9, 7},  // 1/5 stays: 6.4
		{150, 160, 1000, 9, 0},  // they have lost before: none is spared
		{160, 160, 1440, 8, 13}, // 28/100 stay: 12.5, and the other 187 can give up 1,496
		{160, 160, 1600, 8, 0},  // all have to give up all
		{160, 160, 2000, 10, 0}, // nothing stays
		{160, 160, 912, 6, 48},  // the other 152 can give up just that
		{160, 160, 913, 6, 0},   // and not one more
	} {
		spared, all := lost(200, c.kvs, c.tokens, c.asked, c.can)
		if spared != c.spared {
			t.Errorf("%+v: %d heads are spared", c, spared)
		}
		sum := 0
		for _, n := range all {
			sum += n
		}
		if sum != c.asked {
			t.Errorf("%+v: %d blocks are lost", c, sum)
		}
		if rest := all[c.spared:]; slices.Max(rest)-slices.Min(rest) > 1 {
			t.Errorf("%+v: others lose %d to %d", c, slices.Min(rest), slices.Max(rest))
		}
	}
}

// TestEvenMap spreads heads that keep everything over the layers: of 3 layers of 4 heads a half
// are 6, two in each layer; of 4 layers of 2 heads 3/8 are 3, none in the first.
func TestEvenMap(t *testing.T) {
	for _, c := range []struct {
		layers, heads int
		part          float64
		want          []int // in each layer
	}{{3, 4, 0.5, []int{2, 2, 2}}, {4, 2, 0.375, []int{0, 1, 1, 1}}, {2, 2, 0, []int{0, 0}}, {2, 2, 1, []int{2, 2}}, {3, 2, 0.34, []int{0, 1, 1}}} {
		for l, row := range evenMap(kv.Shape{Layers: c.layers, KVHeads: c.heads}, c.part) {
			n := 0
			for h, v := range row {
				n += v
				if v != 0 && v != 1 || v == 1 && h > 0 && row[h-1] == 0 {
					t.Errorf("%+v: layer %d is %v, want ones first", c, l, row)
				}
			}
			if n != c.want[l] {
				t.Errorf("%+v: layer %d has %d", c, l, n)
			}
		}
	}
}

// TestPlannedTermsByHand checks the methods that exist only in plans: InfLLM's fetches and layout,
// LLMLingua-2's products.
func TestPlannedTermsByHand(t *testing.T) {
	inf := ref.Config{Method: infLLM, Compression: ref.Compression{MaxCacheTokens: 8192}}
	p, err := inf.InfLLMReads()
	if err != nil {
		t.Fatal(err)
	}
	one := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.Method = inf })
	two := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.Method, d.TP = inf, 2 })
	// Of each of 256 heads K and V of 128 numbers of two bytes, over a host's link of 10 GB/s.
	want := p.Missed * float64(p.LookedUp) * 256 * 512 / 1e10 * 1e9
	if got := one.fetches(); !near(got, want) || want <= 0 || !near(two.fetches(), want/2) {
		t.Errorf("%v ns, %v on two cards, want %v", got, two.fetches(), want)
	}
	if got := one.attentionLayers(catalog.Windowed); got != 32 || one.attentionLayers(catalog.Full) != 0 {
		t.Errorf("%d layers with a window", got)
	}
	// A block of 128 tokens has a representative for each of 1,024 query heads: a key, which is half a KV.
	layout := sim.Layout{Windowed: 256, Window: p.Tokens(), Full: 1024 / 2 / 128}
	if got := one.Layout(); got == nil || *got != layout {
		t.Errorf("%+v, want %+v", got, layout)
	}

	lingua := ref.Config{Method: llmLingua2, Compression: ref.Compression{Rate: 0.25}}
	q, err := lingua.PromptCompression()
	if err != nil {
		t.Fatal(err)
	}
	d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.Method = lingua })
	if got, want := d.compressesPrompt(), 2*q.Matrices*4/1e5; !near(got, want) || d.PromptRate() != 0.25 {
		t.Errorf("%v ns a token that is left, want %v", got, want)
	}
	if plain := onRoundCard(t, "llama-3.1-8b", nil); plain.PromptRate() != 1 || plain.compressesPrompt() != 0 || plain.fetches() != 0 || plain.Layout() != nil {
		t.Error("without a method something is planned")
	}
}

// TestMethodBytesByHand checks the bytes that methods move in addition to K and V, which are 512 for
// a head of Llama-3.1-8B.
func TestMethodBytesByHand(t *testing.T) {
	for _, c := range []struct {
		method            string
		set               ref.Settings
		attention, folded int
		metadata          int // of a block of 16
	}{
		{"", nil, 512, 0, 21 + 16*(12+8*4)},
		{"snapkv", nil, 512, 0, 16 + 16*(4+4)},
		{"streaming-llm", nil, 512, 0, 16 + 16*4},
		{"h2o-real-drop", nil, 512 + 2*4, 0, 16 + 16*(4+4)}, // a score, read and written
		{"quest", nil, 512, 0, 512},                         // the bounds of a page of 16 tokens
		// A page of 24 tokens is one and a half blocks of 16·512 bytes: two thirds of 512, rounded up.
		{"quest", ref.Settings{"page": []byte("24")}, 512, 0, 342},
		{"quest", ref.Settings{"page": []byte("12288")}, 512, 0, 1}, // two thirds of a byte
	} {
		d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) {
			d.Method = ref.Config{Method: c.method, Set: c.set, Compression: ref.Compression{MaxCacheTokens: 128}}
		})
		if got := [3]int{d.attentionBytes(), d.foldedBytes(), d.blockMetadata()}; got != [3]int{c.attention, c.folded, c.metadata} {
			t.Errorf("%s: %d bytes read, %d folded, %d of metadata, want %d, %d, %d", c.method, got[0], got[1], got[2], c.attention, c.folded, c.metadata)
		}
	}
	// RazorAttention keeps the weight of a stand-in, and reads K and V of what it folds into it.
	razor := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) {
		d.Method = ref.Config{Method: "razor", Set: ref.Settings{FullShare: []byte("0.25")}}
	})
	if got := [2]int{razor.attentionBytes(), razor.foldedBytes()}; got != [2]int{512 + 4, 512} {
		t.Errorf("razor: %d bytes read and %d folded", got[0], got[1])
	}
	for share, outside := range map[string]bool{"0": false, "1": false, "-0.1": true, "1.1": true} {
		razor.Method.Set[FullShare] = []byte(share)
		if _, err := razor.settings(); (err != nil) != outside {
			t.Errorf("a share of %s: %v", share, err)
		}
	}
}

// TestShapeByHand: if there are fewer KV heads than cards, several cards hold a KV head, each with
// a part of its query heads.
func TestShapeByHand(t *testing.T) {
	for _, c := range []struct {
		model string
		tp    int
		want  kv.Shape
	}{
		{"llama-3.1-70b", 1, kv.Shape{Layers: 80, KVHeads: 8, Group: 8, HeadSize: 128}},
		{"llama-3.1-70b", 8, kv.Shape{Layers: 80, KVHeads: 8, Group: 8, HeadSize: 128}},
		{"llama-3.1-70b", 16, kv.Shape{Layers: 80, KVHeads: 16, Group: 4, HeadSize: 128}},
		{"llama-3.1-70b", 64, kv.Shape{Layers: 80, KVHeads: 64, Group: 1, HeadSize: 128}},
		{"mamba-2.8b", 4, kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: kv.MinHeadSize}},
	} {
		if got := onRoundCard(t, c.model, func(d *Deployment) { d.TP = c.tp }).shape(); got != c.want {
			t.Errorf("%s on %d cards: %+v, want %+v", c.model, c.tp, got, c.want)
		}
	}
	for _, c := range [][3]int{{0, 16, 0}, {1, 16, 1}, {16, 16, 1}, {17, 16, 2}, {32, 16, 2}} {
		if got := ceil.Div(c[0], c[1]); got != c[2] {
			t.Errorf("⌈%d/%d⌉ is %d", c[0], c[1], got)
		}
	}
}

// TestStageBytesByHand: Llama-3.2-1B has one table for both ends, which the first and the last
// stage each hold, and a norm after the last layer. 16 layers in three stages are 5, 6 and 5.
func TestStageBytesByHand(t *testing.T) {
	const layer, table, norm = 2 * (2*2048*2048 + 2*2048*512 + 3*2048*8192 + 2*2048), 2 * 128_256 * 2048, 2 * 2048
	for stages, want := range map[int][][2]int64{ // bytes and tables
		1: {{16*layer + table + norm, 1}},
		2: {{8*layer + table, 1}, {8*layer + table + norm, 1}},
		3: {{5*layer + table, 1}, {6 * layer, 0}, {5*layer + table + norm, 1}},
	} {
		d := onRoundCard(t, "llama-3.2-1b", func(d *Deployment) { d.PP = stages })
		for i, w := range want {
			if bytes, tables := d.stageBytes(i); bytes != w[0] || tables != w[1] {
				t.Errorf("stage %d of %d has %d bytes and %d tables, want %d and %d", i, stages, bytes, tables, w[0], w[1])
			}
		}
	}
}

// TestStagesShareByHand checks the blocks of two stages of two cards. The last stage has one norm
// more, which costs no row of blocks, so the first stage is reported; 4 of 8 heads are on each card, and every block has 8,192 bytes.
func TestStagesShareByHand(t *testing.T) {
	d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.TP, d.PP = 2, 2 })
	m, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	const weights = (2*16*(layerWeights+2*4096)+2*128_256*4096)/2 + 2*131_072*128 // and the rotary table
	room := m.Card - m.Reserved - m.Activations - m.Fixed - m.Graphs
	rows := (room - weights - 4096) / (8192 * 4 * 16)
	if want := int(rows) * 4 * 32 * 2; m.Weights != weights || m.Blocks != want || m.KV != rows*4*16*8192 {
		t.Errorf("%d bytes of weights, %d blocks, %d bytes of KV, want %d, %d, %d", m.Weights, m.Blocks, m.KV, int64(weights), want, rows*4*16*8192)
	}
}

// TestFullestStageByHand: of stages of 11, 11 and 10 layers, the first has the embedding beside as many layers as the second, and
// the last the output matrix and a norm beside fewer. So the first has room for the fewest blocks of each layer, and all others
// have as many. A block has 8,192 bytes, and a layer 8 heads.
func TestFullestStageByHand(t *testing.T) {
	d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.PP = 3 })
	m, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	const layer, table, rotary = 2 * (layerWeights + 2*4096), 2 * 128_256 * 4096, 2 * 131_072 * 128
	room := m.Card - m.Reserved - m.Activations - m.Fixed - m.Graphs
	first := (room - 11*layer - table - rotary) / (8192 * 8 * 11)
	second := (room - 11*layer - rotary) / (8192 * 8 * 11)
	last := (room - 10*layer - table - 2*4096 - rotary) / (8192 * 8 * 10)
	if first >= second || second >= last {
		t.Fatalf("%d, %d and %d rows of blocks", first, second, last)
	}
	if m.Blocks != int(first)*8*32 || m.Weights != 11*layer+table+rotary {
		t.Errorf("%d blocks beside %d bytes of weights, want %d and %d", m.Blocks, m.Weights, first*8*32, int64(11*layer+table+rotary))
	}
}

// TestLayerPeakByHand checks the bytes of a token in the MLP of a layer by each engine, on one card and
// on two: 2 · (3 · 14336/P + r · 4096).
func TestLayerPeakByHand(t *testing.T) {
	for engine, r := range map[Engine][2]int64{
		KVCompress: {2, 2}, VLLM06: {2, 2}, VLLM063: {3, 4}, VLLM07: {3, 4},
		VLLMV1First: {3, 4}, VLLMV1: {3, 4}, VLLMV1Next: {3, 4}, VLLMV1Last: {3, 4},
	} {
		for i, residuals := range r {
			cards := int64(i + 1)
			d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.TP, d.MaxTokens = int(cards), 100 })
			p := engine.profiling()
			if got, want := d.layerPeak(&p), 100*2*(3*14336/cards+residuals*4096); got != want {
				t.Errorf("%s on %d cards: %d bytes, want %d", engine, cards, got, want)
			}
		}
	}
}
