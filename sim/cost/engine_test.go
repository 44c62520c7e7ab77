package cost

import (
	"fmt"
	"strings"
	"testing"

	"kvcompress/ref"
	"kvcompress/sim/catalog"
)

// TestReservesFull checks the versions that admit whole prompts only.
func TestReservesFull(t *testing.T) {
	for version, want := range map[string]bool{"0.20": true, "0.20.0": true, "v0.21.1": true, "1.0": true, "0.19": false, "0.19.9": false, "0.20 V0": false, "": false, "new": false} {
		if ReservesFull(version) != want {
			t.Errorf("%q: want %v", version, want)
		}
	}
}

func TestEngineOf(t *testing.T) {
	for version, want := range map[string]Engine{
		"": VLLMV1, "0.2": VLLM06, "0.4.1": VLLM06, "0.6.0": VLLM06, "0.6.2": VLLM06, "v0.6.3": VLLM063, "0.6": VLLM063, "0.6.99": VLLM063, "0.7": VLLM07, "0.7.0": VLLM07, "0.7.3": VLLM07,
		"0.7 V1": VLLMV1First, "0.6.4 v1": VLLMV1First, "0.8": VLLMV1First, "0.8.0": VLLMV1First, "0.9.1": VLLMV1First, "0.9.2": VLLMV1, "0.9": VLLMV1, "0.11": VLLMV1, "0.16.5": VLLMV1,
		"0.8.5 V0": VLLM07, "0.17.0": VLLMV1Next, "0.19": VLLMV1Next, "0.20.2": VLLMV1Next, "0.21.0": VLLMV1Last, "1.0": VLLMV1Last,
		"0.6.3.post1": VLLM063, "0.8.5.post1": VLLMV1First, "0.10.1.1": VLLMV1, "0.17.0rc2": VLLMV1Next, "0.9.2.dev3+gabc.cu129": VLLMV1, "0.7.3+cu124 V1": VLLMV1First,
	} {
		if got, err := EngineOf(version); got != want || err != nil {
			t.Errorf("%q is %s, %v; want %s", version, got, err, want)
		}
	}
	for _, version := range []string{"0", "latest", "banana", "0.6.3.1.2", "0.6x", "0.6.3 .post1", "0.6+", "0.6 V2", "0.7 V1 eager", "-1.2", "0.", "0.99999"} {
		if got, err := EngineOf(version); err == nil || !strings.Contains(err.Error(), "want one such as 0.6.3") {
			t.Errorf("%q is %s, %v", version, got, err)
		}
	}
}

// TestServer checks the default engine with and without compression.
func TestServer(t *testing.T) {
	d := deployment(t, "llama-3.1-8b", "l4")
	if d.Server() != VLLMV1 {
		t.Errorf("uncompressed: %s", d.Server())
	}
	d.Method.Compression.Rate = 0.5
	if d.Server() != KVCompress {
		t.Errorf("compressed: %s", d.Server())
	}
	if d.Engine = VLLM06; d.Server() != VLLM06 {
		t.Errorf("named: %s", d.Server())
	}
}

// TestCaptureSizes compares the number of CUDA graphs with logs of servers: 51
// and 35 with 256 sequences, 11 and 7 with 32, 4 and 3 with 4, 3 and 2 with 2.
func TestCaptureSizes(t *testing.T) {
	for largest, want := range map[int]int64{
		1: 1, 2: 2, 3: 2, 4: 3, 7: 3, 8: 4, 15: 4, 16: 5, 32: 7, 64: 11, 248: 34, 256: 35, 271: 35, 272: 36, 511: 50, 512: 51, 1024: 51, 1 << 40: 51,
	} {
		if got := captureSizes(largest); got != want {
			t.Errorf("%d graphs up to %d, want %d", got, largest, want)
		}
	}
}

// TestEnginesByHand compares the memory that each engine measures for Llama-3.1-8B, with 8,192 tokens a
// batch, with figures worked out by hand.
func TestEnginesByHand(t *testing.T) {
	const (
		mib    = 1 << 20
		plain  = 16_060_522_496   // 8.03 billion weights of two bytes
		rotary = 2 * 131072 * 128 // a cosine and a sine for each position and half of a head
	)
	for _, c := range []struct {
		engine               Engine
		tp, seqs             int
		weights, peak, fixed int64
		part                 string
		graphs               int64
	}{
		// In the MLP 3·14336 + 2·4096 elements of two bytes a token, times 1.2432.
		{KVCompress, 1, 64, plain, 1_042_871_746, 248_000_000, "prefill", 0},
		{VLLM06, 1, 64, plain, 1_042_871_746, 248_000_000, "prefill", 0},
		{KVCompress, 2, 64, plain / 2, 604_865_613, 248_000_000, "prefill", 0},
		// 1024 · 128256 logits of 38.3 bytes and 8192 + 1024 hidden states of 8192, times 1.2432.
		{KVCompress, 1, 1024, plain, 6_347_275_936, 248_000_000, "sampler", 0},
		// One hidden state more; with tensor parallelism two.
		{VLLM063, 1, 64, plain + rotary, 905_969_664, 420 * mib, "prefill", 0},
		{VLLM063, 2, 64, plain/2 + rotary, 620_756_992, 910 * mib, "prefill", 0},
		{VLLM07, 1, 1024, plain + rotary, 5_105_595_187, 200 * mib, "sampler", 0},
		{VLLM07, 2, 1024, plain/2 + rotary, 5_105_595_187, 690 * mib, "sampler", 0},
		{VLLMV1First, 1, 1024, plain + rotary, 5_105_595_187, 600 * mib, "sampler", 0},
		{VLLMV1First, 2, 64, plain/2 + rotary, 620_756_992, 1090 * mib, "prefill", 0},
		{VLLMV1, 1, 64, plain + rotary, 905_969_664, 135 * mib, "prefill", 0},
		{VLLMV1, 1, 1024, plain + rotary, 5_105_595_187, 135 * mib, "sampler", 0},
		{VLLMV1, 8, 1024, plain/8 + rotary, 5_105_595_187, 625 * mib, "sampler", 0},
		{VLLMV1, 8, 64, plain/8 + rotary, 382_014_259, 625 * mib, "sampler", 0},
		// 1024 · 128256 logits of 14 bytes, 80 MiB and the hidden states.
		{VLLMV1Next, 1, 1024, plain + rotary, 1_998_061_568, 655 * mib, "sampler", 0},
		{VLLMV1Next, 2, 1024, plain/2 + rotary, 1_998_061_568, 1145 * mib, "sampler", 0},
		// Graphs of 1 MiB: 51 and 51 sizes, 19 and 11, each but the first.
		{VLLMV1Last, 1, 1024, plain + rotary, 1_998_061_568, 655 * mib, "sampler", 100 * mib},
		{VLLMV1Last, 4, 64, plain/4 + rotary, 444_596_224, 1145 * mib, "prefill", 28 * mib},
	} {
		d := deployment(t, "llama-3.1-8b", "h100")
		d.Engine, d.TP, d.MaxSeqs, d.MaxTokens = c.engine, c.tp, c.seqs, 8192
		m, err := d.Memory()
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if m.Weights != c.weights || m.Activations != c.peak || m.Peak != c.part || m.Fixed != c.fixed || m.Graphs != c.graphs || m.Engine != c.engine {
			t.Errorf("%s, %d cards, %d sequences: weights %d, peak %d of the %s, fixed %d, graphs %d; want %+v",
				m.Engine, c.tp, c.seqs, m.Weights, m.Activations, m.Peak, m.Fixed, m.Graphs, c)
		}
		if sum := m.Reserved + m.Weights + m.Activations + m.Fixed + m.Graphs + m.Scratch + m.Metadata + m.KV + m.Unused; sum != m.Card {
			t.Errorf("%+v: the parts are %d bytes, the card has %d", c, sum, m.Card)
		}
	}
}

// TestPeakByHand checks what else changes the peak, besides engine and cards.
func TestPeakByHand(t *testing.T) {
	base := func() Deployment {
		d := deployment(t, "llama-3.1-8b", "h100")
		d.MaxTokens = 8192
		return d
	}
	check := func(what string, d Deployment, want int64) {
		t.Helper()
		m, err := d.Memory()
		if err != nil || m.Activations != want {
			t.Errorf("%s: a peak of %d, %v; want %d", what, m.Activations, err, want)
		}
	}
	// A product whose input is in 8 bits has it once more: a byte of 14336 a token.
	d := base()
	d.Weights, d.MaxSeqs = "int8", 1
	check("int8", d, 8192*(2*(3*14336+3*4096)+14336))
	d.Weights = "int4"
	check("int4", d, 8192*2*(3*14336+3*4096))

	// One whose input is in 4 bits is counted with a byte too, where a card multiplies these; none where it unpacks the weights.
	for card, copied := range map[string]int64{"b200": 14336, "h100": 0} {
		d := deployment(t, "llama-3.1-8b", card)
		d.Weights, d.MaxSeqs, d.MaxTokens = catalog.NVFP4, 1, 8192
		check("nvfp4 on "+card, d, 8192*(2*(3*14336+3*4096)+copied))
	}

	// No more sequences are sampled than there are tokens: 100 · 128256 · 38.3 bytes and 200
	// hidden states.
	d = base()
	d.MaxSeqs, d.MaxTokens = 1024, 100
	check("few tokens", d, 492_858_880)

	// Logits are of the padded vocabulary: 128257 rows are 128320.
	d = base()
	d.MaxSeqs, d.Model.Vocab = 1024, 128257
	check("padding", d, 38_3*1024*128320/10+2*(8192+1024)*4096)
}

// TestWeightsPadded pads tables of 128257 rows to 128320: two of them, or one where they are
// tied; and gives each card its part.
func TestWeightsPadded(t *testing.T) {
	for _, tied := range []bool{false, true} {
		of := func(vocab int) Memory {
			d := deployment(t, "llama-3.1-8b", "h100")
			config := fmt.Sprintf(`{"model_type":"llama","num_hidden_layers":32,"hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":8,"intermediate_size":14336,
				"max_position_embeddings":131072,"vocab_size":%d,"tie_word_embeddings":%v}`, vocab, tied)
			var err error
			if d.Model, err = catalog.ParseConfig([]byte(config), nil); err != nil {
				t.Fatal(err)
			}
			d.TP = 2
			m, err := d.Memory()
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		m, more := of(128256), of(128257)
		want := int64(2 * 64 * 4096 * 2 / 2)
		if tied {
			want /= 2
		}
		if more.Weights-m.Weights != want {
			t.Errorf("tied %v: a row more takes %d bytes of a card, want %d", tied, more.Weights-m.Weights, want)
		}
	}
}

// TestCardMemory gives the card another memory than the catalogue's.
func TestCardMemory(t *testing.T) {
	d := deployment(t, "llama-3.1-8b", "l4")
	d.MaxTokens, d.CardMemory = 2048, 40e9
	m, err := d.Memory()
	if err != nil || m.Card != 40e9 || m.Reserved != 4e9 {
		t.Errorf("%v, %+v", err, m)
	}
}

// TestConcurrency is the log of vllm-project/vllm issue 10517: with 1,952 blocks of 16, 1.56
// requests of 20,000 tokens; with 1,478 a server of 29,000 refuses to start.
func TestConcurrency(t *testing.T) {
	d := deployment(t, "llama-3.1-8b", "rtx-3090")
	d.BlocksGiven, d.MaxModelLen, d.MaxTokens = 1952*256, 20000, 2048
	m, err := d.Memory()
	if err != nil || m.Concurrency != 1952.0/1250 || m.MaxModelLen != 20000 {
		t.Errorf("%v, %+v", err, m)
	}
	d.MaxModelLen = 20001 // takes a block more
	if m, err = d.Memory(); err != nil || m.Concurrency != 1952.0/1251 {
		t.Errorf("%v, %+v", err, m)
	}
	d.MaxModelLen = 0
	if m, err = d.Memory(); err != nil || m.Concurrency != 1952.0/8192 || m.MaxModelLen != 131072 {
		t.Errorf("%v, %+v", err, m)
	}
	d.BlocksGiven, d.MaxModelLen = 1478*256, 29000
	if _, err = d.Memory(); err == nil || !strings.Contains(err.Error(), "a request of 29000 tokens does not fit") || !strings.Contains(err.Error(), "holds one of at most 23648, of which vLLM V1 uses all blocks but one, and") || !strings.Contains(err.Error(), "want a max_model_len of at most 23632,") {
		t.Errorf("%v", err)
	}
	d.MaxModelLen = 23648
	if m, err = d.Memory(); err != nil || m.Concurrency != 1 || m.Longest != 23632 { // it starts, and serves no such request
		t.Errorf("%v, %+v", err, m)
	}
	// A compressed cache holds longer requests than it does uncompressed.
	d.MaxModelLen, d.Method = 29000, ref.Config{Compression: ref.Compression{Rate: 0.25}}
	if _, err = d.Memory(); err != nil {
		t.Error(err)
	}
}

// TestScratchByHand gives each card its part of the slots that may be sorted, at 3.75 bytes.
func TestScratchByHand(t *testing.T) {
	d := deployment(t, "llama-3.1-8b", "h100")
	d.Method.Compression.Rate, d.SortedKVs, d.TP = 0.5, 5_000_000, 4
	if m, err := d.Memory(); err != nil || m.Scratch != 4_687_500 {
		t.Errorf("%d bytes of scratch, %v", m.Scratch, err)
	}
}

func TestDoesNotFitBySampler(t *testing.T) {
	d := deployment(t, "llama-3.1-8b", "l4")
	d.MaxSeqs, d.MaxTokens = 4096, 4096
	if _, err := d.Memory(); err == nil || !strings.Contains(err.Error(), "the peak of sampling 4,096 sequences 20.2 GB") || !strings.Contains(err.Error(), "max_num_seqs") {
		t.Errorf("%v", err)
	}
}

// TestLongest: the longest request that can be served takes no more blocks than sequences can have, and one more token takes
// more; a server starts with it as max_model_len, and not with one whose blocks are more than there are, vLLM V1's null block included.
func TestLongest(t *testing.T) {
	for _, name := range []string{"llama-3.1-8b", "gpt-oss-20b", "gemma-3-4b", "mistral-7b-v0.1", "deepseek-v2-lite", "jamba-v0.1", "qwen3-next-80b-a3b"} {
		d := deployment(t, name, "h200")
		d.TP = 2
		for _, blocks := range []int{2_000_000, 200_000, 20_000} {
			d.BlocksGiven, d.MaxModelLen = blocks, 0
			m, err := d.Memory()
			if err != nil {
				t.Fatal(err)
			}
			can := d.servable(blocks)
			if unit := d.Heads(); d.Model.Uniform() && can != blocks/unit*unit-unit {
				t.Errorf("%s: %d of %d blocks, of %d heads each", name, can, blocks, unit)
			}
			if m.Longest == 0 || m.Longest > m.MaxModelLen || d.need(m.Longest) > can || m.Longest < m.MaxModelLen && d.need(m.Longest+1) <= can {
				t.Errorf("%s with %d blocks: %d of %d tokens, which take %d blocks", name, blocks, m.Longest, m.MaxModelLen, d.need(m.Longest))
			}
			if d.MaxModelLen = m.Longest; d.MaxModelLen > 0 {
				_, err = d.Memory()
			}
			if err != nil {
				t.Errorf("%s with %d blocks: %v", name, blocks, err)
			}
			for d.MaxModelLen < m.MaxModelLen && d.need(d.MaxModelLen+1) <= blocks {
				d.MaxModelLen++
			}
			if _, err := d.Memory(); err != nil {
				t.Errorf("%s with %d blocks: %d tokens: %v", name, blocks, d.MaxModelLen, err)
			}
			if d.MaxModelLen++; d.MaxModelLen <= m.MaxModelLen {
				if again, err := d.Memory(); err == nil || again.Longest != m.Longest {
					t.Errorf("%s with %d blocks: %d tokens: %v, %d fit", name, blocks, d.MaxModelLen, err, again.Longest)
				}
			}
		}
	}
}
