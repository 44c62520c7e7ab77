package infllm_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kvcompress/bench/infllm"
	"kvcompress/bench/live"
	"kvcompress/bench/models"
	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/vec"
	"kvcompress/trace"
)

// options returns a configuration of InfLLM. first and local are the numbers of first and newest tokens, blocks that of
// looked-up blocks, block the tokens of a block, and chunk those of a chunk.
func options(first, blocks, local, chunk, block, representatives int) ref.Config {
	c := ref.Config{Method: "infllm"}
	total := first + blocks*block + local
	fraction := func(n int) []byte { return []byte(strconv.FormatFloat((float64(n)+0.5)/float64(total), 'g', -1, 64)) }
	c.Compression.MaxCacheTokens = total
	c.Set = ref.Settings{"init": fraction(first), "context": fraction(blocks * block)}
	c.Set.Set("local", strconv.Itoa(chunk))
	c.Set.Set("block", strconv.Itoa(block))
	c.Set.Set("representatives", strconv.Itoa(representatives))
	return c
}

// attention returns a layer's attention with a configuration and a shape.
func attention(t testing.TB, c ref.Config, format dtype.DType, kvHeads, group, d, rotary int) *infllm.Attention {
	t.Helper()
	c.Config = kv.Config{Shape: kv.Shape{Layers: 1, KVHeads: kvHeads, Group: group, HeadSize: d}, DType: format}
	c.Rope = &trace.Rope{Base: 10000, RotarySize: rotary, Pairing: trace.Half}
	a, err := infllm.NewAttention(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A sequence worked out by hand: 1 first token, 1 looked-up block of 2 tokens, 4 newest tokens, chunks of 4. All
// queries are 0, so a query's output is the mean of the values that it attends to, and a value is 1 in the element of
// its token. Then a query looks for element 15 among the representatives of the blocks {1, 2} and {3, 4}, the tokens
// with the most attention: 1, with 1/2 + 1/3 + 1/4 + 1/8 of the queries 1 to 4, above 2 with 1/3 + 1/4 + 1/8 + 1/8; and
// 3, with 1/4 + 1/8 + 1/8 + 1/8, above 4 with 4/8.
func TestByHand(t *testing.T) {
	const d = 16
	reads := [][]int{ // of each token, with repetitions
		{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3},
		// The last query's 4 newest are 4 to 7, so 0 to 3 are far for the whole chunk.
		{0, 1, 2, 3, 1, 2, 3, 4}, {0, 1, 2, 3, 2, 3, 4, 5}, {0, 1, 2, 3, 3, 4, 5, 6}, {0, 1, 2, 3, 4, 5, 6, 7},
		// Now there is a first token, 0, and a block, {1, 2}.
		{0, 1, 2, 3, 4, 5, 6, 7, 8},
	}
	for _, c := range []struct {
		marked int   // token whose key has element 15
		want   []int // tokens that query 9 attends to, in addition to the newest ones, 5 to 9
	}{
		{-1, []int{0, 1, 2}}, // equal scores: the earlier block
		{3, []int{0, 3, 4}},
		{4, []int{0, 1, 2}}, // not the representative
		{1, []int{0, 1, 2}},
	} {
		a := attention(t, options(1, 1, 4, 4, 2, 1), dtype.F16, 1, 1, d, 2)
		key := func(token int) []float32 {
			k := make([]float32, d)
			if token == c.marked {
				k[15] = 1
			}
			return k
		}
		value := func(token int) []float32 {
			v := make([]float32, d)
			v[token] = 1
			return v
		}
		read := func(from, to int, q []float32) []float32 {
			var keys, values []float32
			for i := from; i < to; i++ {
				keys, values = append(keys, key(i)...), append(values, value(i)...)
			}
			out := make([]float32, len(keys))
			if err := a.Append(q, keys, values, out); err != nil {
				t.Fatal(err)
			}
			return out
		}
		var out []float32
		for _, chunk := range [][2]int{{0, 4}, {4, 8}, {8, 9}} {
			out = append(out, read(chunk[0], chunk[1], make([]float32, (chunk[1]-chunk[0])*d))...)
		}
		for token, list := range reads {
			want := make([]float32, d)
			for _, i := range list {
				want[i]++
			}
			for i := range want {
				want[i] = float32(want[i] * (1 / float32(len(list))))
			}
			if got := out[token*d:][:d]; !slices.Equal(got, want) {
				t.Errorf("token %d: %v, want %v", token, got, want)
			}
		}
		q := make([]float32, d)
		q[15] = 1
		var got []int
		for i, v := range read(9, 10, q) {
			if v > 0 {
				got = append(got, i)
			}
		}
		if want := append(c.want, 5, 6, 7, 8, 9); !slices.Equal(got, want) {
			t.Errorf("with the key of token %d marked, query 9 attends to %v, want %v", c.marked, got, want)
		}
	}
}

// naive is the rule from its definition: of every query it lists the KVs from scratch, and no state is kept but the
// attention that each token received. Tensors are [tokens, heads, D]. ends are the ends of the chunks.
func naive(p ref.InfLLMPlan, format dtype.DType, rope trace.Rope, heads, group, d int, ends []int, q, k, v []float32) []float32 {
	store := func(x []float32) []float32 {
		b := make([]byte, len(x)*format.Size())
		format.Encode(b, x)
		y := make([]float32, len(x))
		format.Decode(y, b)
		return y
	}
	turned := func(x []float32, position int) []float32 {
		y := slices.Clone(x)
		step, partner := rope.Strides()
		for i, f := range rope.InverseFrequencies() {
			s, c := trace.Sincos(float64(float32(float32(position) * f)))
			sin, cos := float32(s), float32(c)
			a, b := x[i*step], x[i*step+partner]
			y[i*step], y[i*step+partner] = float32(a*cos)-float32(b*sin), float32(a*sin)+float32(b*cos)
		}
		return y
	}
	dot := func(a, b []float32) float32 {
		var one [1]float32
		vec.Dots(one[:], a, b, d)
		return one[0]
	}
	k, v = store(k), store(v)
	row := func(x []float32, width, token, head int) []float32 { return x[(token*width+head)*d:][:d] }
	query := func(token, head int) []float32 { return row(q, heads*group, token, head) }
	key := func(token, head int) []float32 { return row(k, heads, token, head/group) }
	received := make([]map[int]float32, heads*group)
	for head := range received {
		received[head] = map[int]float32{}
	}
	average := func(rows [][]float32) []float32 {
		sum := make([]float32, d)
		for _, r := range rows {
			for j := range r {
				sum[j] += r[j]
			}
		}
		for j := range sum {
			sum[j] /= float32(len(rows))
		}
		return sum
	}
	best := func(n, most int, value func(int) float32) []int {
		var list []int
		for i := range n {
			list = append(list, i)
		}
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(value(b), value(a)) })
		list = list[:min(n, most)]
		slices.Sort(list)
		return list
	}
	out := make([]float32, len(q))
	from := 0
	for _, to := range ends {
		// The past is read token by token: what leaves the Local newest fills the first tokens, and then blocks.
		first, blocks := 0, 0
		for first < p.First && from-first > p.Local {
			first++
		}
		for from-first-(blocks+1)*p.Block >= p.Local {
			blocks++
		}
		scores := make([]float32, blocks)
		for head := range heads * group {
			var queries [][]float32
			for t := from; t < to; t++ {
				queries = append(queries, turned(query(t, head), p.Local-1))
			}
			for b := range scores {
				start := first + b*p.Block
				var most [][]float32
				for _, i := range best(p.Block, p.Representatives, func(i int) float32 { return received[head][start+i] }) {
					most = append(most, key(start+i, head))
				}
				scores[b] += dot(average(queries), store(average(most)))
			}
		}
		var far []int
		for i := range first {
			far = append(far, i)
		}
		for _, b := range best(blocks, p.LookedUp/p.Block, func(b int) float32 { return scores[b] }) {
			for i := range p.Block {
				far = append(far, first+b*p.Block+i)
			}
		}
		for i := first + blocks*p.Block; i < to-p.Local; i++ {
			far = append(far, i)
		}
		for t := from; t < to; t++ {
			for head := range heads * group {
				var weights, values []float32
				scale := 1 / float32(math.Sqrt(float64(d)))
				for _, i := range far {
					weights = append(weights, float32(dot(turned(query(t, head), p.Local-1), key(i, head))*scale))
					values = append(values, row(v, heads, i, head/group)...)
				}
				for i := max(0, t-p.Local+1); i <= t; i++ {
					weights = append(weights, float32(dot(turned(query(t, head), t), turned(key(i, head), i))*scale))
					values = append(values, row(v, heads, i, head/group)...)
				}
				ref.Attend(row(out, heads*group, t, head), weights, values)
				for i, w := range weights[len(far):] {
					received[head][max(0, t-p.Local+1)+i] += w
				}
			}
		}
		from = to
	}
	return out
}

// The attention has the same bits as the plain rule, with random tensors in chunks of random sizes. A fork continues
// with the same bits, and does not change what it was made of.
func TestNaive(t *testing.T) {
	seeds := testsize.Of(40, 100, 1000)
	looked, whole := 0, 0
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 1))
		heads, group, d := 1+r.IntN(2), 1+r.IntN(3), 8*(1+r.IntN(3))
		block := 1 + r.IntN(6)
		chunk := 1 + r.IntN(8)
		c := options(r.IntN(4), r.IntN(4), chunk+r.IntN(8), chunk, block, 1+r.IntN(block))
		format := []dtype.DType{dtype.F32, dtype.F16, dtype.BF16}[r.IntN(3)]
		a := attention(t, c, format, heads, group, d, d)
		p, err := c.InfLLMReads()
		if err != nil {
			t.Fatal(err)
		}
		n := 1 + r.IntN(70)
		if n > p.Tokens()+p.Block {
			looked++
		} else {
			whole++
		}
		random := func(n int) []float32 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			return x
		}
		qRow, kRow := heads*group*d, heads*d
		q, k, v := random(n*qRow), random(n*kRow), random(n*kRow)
		var ends []int
		for at := 0; at < n; {
			at = min(n, at+1+r.IntN(chunk))
			ends = append(ends, at)
		}
		rope := trace.Rope{Base: 10000, RotarySize: d, Pairing: trace.Half}
		want := naive(p, format, rope, heads, group, d, ends, q, k, v)
		got := make([]float32, n*qRow)
		from := 0
		for _, to := range ends {
			other := a.Fork()
			for _, one := range []*infllm.Attention{other, a} {
				clear(got[from*qRow : to*qRow])
				if err := one.Append(q[from*qRow:to*qRow], k[from*kRow:to*kRow], v[from*kRow:to*kRow], got[from*qRow:to*qRow]); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got[from*qRow:to*qRow], want[from*qRow:to*qRow]) {
					t.Fatalf("seed %d, %+v: tokens %d to %d differ from the plain rule", seed, p, from, to)
				}
			}
			if r.IntN(2) == 0 {
				a = other
			}
			from = to
		}
	}
	if looked < seeds/8 || whole < seeds/8 {
		t.Errorf("%d sequences look blocks up and %d attend to everything", looked, whole)
	}
}

// While all tokens are among the Local newest, a model's logits are those of the reference engine's cache that evicts
// nothing, to the bit, in whatever chunks the prompt is read. The cache is in binary32: the engine rounds keys after
// their rotation, and InfLLM before it.
func TestWholeWindow(t *testing.T) {
	m, err := models.Load("recall-0")
	if err != nil {
		t.Fatal(err)
	}
	const n = 40
	tokens := make([]int, n)
	for i := range tokens {
		tokens[i] = (i * 37) % m.Config().Vocab
	}
	cfg := ref.Default()
	cfg.UseMethod("streaming-llm")
	model := m.Config()
	cfg.BlockSize, cfg.DType, cfg.Shape, cfg.Rope = 8, dtype.F32, model.Shape(), &model.Rope
	cfg.Compression.MaxCacheTokens = n + 1
	cfg.Blocks = live.Room(&cfg, n+1)
	e, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	full, err := live.Stream(t.Context(), live.Reference(e), 0, m, tokens, m.NewStepper())
	if err != nil {
		t.Fatal(err)
	}
	logits, err := full.Feed(9)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(logits)
	for _, chunk := range []int{1, 7, n} {
		c := options(2, 2, n+1, chunk, 8, 1)
		c.DType = dtype.F32
		s, err := infllm.New(c, m, m.NewStepper())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Read(t.Context(), tokens); err != nil {
			t.Fatal(err)
		}
		got, err := s.Fork().Feed(9)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("in chunks of %d the logits differ", chunk)
		}
		if s.Len() != n {
			t.Errorf("%d tokens after a fork has read one more", s.Len())
		}
	}
}

// What cannot be read is an error.
func TestErrors(t *testing.T) {
	a := attention(t, options(1, 1, 4, 2, 2, 1), dtype.F16, 1, 1, 8, 8)
	x := func(tokens int, value float32) []float32 { return slices.Repeat([]float32{value}, 8*tokens) }
	nan := float32(math.NaN())
	for want, c := range map[string]struct{ q, k, v, out []float32 }{
		"a chunk of 3 tokens":      {x(3, 0), x(3, 0), x(3, 0), x(3, 0)},
		"a chunk of 0 tokens":      {},
		"16 and 8 elements":        {x(2, 0), x(2, 0), x(1, 0), x(2, 0)},
		"and 8 of output":          {x(2, 0), x(2, 0), x(2, 0), x(1, 0)},
		"beyond the largest f16":   {x(1, 0), x(1, 70000), x(1, 0), x(1, 0)},
		"v has a value of NaN":     {x(1, 0), x(1, 0), x(1, nan), x(1, 0)},
		"q has a value of NaN, wa": {x(1, nan), x(1, 0), x(1, 0), x(1, 0)},
	} {
		if err := a.Append(c.q, c.k, c.v, c.out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	if _, err := infllm.NewAttention(options(1, 1, 4, 2, 2, 3), 0); err == nil || !strings.Contains(err.Error(), "no more representatives than a block has tokens") {
		t.Errorf("%v, want an error of the options", err)
	}
	m, err := models.Load("recall-0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := infllm.New(options(1, 1, 4, 2, 2, 1), m, m.NewStepper())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Feed(m.Config().Vocab); err == nil || !strings.Contains(err.Error(), "not in the vocabulary") {
		t.Errorf("%v, want an error of the token", err)
	}
}
