package ref

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/trace"
)

// pressTest compares one of kvpress's methods with its published rule in float64, on random prompts, and
// plants bugs that this must find.
type pressTest struct {
	name, method  string
	set           string // JSON
	sinks, window int    // that the rule protects
	rope          *trace.Rope
	rule          func(p *pressPrompt, layer int) [][]float64 // scores [H][n]; nil for positions
	bugs          []pressBug
}

type pressBug struct {
	name  string
	plant func(*scorer, *Config)
}

// pressPrompt is a prompt with rows that rules read in float64.
type pressPrompt struct {
	shape   kv.Shape
	n       int
	rope    *trace.Rope
	q, k, v [][]float32 // [L]: [n, H·G, D], [n, H, D]
}

func rowOf(x []float32, i, d int) []float64 {
	row := make([]float64, d)
	for j, y := range x[i*d:][:d] {
		row[j] = float64(y)
	}
	return row
}

func (p *pressPrompt) query(layer, t, head, g int) []float64 {
	return rowOf(p.q[layer], (t*p.shape.KVHeads+head)*p.shape.Group+g, p.shape.HeadSize)
}
func (p *pressPrompt) key(layer, t, head int) []float64 {
	return rowOf(p.k[layer], t*p.shape.KVHeads+head, p.shape.HeadSize)
}
func (p *pressPrompt) value(layer, t, head int) []float64 {
	return rowOf(p.v[layer], t*p.shape.KVHeads+head, p.shape.HeadSize)
}

func dot64(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func softmax64(x []float64) []float64 {
	top, sum := slices.Max(x), 0.0
	p := make([]float64, len(x))
	for i := range x {
		p[i] = math.Exp(x[i] - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// attention returns the weights that query head g of a head gives at position t, [t+1].
func (p *pressPrompt) attention(layer, t, head, g int) []float64 {
	scores := make([]float64, t+1)
	for i := range scores {
		scores[i] = dot64(p.query(layer, t, head, g), p.key(layer, i, head)) / math.Sqrt(float64(p.shape.HeadSize))
	}
	return softmax64(scores)
}

// byHead makes a rule for a layer of a rule for one head.
func byHead(rule func(p *pressPrompt, layer, head int) []float64) func(*pressPrompt, int) [][]float64 {
	return func(p *pressPrompt, layer int) [][]float64 {
		var all [][]float64
		for head := range p.shape.KVHeads {
			all = append(all, rule(p, layer, head))
		}
		return all
	}
}

func tovaRule(p *pressPrompt, layer int) [][]float64 {
	mean := make([]float64, p.n)
	for h := range p.shape.KVHeads {
		for g := range p.shape.Group {
			for i, w := range p.attention(layer, p.n-1, h, g) {
				mean[i] += w / float64(p.shape.QueryHeads())
			}
		}
	}
	return slices.Repeat([][]float64{mean}, p.shape.KVHeads)
}

func observedRule(p *pressPrompt, layer, head int) []float64 {
	scores := make([]float64, p.n)
	for g := range p.shape.Group {
		for t := range p.n {
			for i, w := range p.attention(layer, t, head, g) {
				scores[i] += w / float64(p.n-i) / float64(p.shape.Group)
			}
		}
	}
	return scores
}

func snapKVRule(window, kernel int) func(p *pressPrompt, layer, head int) []float64 {
	return func(p *pressPrompt, layer, head int) []float64 {
		scores := make([]float64, p.n)
		past := max(0, p.n-window)
		sums := make([]float64, past)
		for g := range p.shape.Group {
			for t := past; t < p.n; t++ {
				for i, w := range p.attention(layer, t, head, g)[:past] {
					sums[i] += w / float64(window*p.shape.Group)
				}
			}
		}
		for i := range sums {
			for j := max(0, i-kernel/2); j < min(past, i+kernel/2+1); j++ {
				scores[i] += sums[j] / float64(kernel)
			}
		}
		return scores
	}
}

func norm64(x []float64) float64 { return math.Sqrt(dot64(x, x)) }

func knormRule(p *pressPrompt, layer, head int) []float64 {
	scores := make([]float64, p.n)
	for i := range scores {
		scores[i] = -norm64(p.key(layer, i, head))
	}
	return scores
}

func keyDiffRule(p *pressPrompt, layer, head int) []float64 {
	scores, anchor := make([]float64, p.n), make([]float64, p.shape.HeadSize)
	for i := range scores {
		k := p.key(layer, i, head)
		for j := range k {
			anchor[j] += k[j] / norm64(k)
		}
	}
	for i := range scores {
		k := p.key(layer, i, head)
		scores[i] = -dot64(k, anchor) / (norm64(k) * norm64(anchor))
	}
	return scores
}

func lagKVRule(sinks, lag int, cross bool) func(p *pressPrompt, layer, head int) []float64 {
	softmaxes := func(rows func(i int) []float64, first int) []float64 {
		sigmas := make([]float64, lag)
		for i := range sigmas {
			x := rows(first + i)
			mean := 0.0
			for d := range x {
				low, high := math.Inf(1), math.Inf(-1)
				for r := range lag {
					y := rows(first + lag + r)[d]
					low, high = min(low, y), max(high, y)
				}
				x[d] = (x[d] - low) / (high - low)
				mean += x[d] / float64(len(x))
			}
			for d := range x {
				sigmas[i] += (x[d] - mean) * (x[d] - mean) / float64(len(x)-1)
			}
			sigmas[i] = math.Sqrt(sigmas[i])
		}
		return softmax64(sigmas)
	}
	return func(p *pressPrompt, layer, head int) []float64 {
		scores := slices.Repeat([]float64{1}, p.n)
		if p.n < sinks+2*lag {
			for i := sinks; i < p.n; i++ {
				scores[i] = float64(i-sinks) / float64(p.n-sinks)
			}
			return scores
		}
		for first := sinks; first+2*lag <= p.n; first += lag {
			k := softmaxes(func(i int) []float64 { return p.key(layer, i, head) }, first)
			v := softmaxes(func(i int) []float64 { return p.value(layer, i, head) }, first)
			for i := range lag {
				scores[first+i] = (k[i] + v[i]) / 2
			}
			if part := slices.Clone(scores[first:][:lag]); !cross {
				for i, s := range part {
					below := 0
					for _, other := range part {
						if other < s {
							below++
						}
					}
					scores[first+i] = float64(below) / float64(lag)
				}
			}
		}
		return scores
	}
}

// rotation64 returns the matrix by which a Rope rotates a head at a position; the identity for nil.
func rotation64(r *trace.Rope, d, position int) [][]float64 {
	m := make([][]float64, d)
	for i := range m {
		m[i] = make([]float64, d)
		m[i][i] = 1
	}
	if r == nil {
		return m
	}
	step, partner := r.Strides()
	for i, f := range r.InverseFrequencies() {
		sin, cos := math.Sincos(float64(position) * float64(f))
		a, b := i*step, i*step+partner
		m[a][a], m[a][b], m[b][a], m[b][b] = cos, -sin, sin, cos
	}
	return m
}

func times64(m [][]float64, x []float64) []float64 {
	y := make([]float64, len(m))
	for i := range m {
		y[i] = dot64(m[i], x)
	}
	return y
}

func transposed64(m [][]float64) [][]float64 {
	t := rotation64(nil, len(m), 0)
	for i := range m {
		for j := range m {
			t[i][j] = m[j][i]
		}
	}
	return t
}

func expectedAttentionRule(o expectedAttentionOptions) func(p *pressPrompt, layer, head int) []float64 {
	return func(p *pressPrompt, layer, head int) []float64 {
		d, scores := p.shape.HeadSize, make([]float64, p.n)
		if p.n <= o.Sinks {
			return scores
		}
		count := float64(p.n - o.Sinks)
		turn := rotation64(nil, d, 0) // mean of the coming rotations
		for i := range turn {
			clear(turn[i])
		}
		for t := range o.Future {
			for i, row := range rotation64(p.rope, d, p.n+t) {
				for j, x := range row {
					turn[i][j] += x / float64(o.Future)
				}
			}
		}
		weights := make([]float64, p.n-o.Sinks)
		for g := range p.shape.Group {
			var before [][]float64
			mean := make([]float64, d)
			for t := o.Sinks; t < p.n; t++ {
				q := times64(transposed64(rotation64(p.rope, d, t)), p.query(layer, t, head, g))
				before = append(before, q)
				for j := range q {
					mean[j] += q[j] / count
				}
			}
			turned := times64(turn, mean)
			logits := make([]float64, len(weights))
			for i := range logits {
				k := p.key(layer, o.Sinks+i, head)
				logits[i] = dot64(turned, k) / math.Sqrt(float64(d))
				if o.Covariance {
					for _, q := range before {
						centred := make([]float64, d)
						for j := range q {
							centred[j] = q[j] - mean[j]
						}
						along := dot64(times64(turn, centred), k)
						logits[i] += along * along / count / float64(2*d)
					}
				}
			}
			for i, w := range softmax64(logits) {
				weights[i] += w / float64(p.shape.Group)
			}
		}
		for i, w := range weights {
			if o.ValueNorm {
				w = (w + float64(o.Epsilon)) * norm64(p.value(layer, o.Sinks+i, head))
			}
			scores[o.Sinks+i] = w
		}
		return scores
	}
}

// planted bugs

func watching(bend func(*Observation)) func(*scorer, *Config) {
	return func(m *scorer, _ *Config) { bend(m.observation) }
}

type scoring func(h *PromptHead, scores []float32)

func (score scoring) Score(h *PromptHead, scores []float32) { score(h, scores) }

func scoredBy(score scoring) func(*scorer, *Config) {
	return func(m *scorer, _ *Config) { m.observation.Scorer = score }
}

// bendExpected plants a bug in expected-attention's options or in what it computes from them.
func bendExpected(bend func(*ExpectedAttention)) func(*scorer, *Config) {
	return func(m *scorer, c *Config) {
		o := &ExpectedAttention{expectedAttentionOptions: *expectedAttentionEntry().Defaults().(*expectedAttentionOptions)}
		if text, err := json.Marshal(c.Set); err != nil || json.Unmarshal(text, o) != nil || o.prepare(c) != nil {
			panic("the options were accepted before")
		}
		bend(o)
		m.observation.Scorer = o
	}
}

// TestPresses checks that scores are those of the rule, and that each head, or layer, keeps the KVs that the
// rule keeps.
func TestPresses(t *testing.T) {
	unguarded := pressBug{"nothing is protected", func(m *scorer, _ *Config) { m.sinks, m.window = 0, 0 }}
	attention := []pressBug{
		{"P² instead of P", watching(func(o *Observation) { o.Norm = L2 })},
		{"the sum over the group instead of the mean", watching(func(o *Observation) { o.Group = GroupSum })},
		{"a query does not count for its own key", watching(func(o *Observation) { o.Buffer = 1 })},
	}
	expectedBugs := []pressBug{
		unguarded,
		{"queries stay as they are turned", bendExpected(func(o *ExpectedAttention) { o.freqs = nil })},
		{"half of the future", bendExpected(func(o *ExpectedAttention) { o.Future /= 2 })},
		{"no covariance", bendExpected(func(o *ExpectedAttention) { o.Covariance = false })},
		{"values do not count", bendExpected(func(o *ExpectedAttention) { o.ValueNorm = false })},
		{"the queries of sinks count", bendExpected(func(o *ExpectedAttention) { o.Sinks = 0 })},
	}
	lag := func(o LagKV) func(*scorer, *Config) { return scoredBy(o.Score) }
	expected := expectedAttentionOptions{Sinks: 4, Future: 20, Covariance: true, ValueNorm: true}
	meanOnly := expectedAttentionOptions{Sinks: 1, Future: 512, Epsilon: 0.5, ValueNorm: true}
	half := &trace.Rope{Base: 10000, RotarySize: 8, Pairing: trace.Half}
	interleaved := &trace.Rope{Base: 500, RotarySize: 6, Pairing: trace.Interleaved,
		Scaling: &trace.RopeScaling{Type: trace.Llama3, Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalPositions: 64}}
	for _, test := range []pressTest{
		{
			name: "tova", method: "tova", window: 1, rule: tovaRule,
			bugs: append(attention[:3:3], unguarded,
				pressBug{"each KV head by itself", watching(func(o *Observation) { o.LayerMean = false })},
				pressBug{"two queries", watching(func(o *Observation) { o.Window = 2 })}),
		},
		{
			name: "observed-attention", method: "observed-attention", rule: byHead(observedRule),
			bugs: append(attention[:3:3],
				pressBug{"no age", watching(func(o *Observation) { o.Scale = ScaleNone })},
				pressBug{"the last 8 queries", watching(func(o *Observation) { o.Window = 8 })}),
		},
		{
			name: "snapkv-kvpress", method: "snapkv-kvpress", set: `{"window":6,"kernel":5}`, window: 6, rule: byHead(snapKVRule(6, 5)),
			bugs: append(attention[:2:2], unguarded,
				pressBug{"the sum over the window", watching(func(o *Observation) { o.Scale = ScaleNone })},
				pressBug{"the window's keys are neighbours", watching(func(o *Observation) { o.Outside = false })},
				pressBug{"max pooling", watching(func(o *Observation) { o.Pool.Kind = MaxPool })},
				pressBug{"a kernel of 3", watching(func(o *Observation) { o.Pool.Width = 3 })}),
		},
		{
			name: "streaming-llm-kvpress", method: "streaming-llm-kvpress", set: `{"sinks":3}`, sinks: 3,
			bugs: []pressBug{
				unguarded,
				{"a sink more", func(m *scorer, _ *Config) { m.sinks++ }},
				{"half as much is kept", func(m *scorer, _ *Config) { c := *m.cfg; c.Compression.Rate /= 2; m.cfg = &c }},
			},
		},
		{
			name: "knorm", method: "knorm", rule: byHead(knormRule),
			bugs: []pressBug{
				{"no head has a floor", func(m *scorer, _ *Config) { m.heads.Floor = 0 }},
				{"never over heads", func(m *scorer, _ *Config) { m.heads.Adaptive = false }},
				{"always over heads", func(m *scorer, _ *Config) { m.heads.Adaptive = true }},
				{"the shortest go", scoredBy(func(h *PromptHead, s []float32) {
					KeyNorm{}.Score(h, s)
					for i := range s {
						s[i] = -s[i]
					}
				})},
				{"the square", scoredBy(func(h *PromptHead, s []float32) {
					for i := range s {
						s[i] = -dot(h.row(h.K, i), h.row(h.K, i))
					}
				})},
				{"of values", scoredBy(func(h *PromptHead, s []float32) {
					other := *h
					other.K = h.V
					KeyNorm{}.Score(&other, s)
				})},
			},
		},
		{
			name: "keydiff", method: "keydiff", rule: byHead(keyDiffRule),
			bugs: []pressBug{
				{"the mean of keys of any length", scoredBy(func(h *PromptHead, s []float32) {
					anchor := meanOfTokens(h.K, h.HeadSize)
					for i := range s {
						s[i] = -dot(h.row(h.K, i), anchor) / (norm(h.row(h.K, i)) * norm(anchor))
					}
				})},
				{"the most different go", scoredBy(func(h *PromptHead, s []float32) {
					KeyDiff{}.Score(h, s)
					for i := range s {
						s[i] = -s[i]
					}
				})},
				{"the last token is not in the mean", scoredBy(func(h *PromptHead, s []float32) {
					anchor := meanOfTokens(h.K[:max(1, len(s)-1)*h.HeadSize], h.HeadSize)
					for i := range s {
						s[i] = -dot(h.row(h.K, i), anchor) / (norm(h.row(h.K, i)) * norm(anchor))
					}
				})},
			},
		},
		{
			name: "lagkv", method: "lagkv", set: `{"lag":7,"sinks":2}`, rule: byHead(lagKVRule(2, 7, false)),
			bugs: []pressBug{
				{"a sink more", lag(LagKV{Sinks: 3, Lag: 7})},
				{"longer partitions", lag(LagKV{Sinks: 2, Lag: 8})},
				{"scores and not ranks", lag(LagKV{Sinks: 2, Lag: 7, Cross: true})},
				{"values do not count", scoredBy(func(h *PromptHead, s []float32) {
					other := *h
					other.V = h.K
					LagKV{Sinks: 2, Lag: 7}.Score(&other, s)
				})},
			},
		},
		{
			name: "lagkv across partitions", method: "lagkv", set: `{"lag":7,"sinks":2,"cross":true}`, rule: byHead(lagKVRule(2, 7, true)),
			bugs: []pressBug{
				{"ranks and not scores", lag(LagKV{Sinks: 2, Lag: 7})},
				{"keys do not count", scoredBy(func(h *PromptHead, s []float32) {
					other := *h
					other.K = h.V
					LagKV{Sinks: 2, Lag: 7, Cross: true}.Score(&other, s)
				})},
			},
		},
		{
			name: "expected-attention", method: "expected-attention", set: `{"future":20}`, sinks: 4, rope: half,
			rule: byHead(expectedAttentionRule(expected)), bugs: expectedBugs,
		},
		{
			name: "expected-attention of pairs that lie side by side", method: "expected-attention", set: `{"future":20}`, sinks: 4, rope: interleaved,
			rule: byHead(expectedAttentionRule(expected)),
			bugs: append(expectedBugs[1:3:3],
				pressBug{"pairs that lie apart", bendExpected(func(o *ExpectedAttention) { o.turned.Pairing = trace.Half })},
				pressBug{"unscaled frequencies", bendExpected(func(o *ExpectedAttention) { o.turned.Scaling = nil; o.freqs = o.turned.InverseFrequencies() })}),
		},
		{
			name: "expected-attention of the mean", method: "expected-attention", set: `{"covariance":false,"epsilon":0.5,"sinks":1,"rope":"none"}`, sinks: 1,
			rule: byHead(expectedAttentionRule(meanOnly)),
			bugs: []pressBug{
				{"no epsilon", bendExpected(func(o *ExpectedAttention) { o.Epsilon = 0 })},
				{"covariance", bendExpected(func(o *ExpectedAttention) { o.Covariance = true })},
			},
		},
	} {
		t.Run(test.name, test.run)
	}
}

func (test *pressTest) run(t *testing.T) {
	runs := func(plant func(*scorer, *Config)) string {
		for seed := range uint64(8) {
			if found := test.disagreement(t, seed, plant); found != "" {
				return fmt.Sprintf("seed %d: %s", seed, found)
			}
		}
		return ""
	}
	if found := runs(nil); found != "" {
		t.Fatal(found)
	}
	for _, bug := range test.bugs {
		if found := runs(bug.plant); found == "" {
			t.Errorf("nothing notices: %s", bug.name)
		} else {
			t.Logf("%s: %s", bug.name, found)
		}
	}
}

// disagreement runs a random prompt through the engine and describes how its scores, or the kept tokens,
// differ from the rule's; "" if they do not.
func (test *pressTest) disagreement(t *testing.T, seed uint64, plant func(*scorer, *Config)) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	cfg := Default()
	cfg.Shape = kv.Shape{Layers: 2, KVHeads: 1 + rng.IntN(3), Group: 1 + rng.IntN(3), HeadSize: 8}
	n := 1 + rng.IntN(60)
	cfg.UseMethod(test.method)
	adaptive, floor := rng.IntN(2) == 0, float64(rng.IntN(5))/4
	cfg.Compression = Compression{Rate: []float64{0.1, 0.5, 0.77, 1}[rng.IntN(4)]}
	switch seed {
	case 0: // more than two partitions
		cfg.Shape, n = kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 8}, 300
		cfg.Compression.Rate = 0.5
	case 1, 2: // heads that differ, alike or together
		cfg.Shape.KVHeads, cfg.Shape.Group, n = 3, 2, 50
		cfg.Compression.Rate, adaptive, floor = 0.5, seed == 1, 0.9
	}
	cfg.DType, cfg.BlockSize, cfg.Blocks, cfg.Rope = dtype.F32, 1<<rng.IntN(5), 1<<14, test.rope
	cfg.Set = Settings{}
	if test.set != "" {
		if err := json.Unmarshal([]byte(test.set), &cfg.Set); err != nil {
			t.Fatal(err)
		}
	}
	if adaptive {
		cfg.Set.Set("adaptive", "true")
		cfg.Set.Set("floor", fmt.Sprint(floor))
	}
	p := randomPressPrompt(rng, cfg.Shape, n, test.rope)

	e, err := NewEngine(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if plant != nil {
		plant(e.method.(*scorer), &cfg)
	}
	prompt, err := e.BeginPrompt(0, n)
	if err != nil {
		t.Fatal(err)
	}
	observation := 0
	if e.observation != nil {
		observation = min(n, e.observation.Window)
	}
	for layer := range cfg.Shape.Layers {
		prompt.enter(layer, p.q[layer][(n-observation)*cfg.Shape.QueryHeads()*cfg.Shape.HeadSize:], p.k[layer], p.v[layer])
	}
	prompt.End()

	heads := cfg.Shape.KVHeads
	var want [][]int32 // tokens that the rule keeps, by head
	for layer := range cfg.Shape.Layers {
		scores := make([][]float32, heads)
		for h := range heads {
			head := &e.cache.Sequence(0).Heads[layer*heads+h]
			for i := range n {
				score := float32(i) // by position
				if test.rule != nil {
					score = e.cache.Data[0][e.cache.Slot(head, i)]
				}
				scores[h] = append(scores[h], score)
			}
		}
		if test.rule != nil {
			for h, rule := range test.rule(p, layer) {
				for i, x := range rule {
					if far := math.Abs(float64(scores[h][i]) - x); !(far <= 2e-5*max(0.05, math.Abs(x))) {
						return fmt.Sprintf("layer %d, head %d, token %d of %d: score %g, want %g", layer, h, i, n, scores[h][i], x)
					}
				}
			}
		}
		if !adaptive {
			floor = 1
		}
		want = append(want, test.keep(scores, int(float64(n)*cfg.Compression.Rate), floor)...)
	}
	if _, err := e.Compress(0); err != nil {
		t.Fatal(err)
	}
	for h := range want {
		head := &e.cache.Sequence(0).Heads[h]
		var got []int32
		for i := range head.Len {
			got = append(got, e.cache.Positions[e.cache.Slot(head, i)])
		}
		if slices.Sort(got); !slices.Equal(got, want[h]) {
			return fmt.Sprintf("head %d of %d tokens keeps %v, want %v", h, n, got, want[h])
		}
	}
	return ""
}

// keep returns which tokens a layer's heads keep by the published rule: keep on average, at least
// ⌊keep·floor⌋ in each, highest scores first, protected tokens before all others.
func (test *pressTest) keep(scores [][]float32, keep int, floor float64) [][]int32 {
	type token struct {
		head, i int
		score   float32
	}
	n := len(scores[0])
	sinks := min(test.sinks, keep)
	window := min(test.window, keep-sinks)
	var all []token
	kept := make([][]int32, len(scores))
	for h := range scores {
		var mine []token
		for i, s := range scores[h] {
			if i < sinks || i >= n-window {
				s = float32(math.Inf(1))
			}
			mine = append(mine, token{h, i, s})
		}
		slices.SortStableFunc(mine, func(a, b token) int { return cmp.Compare(a.score, b.score) })
		safe := int(float64(keep) * floor)
		for _, x := range mine[n-safe:] {
			kept[h] = append(kept[h], int32(x.i))
		}
		all = append(all, mine[:n-safe]...)
	}
	slices.SortStableFunc(all, func(a, b token) int { return cmp.Compare(a.score, b.score) })
	for _, x := range all[len(scores)*(n-keep):] {
		kept[x.head] = append(kept[x.head], int32(x.i))
	}
	for h := range kept {
		slices.Sort(kept[h])
	}
	return kept
}

// randomPressPrompt returns a prompt of normal numbers whose heads differ in size and in
// direction.
func randomPressPrompt(rng *rand.Rand, s kv.Shape, n int, rope *trace.Rope) *pressPrompt {
	p := &pressPrompt{shape: s, n: n, rope: rope}
	values := func(heads int) []float32 {
		size, shift := make([]float64, heads), make([]float64, heads*s.HeadSize)
		for h := range size {
			size[h] = 0.5 + rng.Float64()
		}
		for i := range shift {
			shift[i] = rng.NormFloat64() / 2
		}
		x := make([]float32, n*heads*s.HeadSize)
		for i := range x {
			x[i] = float32(size[i/s.HeadSize%heads] * (rng.NormFloat64() + shift[i%len(shift)]))
		}
		return x
	}
	for range s.Layers {
		p.q, p.k, p.v = append(p.q, values(s.QueryHeads())), append(p.k, values(s.KVHeads)), append(p.v, values(s.KVHeads))
	}
	return p
}

// TestPressesQuick checks that Decide and Walk agree on scores with many ties, over several heads and with
// floors, for units of one KV and of more.
func TestPressesQuick(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 4))
		layers, heads, unit := 1+rng.IntN(2), 1+rng.IntN(4), 1<<rng.IntN(3)
		n := 1 + rng.IntN(40)
		p := &Problem{Length: n, KVHeads: heads, BlockSize: 4}
		p.Unit, p.Sinks, p.Window, p.Keep = unit, rng.IntN(4), rng.IntN(4), rng.IntN(n+2)
		for h := range layers * heads {
			head := kv.Head{Segment: kv.Segment{Len: rng.IntN(n + 1)}}
			for range ceil.Div(head.Len, 4) {
				head.Table = append(head.Table, int32(len(p.Scores)/4))
				for range 4 {
					p.Scores = append(p.Scores, float32(rng.IntN(6)-2))
					p.Positions = append(p.Positions, 0)
				}
			}
			for i, position := range slices.Sorted(slices.Values(rng.Perm(n)[:head.Len])) {
				p.Positions[head.Slot(i, 4)] = int32(position)
			}
			p.Heads = append(p.Heads, head)
			if h%heads == 0 {
				p.Quotas = append(p.Quotas, Quota{h, heads, rng.IntN(heads*n + 1)})
			}
		}
		quick, plain := Decide(p), Walk(p)
		if !quick.Equal(&plain) {
			t.Fatalf("seed %d: Decide %+v, Walk %+v", seed, quick, plain)
		}
		for h, lost := range plain.Heads {
			if len(lost.KVs) > max(0, p.Heads[h].Len-p.Keep) {
				t.Fatalf("seed %d: head %d of %d KVs loses %d, and is to keep %d", seed, h, p.Heads[h].Len, len(lost.KVs), p.Keep)
			}
		}
	}
}

// TestPressesFinite checks that no legal prompt gives a score that is infinite, NaN or −0.
func TestPressesFinite(t *testing.T) {
	const most = trace.MaxMagnitude
	tiny := float32(0x1p-149)
	for name, values := range map[string][]float32{
		"zeros": {0}, "the largest": {most}, "both signs": {most, -most}, "tiny": {tiny}, "tiny and 0": {tiny, 0},
		"all kinds": {most, tiny, 0, -most, 1, -tiny},
	} {
		for _, method := range []string{"tova", "observed-attention", "snapkv-kvpress", "knorm", "keydiff", "lagkv", "expected-attention"} {
			rng := rand.New(rand.NewPCG(1, 5))
			cfg := Default()
			cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 16}
			cfg.UseMethod(method)
			cfg.DType, cfg.Blocks = dtype.F32, 64
			cfg.Rope = &trace.Rope{Base: 10000, RotarySize: 16, Pairing: trace.Half}
			if method == "lagkv" {
				cfg.Set = Settings{}
				cfg.Set.Set("lag", "9")
				cfg.Set.Set("cross", "true")
			}
			e, err := NewEngine(cfg, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			const n = 150
			random := func(heads int) []float32 {
				x := make([]float32, n*heads*cfg.Shape.HeadSize)
				for i := range x {
					x[i] = values[rng.IntN(len(values))]
				}
				return x
			}
			q := random(2)
			prompt, err := e.BeginPrompt(0, n)
			if err != nil {
				t.Fatal(err)
			}
			if err := prompt.Layer(q[len(q)-min(n, e.observation.Window)*2*cfg.Shape.HeadSize:], random(1), random(1)); err != nil {
				t.Fatal(err)
			}
			head := &e.cache.Sequence(0).Heads[0]
			for i := range n {
				if s := e.cache.Data[0][e.cache.Slot(head, i)]; math.IsNaN(float64(s)) || math.IsInf(float64(s), 0) || s == 0 && math.Signbit(float64(s)) {
					t.Fatalf("%s of %s: score %d is %v", method, name, i, s)
				}
			}
		}
	}
}

// TestPressOptions: options that a method cannot use give an error that says what would work.
func TestPressOptions(t *testing.T) {
	rope := &trace.Rope{Base: 10000, RotarySize: 16, Pairing: trace.Half}
	for _, test := range []struct {
		method, set string
		rope        *trace.Rope
		want        string
	}{
		{"knorm", `{"floor":1.5}`, nil, "method knorm: floor 1.5 is not from 0 to 1"},
		{"knorm", `{"flor":1}`, nil, `method knorm has no option "flor" (did you mean floor?): choose one of adaptive, floor`},
		{"lagkv", `{"lag":0}`, nil, "method lagkv: lag 0 is not from 1 to"},
		{"lagkv", `{"sinks":-1}`, nil, "method lagkv: sinks -1 is not from 0 to"},
		{"snapkv-kvpress", `{"kernel":4}`, nil, "kernel 4 is not an odd width"},
		{"snapkv-kvpress", `{"window":0}`, nil, "window 0 is not from 1 to"},
		{"streaming-llm-kvpress", `{"sinks":-3}`, nil, "sinks -3 is not from 0 to"},
		{"expected-attention", `{}`, nil, `give "rope" in its trace.json, or, for a model that has none, --set rope=none`},
		{"expected-attention", `{"rope":"none"}`, nil, ""},
		{"expected-attention", `{"rope":"x"}`, rope, `rope is "x", want trace or none`},
		{"expected-attention", `{}`, rope, "rotates 16 elements of a head of 8"},
		{"expected-attention", `{"future":0}`, nil, "future 0 is not from 1 to"},
		{"expected-attention", `{"epsilon":-1}`, nil, "epsilon -1 is not from 0 to 1"},
		{"expected-attention", `{"sinks":-1}`, nil, "sinks -1 is not from 0 to"},
	} {
		cfg := Default()
		cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}
		cfg.UseMethod(test.method)
		cfg.Rope = test.rope
		if err := json.Unmarshal([]byte(test.set), &cfg.Set); err != nil {
			t.Fatal(err)
		}
		_, err := cfg.NewMethod()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s %s: %v, want %q", test.method, test.set, err, test.want)
		}
	}
}
