package cost

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

func deploy(t *testing.T, model, card string, tp int) *Deployment {
	t.Helper()
	m, err := catalog.FindModel(model)
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.FindCard(card)
	if err != nil {
		t.Fatal(err)
	}
	d := New(m, c)
	d.TP = tp
	return &d
}

// TestKVBytes compares the bytes of a token's KVs over all layers, in 16 bits: 2·L·H·D·2
// by hand, and for DeepSeek-V3, Qwen2.5-72B and Llama-3.1-405B the figures of table 1 of
// "Insights into DeepSeek-V3" (arXiv 2505.09343): 70.272, 327.680 and 516.096 KB.
func TestKVBytes(t *testing.T) {
	for model, want := range map[string]int{
		"llama-3.1-8b": 131_072, "llama-3.1-405b": 516_096, "qwen2.5-72b": 327_680, "deepseek-v3": 70_272, "kimi-k2.5": 70_272, "minimax-m2.5": 4 * 62 * 8 * 128, "glm-4.5": 4 * 92 * 8 * 128,
		"deepseek-v2-lite": 27 * 576 * 2, "mixtral-8x7b": 131_072, "mistral-nemo": 4 * 40 * 8 * 128, "qwen3-30b-a3b": 4 * 48 * 4 * 128,
		"gpt-oss-120b": 4 * 36 * 8 * 64, "gemma-3-27b": 4 * 62 * 16 * 128, "jamba-v0.1": 4 * 4 * 8 * 128, "qwen3-next-80b-a3b": 4 * 12 * 2 * 256,
		"qwen3.5-397b-a17b": 4 * 15 * 2 * 256, "nemotron-3-super-120b-a12b": 4 * 8 * 2 * 128,
		"kimi-linear-48b-a3b": 2 * 7 * 576,
	} {
		d := deploy(t, model, "h100", 1)
		s := d.Model.Shape
		if got := s.Layers * s.KVHeads * d.rowBytes(); got != want {
			t.Errorf("%s: %d bytes a token, want %d", model, got, want)
		}
	}
}

// TestLayouts compares the heads that a sequence's blocks are counted for with vLLM V1's
// groups of layers, worked out by hand.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		model string
		tp    int
		want  sim.Layout
	}{
		{"mistral-7b-v0.1", 1, sim.Layout{Windowed: 256, Window: 4096, Group: 256, WindowsFirst: true}},
		{"gemma-2-9b", 2, sim.Layout{Full: 21 * 8, Windowed: 21 * 8, Window: 4096, Group: 21 * 8, WindowsFirst: true}},
		{"gemma-3-27b", 1, sim.Layout{Full: 10 * 16, Windowed: 60 * 16, Window: 1024, Group: 10 * 16, WindowsFirst: true}}, // 52 in groups of 10
		{"gpt-oss-20b", 16, sim.Layout{Full: 12 * 16, Windowed: 12 * 16, Window: 128, Group: 12 * 16, WindowsFirst: true}}, // each head twice
		// 10 layers with 4 heads of 512 elements, in heads of 256, and 50 with 16 of 256. On each of 8 cards one and two.
		{"gemma-4-31b", 1, sim.Layout{Full: 10 * 8, Windowed: 50 * 16, Window: 1024, Group: 10 * 8, WindowsFirst: true}},
		{"gemma-4-31b", 8, sim.Layout{Full: 10 * 8 * 2, Windowed: 50 * 16, Window: 1024, Group: 10 * 16, WindowsFirst: true}},
		{"gemma-4-31b", 16, sim.Layout{Full: 10 * 16 * 2, Windowed: 50 * 16, Window: 1024, Group: 10 * 16, WindowsFirst: true}},
		{"mamba-2.8b", 4, sim.Layout{Fixed: 4}},
		// A state of 311,296 bytes takes 8 heads' blocks of 8,192 bytes: five of each.
		{"jamba-v0.1", 1, sim.Layout{Full: 4 * 8, Fixed: 28 * 8 * 5}},
		// On each of 2 cards a head with blocks of 16,384 bytes; half a state is 548,864: 34 of them.
		{"qwen3-next-80b-a3b", 2, sim.Layout{Full: 12 * 2, Fixed: 36 * 34 * 2}},
		// A quarter of a state is 1,067,008 bytes: 66 blocks of each card's head, of which there are 4.
		{"qwen3.5-397b-a17b", 4, sim.Layout{Full: 15 * 4, Fixed: 45 * 66 * 4}},
		// 23 layers with states are padded to four groups of 6. A state of 2,134,016 bytes takes 131 blocks of two
		// heads' 8,192 bytes. Layers with experts alone hold nothing.
		{"nemotron-3-nano-30b-a3b", 1, sim.Layout{Full: 6 * 2, Fixed: 24 * 131 * 2}},
	} {
		d := deploy(t, c.model, "h100", c.tp)
		if got := d.Layout(); got == nil || *got != c.want {
			t.Errorf("%s on %d: %+v, want %+v", c.model, c.tp, got, c.want)
		}
	}
	if d := deploy(t, "deepseek-v3", "h200", 8); d.Layout() != nil || d.Heads() != 61*8 {
		t.Errorf("deepseek-v3: %+v, %d heads", d.Layout(), d.Heads())
	}
	d := deploy(t, "llama-3.1-8b", "h100", 1)
	d.Model.Layers[3], d.Model.Shape.Layers = catalog.Stateless, 31
	if got := d.Layout(); got == nil || *got != (sim.Layout{Full: 31 * 8, Group: 31 * 8}) {
		t.Errorf("a layer without attention: %+v", got)
	}
	d = deploy(t, "gemma-4-31b", "h100", 2)
	d.Model.Global.KVHeads = 3
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "the 3 KV heads that some layers") {
		t.Errorf("3 heads on 2 cards: %v", err)
	}
	if got := groupSize(10, 12, 0); got != 12 { // nearly as many: padded to the larger
		t.Errorf("groups of %d layers, want 12", got)
	}
}

// TestReplicated has more cards than KV heads: each card holds one head of every layer.
func TestReplicated(t *testing.T) {
	d := deploy(t, "llama-3.1-70b", "h100", 16)
	m, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if d.Heads() != 80*16 || m.BlockKV != 16*128*2*2 || m.Tokens != m.Blocks/(80*16)*16 {
		t.Errorf("%d heads, %d bytes a block, %d tokens in %d blocks", d.Heads(), m.BlockKV, m.Tokens, m.Blocks)
	}
	d.TP, d.Card.Network = 16, 0
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "network_bytes_per_sec") {
		t.Errorf("an unknown network: %v", err)
	}
	d = deploy(t, "llama-3.1-70b", "h100", 16)
	d.Method.Compression.Rate = 0.5
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "use at most 8") {
		t.Errorf("a method with replicated heads: %v", err)
	}
}

// TestStateHeads: the heads of linear-time layers are divided over the cards too.
func TestStateHeads(t *testing.T) {
	for model, heads := range map[string]int{"qwen3.5-397b-a17b": 16, "kimi-linear-48b-a3b": 32, "nemotron-3-nano-30b-a3b": 64, "mamba-codestral-7b": 128, "jamba-v0.1": 0} {
		for _, tp := range []int{8, 16, 32} {
			d := deploy(t, model, "b200", tp)
			want := heads%tp != 0
			if err := d.Validate(); (err != nil) != want || want && !strings.Contains(err.Error(), fmt.Sprintf("a divisor of the %d heads of the linear-time layers", heads)) {
				t.Errorf("%s on %d cards: %v", model, tp, err)
			}
		}
	}
}

// TestStages shares layers out as vLLM does, and counts the stage that is fullest.
func TestStages(t *testing.T) {
	d := deploy(t, "qwen2.5-7b", "l4", 1) // 28 layers
	d.PP = 8
	at := 0
	for i, want := range []int{3, 3, 3, 4, 4, 4, 4, 3} {
		from, to := d.stage(i)
		if from != at || to-from != want {
			t.Errorf("stage %d has layers %d to %d, want %d from %d on", i, from, to, want, at)
		}
		at = to
	}
	d = deploy(t, "llama-3.1-70b", "a100-80gb", 2)
	d.PP = 2
	m, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	// Half of the layers and a table in each stage, the last norm in the last; and the table of
	// rotary embeddings on every card.
	const layers = 80 * (2*8192*8192 + 2*8192*1024 + 3*8192*28672 + 2*8192)
	const rope = 131072 * 128 * 2
	if want := int64(layers/2+128256*8192)*2/2 + rope; m.Weights != want && m.Weights != want+8192 {
		t.Errorf("weights of %d bytes, want %d", m.Weights, want)
	}
	if m.Blocks%(80*8) != 0 || m.Blocks/2/80*40*m.BlockKV > int(m.KV) {
		t.Errorf("%d blocks, %d bytes of KV on a card", m.Blocks, m.KV)
	}
	whole := *d
	whole.TP, whole.PP = 4, 1
	if same, err := whole.Memory(); err != nil || math.Abs(float64(same.Tokens)/float64(m.Tokens)-1) > 0.1 {
		t.Errorf("%d tokens in two stages, %d without: %v", m.Tokens, same.Tokens, err)
	}
	d = deploy(t, "gemma-2-9b", "h100", 1)
	d.PP = 2
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "of several kinds") {
		t.Errorf("stages of windows: %v", err)
	}
}

// TestStagesOfEncoders: every stage has the encoder of images, and the last the embedding again if it is the output
// matrix.
func TestStagesOfEncoders(t *testing.T) {
	for model, want := range map[string]int64{ // bytes that are held more than once
		"qwen3-vl-4b": 2*415_347_712*2 + 151936*2560*2, // of three stages
		"qwen3-vl-8b": 2 * 576_388_336 * 2,
		"qwen3-8b":    0,
	} {
		d := deploy(t, model, "h100", 1)
		d.PP = 3
		more, tables := -d.Model.Bytes(d.Weights), int64(0)
		for i := range d.PP {
			bytes, n := d.stageBytes(i)
			more, tables = more+bytes, tables+n
		}
		if more != want || tables != 2 {
			t.Errorf("%s: %d bytes more than without stages, and %d tables; want %d, and 2", model, more, tables, want)
		}
	}
}

// byHand returns what compares a time with one that was worked out, and what a unit of work of a term takes at the card's
// peak.
func byHand(t *testing.T) (near func(what string, got, want float64), peak func(d *Deployment, id string) unit) {
	near = func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got/want-1) > 1e-12 {
			t.Errorf("%s: %v ns, want %v", what, got, want)
		}
	}
	peak = func(d *Deployment, id string) unit {
		for _, term := range Terms() {
			if term.ID == id {
				return term.peak(d)
			}
		}
		t.Fatal(id)
		return unit{}
	}
	return near, peak
}

// TestRatesByHand works out what a unit of work takes at the card's peak.
func TestRatesByHand(t *testing.T) {
	near, peak := byHand(t)
	d := deploy(t, "mixtral-8x7b", "h100", 2)
	const expert = 2 * 32 * 3 * 4096 * 14336 // bytes
	w := peak(d, "weights")
	near("an expert", peak(d, "expert_weights")[sim.ExpertsRead]*sim.ExpertUnit, expert/3350e9*1e9/2)
	near("a step", w[sim.Steps], (2*46_702_792_704-8*expert-2*32000*4096+2*32*4096*8)/3350e9*1e9/2) // both cards have the routers
	near("a token", peak(d, "gemm")[sim.PrefillTokens], 2*32*(2*4096*4096+2*4096*1024+2*4096*8)/989e12*1e9/2)
	near("a token's experts", peak(d, "expert_gemm")[sim.PrefillTokens], 2*32*2*3*4096*14336/989e12*1e9/2)

	d = deploy(t, "deepseek-v3", "h200", 8)
	near("a latent", peak(d, "kv")[sim.KVsRead], 576*2/4800e9*1e9/8)
	near("a pair", peak(d, "attention")[sim.AttentionPairs], 2*61*128*(192+128)/989e12*1e9/8)
	const experts = 58 * 8 * 3 * 7168 * 2048 // of a token: 8 of each of the layers from the fourth on
	const routers = 58 * 256 * 7168
	const latents = 61 * 7168 * (1536 + 576) // what makes latents of queries and KVs: every card computes it and the routers
	near("a token in 8 bits", peak(d, "gemm8")[sim.PrefillTokens], 2*(35_697_917_952-experts-routers+7*latents)/1979e12*1e9/8)
	near("a token in 16 bits", peak(d, "gemm")[sim.PrefillTokens], 2*routers/989e12*1e9)
	near("its experts", peak(d, "expert_gemm8")[sim.PrefillTokens], 2*experts/1979e12*1e9/8)

	d = deploy(t, "gemma-3-27b", "h100", 1)
	a := peak(d, "attention")
	near("a pair of a full layer's", a[sim.AttentionPairs], 4*10*32*128/989e12*1e9)
	near("a pair of a window", a[sim.WindowPairs], 4*52*32*128/989e12*1e9)

	d = deploy(t, "gemma-4-31b", "h100", 1) // whose full layers have heads of another size
	a = peak(d, "attention")
	near("a pair of a full layer's", a[sim.AttentionPairs], 2*10*32*(512+512)/989e12*1e9)
	near("a pair of a window", a[sim.WindowPairs], 2*50*32*(256+256)/989e12*1e9)

	d = deploy(t, "mamba-2.8b", "l4", 1)
	near("a state", peak(d, "kv")[sim.DecodeSeqs], 2*64*2*5120*19/300e9*1e9)

	d = deploy(t, "llama-3.1-70b", "h100", 2)
	d.PP = 4
	near("weights in stages", peak(d, "weights")[sim.Steps], (2*70_553_706_496-2*128256*8192)/3350e9*1e9/2)
	near("a KV in stages", peak(d, "kv")[sim.KVsRead], 512/3350e9*1e9/8)
	near("passing on", peak(d, "all_reduce")[sim.DecodeSeqs], 2*80*8192*2*2*0.5/450e9*1e9/4+2*8192*0.75/450e9*1e9)

	d = deploy(t, "nemotron-3-super-120b-a12b", "h200", 8) // one sum in each of its 88 layers
	near("an all-reduce of half a block", peak(d, "all_reduce")[sim.DecodeSeqs], 88*4096*2*2*7/8.0/450e9*1e9)
	near("launching half blocks", peak(d, "layer")[sim.Steps], 44e3)
	const latent = 2 * 40 * 2 * 4096 * 1024 // bytes of the matrices that make and read the experts' hidden state, on every card
	const routers32 = 40 * 4 * 4096 * 512
	near("a step", peak(d, "weights")[sim.Steps], (2*120_668_707_840+2*40*(4096+1)*512-2*40*512*2*1024*2688-2*131072*4096+7*(latent+routers32))/4800e9*1e9/8)

	d = deploy(t, "llama-3.1-70b", "b200", 16) // over the network
	near("an all-reduce", peak(d, "all_reduce")[sim.DecodeSeqs], 2*80*8192*2*2*15/16/50e9*1e9)
	d.Weights = catalog.NVFP4
	near("a token in 4 bits", peak(d, "gemm4")[sim.PrefillTokens], 2*68_451_041_280/9000e12*1e9/16)
}

// TestMethodsOnModels refuses methods on models that they are not defined for.
func TestMethodsOnModels(t *testing.T) {
	for model, want := range map[string]string{
		"deepseek-v3": "latent", "gemma-3-27b": "windows or states", "mamba-2.8b": "windows or states", "gpt-oss-20b": "windows or states",
	} {
		d := deploy(t, model, "h200", 1)
		d.Method.Compression.Rate = 0.5
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "kv-compress") {
			t.Errorf("%s: %v, want an error with %q", model, err, want)
		}
	}
	d := deploy(t, "mixtral-8x7b", "h100", 2)
	d.Method.Compression.Rate, d.Method.Compression.ProtectedWindow = 0.5, 32
	if err := d.Validate(); err != nil {
		t.Errorf("a mixture of experts, whose attention is as any other's: %v", err)
	}
}

// TestEveryModel projects the memory of every known model on as many cards as it takes.
func TestEveryModel(t *testing.T) {
	for _, name := range catalog.ModelNames() {
		d := deploy(t, name, "b200", 1)
		d.MaxTokens = 2048
		for d.TP < 8 && d.Model.Bytes(d.Weights)/int64(d.TP) > 140e9 {
			d.TP *= 2
		}
		for _, kv := range []dtype.DType{dtype.F16, dtype.E4M3} {
			d.KV = kv
			m, err := d.Memory()
			if err != nil || m.Blocks < 1 || m.Tokens+m.Sequences < 1 || m.Unused < 0 {
				t.Errorf("%s on %d cards: %v, %+v", name, d.TP, err, m)
			}
			if _, _, err := d.Costs(&Fit{Factors: DefaultFactors()}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
