package heads

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/kv"
	"kvcompress/ref/vec"
	"kvcompress/trace"
)

// memory holds the tensors of one request, [tokens, heads, D] of each layer.
type memory struct {
	shape kv.Shape
	q, k  [][]float32
}

func (m *memory) Tokens() int { return len(m.k[0]) / (m.shape.KVHeads * m.shape.HeadSize) }

func (m *memory) Close() error { return nil }

func (m *memory) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	row := t.Heads(m.shape) * m.shape.HeadSize
	x := m.k[layer] // V is K
	if t == trace.Q {
		x = m.q[layer]
	}
	if copy(dst, x[from*row:(from+n)*row]) != n*row {
		return errors.New("short read")
	}
	return nil
}

// Feed returns recorded tensors, whatever tokens it gets.
func (m *memory) Feed(tokens []int, visit func(q, k, v []float32) error) ([]float32, error) {
	for t := range tokens {
		var q, k []float32
		for l := range m.shape.Layers {
			qRow, kRow := m.shape.QueryHeads()*m.shape.HeadSize, m.shape.KVHeads*m.shape.HeadSize
			q = append(q, m.q[l][t*qRow:(t+1)*qRow]...)
			k = append(k, m.k[l][t*kRow:(t+1)*kRow]...)
		}
		if err := visit(q, k, k); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// query returns the query of a token, and key the key, of one head.
func (m *memory) query(layer, head, t int) []float32 {
	d := m.shape.HeadSize
	return m.q[layer][(t*m.shape.QueryHeads()+head)*d:][:d]
}

func (m *memory) key(layer, head, t int) []float32 {
	d := m.shape.HeadSize
	return m.k[layer][(t*m.shape.KVHeads+head)*d:][:d]
}

// randomTensors returns tensors of random numbers, different for each token.
func randomTensors(shape kv.Shape, tokens int, seed uint64) *memory {
	random := rand.New(rand.NewPCG(seed, 1))
	m := &memory{shape: shape}
	for range shape.Layers {
		q := make([]float32, tokens*shape.QueryHeads()*shape.HeadSize)
		k := make([]float32, tokens*shape.KVHeads*shape.HeadSize)
		for _, x := range [][]float32{q, k} {
			for i := range x {
				x[i] = float32(random.NormFloat64() * 2)
			}
		}
		m.q, m.k = append(m.q, q), append(m.k, k)
	}
	return m
}

// plainScores is the definition, with the whole matrix P of a head in memory: row and
// column of BOS deleted, then sums over (i, j) with j = i mod n, i mod n + n, … < i.
func plainScores(m *memory, rep Repetition) *Scores {
	s := &Scores{}
	for l := range m.shape.Layers {
		var echoes, inductions []float64
		for h := range m.shape.QueryHeads() {
			p := plainAttention(m, l, h, rep.Tokens())
			p = p[1:]
			for i := range p {
				p[i] = p[i][1:]
			}
			var echo, induction float64
			for i := rep.Period; i < len(p); i++ {
				var e, n float64
				for j := i - rep.Period; j >= 0; j -= rep.Period { // nearest copy first
					e += float64(p[i][j])
					n += float64(p[i][j+1])
				}
				echo += e
				induction += n
			}
			rows := float64(len(p) - rep.Period)
			echoes, inductions = append(echoes, echo/rows), append(inductions, induction/rows)
		}
		s.Echo, s.Induction = append(s.Echo, echoes), append(s.Induction, inductions)
	}
	return s
}

// plainAttention is ref/NUMERICS.md §4, line by line.
func plainAttention(m *memory, layer, head, tokens int) [][]float32 {
	scale := 1 / float32(math.Sqrt(float64(m.shape.HeadSize)))
	p := make([][]float32, tokens)
	for t := range p {
		row := make([]float32, t+1)
		var max, sum []float32
		for j := range row {
			var dot [1]float32
			vec.Dots(dot[:], m.query(layer, head, t), m.key(layer, head/m.shape.Group, j), m.shape.HeadSize)
			row[j] = dot[0] * scale
		}
		for part := range slices.Chunk(row, 128) {
			top := slices.Max(part)
			for j := range part {
				part[j] = vec.Exp(part[j] - top)
			}
			max, sum = append(max, top), append(sum, vec.Sum(part))
		}
		top, z := slices.Max(max), float32(0)
		for i := range max {
			z += float32(vec.Exp(max[i]-top) * sum[i])
		}
		for j := range row {
			row[j] *= vec.Exp(max[j/128]-top) / z
		}
		p[t] = row
	}
	return p
}

func TestScoresAreThoseOfTheWholeMatrix(t *testing.T) {
	for _, c := range []struct {
		shape kv.Shape
		rep   Repetition
	}{
		{kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, Repetition{1, 2}},
		{kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8}, Repetition{1, 40}},
		{kv.Shape{Layers: 3, KVHeads: 2, Group: 2, HeadSize: 16}, Repetition{7, 4}},
		{kv.Shape{Layers: 1, KVHeads: 1, Group: 3, HeadSize: 40}, Repetition{64, 4}},
		{kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 8}, Repetition{127, 3}},
		{kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 8}, Repetition{128, 3}},
		{kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8}, Repetition{129, 3}},
		{kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, Repetition{3, 100}},
		{kv.Shape{Layers: 2, KVHeads: 1, Group: 1, HeadSize: 8}, Repetition{250, 2}},
	} {
		t.Run(fmt.Sprintf("%+v %+v", c.shape, c.rep), func(t *testing.T) {
			m := randomTensors(c.shape, c.rep.Tokens()+3, 5)
			want := plainScores(m, c.rep)
			read := 0
			got, err := FromTensors(t.Context(), m, c.shape, c.rep, func(n int) { read += n })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("a trace's (-whole matrix +streamed):\n%s", diff)
			}
			if read != c.shape.Layers*c.rep.Tokens() {
				t.Errorf("%d tokens were counted", read)
			}
			got, err = FromModel(t.Context(), m, c.shape, c.rep, make([]int, c.rep.Tokens()), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("a model's (-whole matrix +streamed):\n%s", diff)
			}
		})
	}
}

// kind is what a constructed head attends to.
type kind string

const (
	echoHead      kind = "echo"
	inductionHead kind = "induction"
	localHead     kind = "local"
	sinkHead      kind = "sink"
	evenHead      kind = "even"
)

// constructed returns tensors with query heads [L][H·G] of known kinds. A token is a random
// vector of ±1. The first half of a key is its token, the second half the previous token. So a
// query with its own token in the first half finds earlier copies of the token, and one with it
// in the second half finds the tokens after these copies. Dimensions 0 and 1 rotate with the
// position, for local heads, and dimension 2 is large in the key of BOS.
func constructed(shape kv.Shape, kinds [][]kind, prompt []int) *memory {
	const special = 4 // dimensions
	d := shape.HeadSize
	half := (d - special) / 2
	signs := func(token int, dst []float32, x float32) {
		random := rand.New(rand.NewPCG(uint64(token), 7))
		for i := range dst {
			dst[i] = x * float32(2*random.IntN(2)-1)
		}
	}
	m := &memory{shape: shape}
	for l := range shape.Layers {
		q := make([]float32, len(prompt)*shape.QueryHeads()*d)
		k := make([]float32, len(prompt)*shape.KVHeads*d)
		m.q, m.k = append(m.q, q), append(m.k, k)
		for t, token := range prompt {
			sin, cos := math.Sincos(float64(t) * 2 * math.Pi / float64(2*len(prompt)))
			for h := range shape.KVHeads {
				key := m.key(l, h, t)
				key[0], key[1] = float32(cos), float32(sin)
				if t == 0 {
					key[2] = 1
					continue
				}
				signs(token, key[special:special+half], 1)
				signs(prompt[t-1], key[special+half:special+2*half], 1)
			}
			for h := range shape.QueryHeads() {
				query := m.query(l, h, t)
				switch kinds[l][h] {
				case echoHead:
					signs(token, query[special:special+half], 4)
				case inductionHead:
					signs(token, query[special+half:special+2*half], 4)
				case localHead:
					query[0], query[1] = float32(1e5*cos), float32(1e5*sin)
				case sinkHead:
					query[2] = 200
				}
			}
		}
	}
	return m
}

// Heads are constructed as echo, induction, local, sink and uniform heads. The search finds
// exactly the echo and induction heads.
func TestKnownHeadsAreFound(t *testing.T) {
	shape := kv.Shape{Layers: 3, KVHeads: 3, Group: 2, HeadSize: 64}
	kinds := [][]kind{
		{localHead, sinkHead, evenHead, localHead, sinkHead, sinkHead},
		{localHead, inductionHead, evenHead, evenHead, echoHead, localHead},
		{sinkHead, sinkHead, inductionHead, localHead, localHead, evenHead},
	}
	wantClasses := [][]Class{
		{Streaming, Streaming, Streaming},
		{Full, Streaming, Full},
		{Streaming, Full, Streaming},
	}
	rep := Repetition{Period: 50, Repeats: 4}
	for _, distinct := range []bool{true, false} {
		prompt, err := rep.Prompt(Draw{BOS: 0, First: 0, Last: 200, Distinct: distinct, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		s, err := FromTensors(t.Context(), constructed(shape, kinds, prompt), shape, rep, nil)
		if err != nil {
			t.Fatal(err)
		}
		for l, row := range kinds {
			for h, k := range row {
				for _, score := range []struct {
					of            kind
					value, lowest float64
				}{
					// An echo head sees its own token too: of c earlier copies it has c/(c+1).
					{echoHead, s.Echo[l][h], 0.9 * (1./2 + 2./3 + 3./4) / 3},
					{inductionHead, s.Induction[l][h], 0.7},
				} {
					switch {
					case k == score.of && score.value < score.lowest:
						t.Errorf("distinct %v: layer %d, head %d is an %s head with a score of only %.3f", distinct, l, h, k, score.value)
					case k != score.of && score.value > 0.2:
						t.Errorf("distinct %v: layer %d, head %d is a %s head with an %s score of %.3f", distinct, l, h, k, score.of, score.value)
					}
				}
			}
		}
		// Of 9 KV heads, 2 induction heads and 1 echo head.
		m, err := Razor(s, shape.KVHeads, RazorOptions{InductionRatio: 2. / 9, EchoRatio: 1. / 9}, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantClasses, m.Classes); diff != "" {
			t.Errorf("distinct %v (-want +got):\n%s", distinct, diff)
		}
	}
}

func TestSearchRefused(t *testing.T) {
	shape := kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	bad := randomTensors(shape, 9, 0)
	bad.q[0][20] = float32(math.Inf(1))
	for _, c := range []struct {
		name  string
		ctx   context.Context
		m     *memory
		shape kv.Shape
		rep   Repetition
		want  string
	}{
		{"no period", t.Context(), bad, shape, Repetition{0, 4}, "a period of 0"},
		{"one repeat", t.Context(), bad, shape, Repetition{4, 1}, "1 repeats: want at least 2"},
		{"overflow", t.Context(), bad, shape, Repetition{math.MaxInt / 2, 4}, "more than the 16777216"},
		{"shape", t.Context(), bad, kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 12}, Repetition{4, 2}, "multiple of 8"},
		{"memory", t.Context(), bad, kv.Shape{Layers: 1, KVHeads: 64, Group: 1, HeadSize: 128}, Repetition{1 << 20, 4}, "128 GiB"},
		{"too short", t.Context(), bad, shape, Repetition{4, 3}, "9 tokens, want 1 + 3 × 4 = 13"},
		{"canceled", canceled, bad, shape, Repetition{4, 2}, "canceled"},
	} {
		if _, err := FromTensors(c.ctx, c.m, c.shape, c.rep, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", c.name, err, c.want)
		}
	}
	rep := Repetition{4, 2}
	if _, err := FromModel(t.Context(), bad, shape, rep, make([]int, 9), nil); err == nil || !strings.Contains(err.Error(), "token 2: a query or key is not finite") {
		t.Error(err)
	}
	if _, err := FromModel(canceled, bad, shape, rep, make([]int, 9), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := FromModel(t.Context(), bad, shape, rep, make([]int, 8), nil); err == nil || !strings.Contains(err.Error(), "a prompt of 8 tokens") {
		t.Error(err)
	}
}

func TestRepeats(t *testing.T) {
	shape := kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}
	rep := Repetition{Period: 5, Repeats: 3}
	m := randomTensors(shape, rep.Tokens(), 1)
	for _, want := range []bool{false, true} {
		if got, err := Repeats(m, shape, rep); err != nil || got != want {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
		copy(m.k[0][(1+5)*8:], m.k[0][1*8:])
		copy(m.k[0][(1+10)*8:], m.k[0][1*8:(1+5)*8])
	}
	if got, err := Repeats(m, shape, Repetition{Period: 4, Repeats: 3}); err != nil || got {
		t.Errorf("a wrong period repeats: %v", err)
	}
}

func BenchmarkFromTensors(b *testing.B) {
	shape := kv.Shape{Layers: 1, KVHeads: 2, Group: 4, HeadSize: 128}
	rep := Repetition{Period: 500, Repeats: 4}
	m := randomTensors(shape, rep.Tokens(), 1)
	b.ResetTimer()
	for b.Loop() {
		if _, err := FromTensors(b.Context(), m, shape, rep, nil); err != nil {
			b.Fatal(err)
		}
	}
	pairs := 0 // of a query and a causal key, that are scored
	for t := 1 + rep.Period; t < rep.Tokens(); t++ {
		pairs += t + 1
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pairs*shape.QueryHeads()), "ns/pair")
}
