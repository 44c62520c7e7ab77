package llama_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"kvcompress/dtype"
)

// forward is a straightforward reference implementation of a model in a Hugging Face folder,
// in float64, after the configuration classes and modelling code of transformers. Every layer
// processes all tokens. The first calls[0] tokens are fed together, then the next calls[1],
// and so on. It returns q, k and v of each token, layer-major as in a trace, and the logits
// of the last token.
func (f *folder) forward(tokens []int, calls []int) (q, k, v [][]float64, logits []float64) {
	dim, heads, kvHeads := f.number("hidden_size"), f.number("num_attention_heads"), f.number("num_key_value_heads")
	size := f.number("head_dim")
	n := len(tokens)
	q, k, v = make([][]float64, n), make([][]float64, n), make([][]float64, n)
	x := make([][]float64, n)
	for i, token := range tokens {
		x[i] = widen(f.tensors["model.embed_tokens.weight"].values[token*dim:][:dim])
	}
	length := make([]int, 0, n) // of the sequence, when each token was fed
	for _, call := range calls {
		end := len(length) + call
		for range call {
			length = append(length, end)
		}
	}
	for l := range f.number("num_hidden_layers") {
		weight := func(name string) []float32 {
			return f.tensors[fmt.Sprintf("model.layers.%d.%s.weight", l, name)].values
		}
		apply := func(name string, x []float64) []float64 {
			y := times(weight(name), x)
			for i, b := range f.tensors[fmt.Sprintf("model.layers.%d.%s.bias", l, name)].values {
				y[i] += float64(b)
			}
			return y
		}
		lq, lk, lv := make([][]float64, n), make([][]float64, n), make([][]float64, n)
		for i := range x {
			h := f.norm(x[i], weight("input_layernorm"))
			freqs, magnitude := f.frequencies(length[i])
			turn := func(name string, x []float64) []float64 {
				var out []float64
				for at := 0; at < len(x); at += size {
					head := x[at : at+size]
					if w := weight("self_attn." + name); w != nil {
						head = f.norm(head, w)
					}
					for j := range size { // x·cos + rotate_half(x)·sin
						angle := float64(i) * freqs[j%(size/2)]
						half := head[(j+size/2)%size]
						if j < size/2 {
							half = -half
						}
						out = append(out, magnitude*(head[j]*math.Cos(angle)+half*math.Sin(angle)))
					}
				}
				return out
			}
			lq[i], lk[i], lv[i] = turn("q_norm", apply("self_attn.q_proj", h)), turn("k_norm", apply("self_attn.k_proj", h)), apply("self_attn.v_proj", h)
			q[i], k[i], v[i] = append(q[i], lq[i]...), append(k[i], lk[i]...), append(v[i], lv[i]...)
		}
		window := f.window(l)
		for i := range x {
			first := 0
			if window > 0 {
				first = max(0, i-window+1)
			}
			c := &checkpoint{dim: heads * size, heads: heads, kvHeads: kvHeads}
			plus(x[i], apply("self_attn.o_proj", c.attend(lq[i], lk[first:i+1], lv[first:i+1])))
			h := f.norm(x[i], weight("post_attention_layernorm"))
			gate, up := apply("mlp.gate_proj", h), apply("mlp.up_proj", h)
			for j, g := range gate {
				gate[j] = g / (1 + math.Exp(-g)) * up[j]
			}
			plus(x[i], apply("mlp.down_proj", gate))
		}
	}
	return q, k, v, times(f.tensors["lm_head.weight"].values, f.norm(x[n-1], f.tensors["model.norm.weight"].values))
}

func (f *folder) number(name string) int { return f.config[name].(int) }

func (f *folder) norm(x []float64, weight []float32) []float64 {
	return (&checkpoint{}).rms(x, weight) // ε is 1e-5 in both
}

// window returns the sliding window of a layer, which these tests state in f.windows.
func (f *folder) window(layer int) int {
	if f.windows == nil {
		return 0
	}
	return f.windows[layer]
}

// frequencies follows the functions of transformers for each rope_type.
func (f *folder) frequencies(length int) (freqs []float64, magnitude float64) {
	size, base := float64(f.number("head_dim")), f.config["rope_theta"].(float64)
	scaling, _ := f.config["rope_scaling"].(map[string]any)
	kind, _ := scaling["rope_type"].(string)
	factor, _ := scaling["factor"].(float64)
	positions := float64(f.number("max_position_embeddings"))
	if kind == "dynamic" && float64(length) > positions {
		base *= math.Pow(factor*float64(length)/positions-(factor-1), size/(size-2))
	}
	if n, ok := scaling["original_max_position_embeddings"].(float64); ok {
		positions = n
	}
	at := func(turns float64) float64 {
		return size * math.Log(positions/(turns*2*math.Pi)) / (2 * math.Log(base))
	}
	low, high := max(math.Floor(at(32)), 0), min(math.Ceil(at(1)), size-1)
	magnitude = 1
	for i := range int(size) / 2 {
		freq := 1 / math.Pow(base, float64(2*i)/size)
		switch kind {
		case "linear":
			freq /= factor
		case "yarn":
			magnitude = 0.1*math.Log(factor) + 1
			keep := 1 - min(1, max(0, (float64(i)-low)/(high-low)))
			freq = freq/factor*(1-keep) + freq*keep
		}
		freqs = append(freqs, freq)
	}
	return freqs, magnitude
}

// randomFolder returns a small random model of an architecture, with the tensors that its
// configuration requires.
func randomFolder(seed uint64, architecture string, more map[string]any) *folder {
	f := &folder{
		config: map[string]any{
			"architectures": []string{architecture}, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
			"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 50, "max_position_embeddings": 64,
			"rms_norm_eps": 1e-5, "rope_theta": 10000.0,
		},
		tensors: map[string]tensor{},
	}
	for name, value := range more {
		f.config[name] = value
	}
	random := rand.New(rand.NewPCG(seed, 0))
	add := func(name string, shape ...int64) {
		n := int64(1)
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(random.NormFloat64()) * 0.3
		}
		f.tensors[name] = tensor{shape, values}
	}
	bias := func(name string) bool { b, _ := f.config[name].(bool); return b }
	linear := func(name string, out, in int64, biased bool) {
		add(name+".weight", out, in)
		if biased {
			add(name+".bias", out)
		}
	}
	llama, qwen2, qwen3 := architecture == "LlamaForCausalLM", architecture == "Qwen2ForCausalLM", architecture == "Qwen3ForCausalLM"
	attention := bias("attention_bias") && (llama || qwen3)
	mlp := bias("mlp_bias") && llama
	add("model.embed_tokens.weight", 50, 32)
	for l := range 3 {
		p := fmt.Sprintf("model.layers.%d.", l)
		add(p+"input_layernorm.weight", 32)
		linear(p+"self_attn.q_proj", 64, 32, attention || qwen2)
		linear(p+"self_attn.k_proj", 32, 32, attention || qwen2)
		linear(p+"self_attn.v_proj", 32, 32, attention || qwen2)
		linear(p+"self_attn.o_proj", 32, 64, attention)
		if qwen3 {
			add(p+"self_attn.q_norm.weight", 16)
			add(p+"self_attn.k_norm.weight", 16)
		}
		add(p+"post_attention_layernorm.weight", 32)
		linear(p+"mlp.gate_proj", 48, 32, mlp)
		linear(p+"mlp.up_proj", 48, 32, mlp)
		linear(p+"mlp.down_proj", 32, 48, mlp)
	}
	add("model.norm.weight", 32)
	add("lm_head.weight", 50, 32)
	return f
}

// Every architecture and rotary scaling agrees with forward. Prompts are longer than the
// windows and than the original positions of a dynamic scaling, and then one token is fed alone.
func TestArchitectures(t *testing.T) {
	scaling := func(text string) map[string]any {
		var rope map[string]any
		if err := json.Unmarshal([]byte(text), &rope); err != nil {
			t.Fatal(err)
		}
		return map[string]any{"rope_scaling": rope}
	}
	for _, c := range []struct {
		name, architecture string
		more               map[string]any
		windows            []int
	}{
		{"llama with biases", "LlamaForCausalLM", map[string]any{"attention_bias": true, "mlp_bias": true}, nil},
		{"mistral", "MistralForCausalLM", map[string]any{"sliding_window": 7, "attention_bias": true}, []int{7, 7, 7}},
		{"qwen2", "Qwen2ForCausalLM", map[string]any{"attention_bias": true, "sliding_window": 5}, nil},
		{"qwen2 with windows", "Qwen2ForCausalLM", map[string]any{"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 2}, []int{0, 0, 5}},
		{"qwen3", "Qwen3ForCausalLM", nil, nil},
		{"qwen3 with biases and windows", "Qwen3ForCausalLM", map[string]any{
			"attention_bias": true, "use_sliding_window": true, "sliding_window": 6,
			"layer_types": []string{"sliding_attention", "full_attention", "sliding_attention"},
		}, []int{6, 0, 6}},
		{"linear", "LlamaForCausalLM", scaling(`{"rope_type": "linear", "factor": 2.5}`), nil},
		{"dynamic", "LlamaForCausalLM", scaling(`{"rope_type": "dynamic", "factor": 2}`), nil},
		{"yarn", "Qwen3ForCausalLM", scaling(`{"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32}`), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := randomFolder(7, c.architecture, c.more)
			f.windows = c.windows
			tokens, prompt := someTokens(75), 74
			if c.more["rope_scaling"] == nil {
				tokens, prompt = someTokens(40), 39
			}
			q, k, v, logits := f.forward(tokens, []int{prompt, 1})
			m := load(t, f.write(t, dtype.F32, 1))
			if unused := m.Unused(); len(unused) > 0 {
				t.Errorf("unused: %q", unused)
			}
			got, gotLogits := rows(t, m, tokens, prompt)
			for i := range tokens {
				for j, want := range [][]float64{q[i], k[i], v[i]} {
					closeTo(t, "row", 3*i+j, got[3*i+j], want)
				}
			}
			closeTo(t, "logits", len(tokens)-1, gotLogits, logits)
		})
	}
}
