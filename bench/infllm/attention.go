package infllm

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"kvcompress/internal/clip"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/vec"
	"kvcompress/trace"
)

// Attention is the attention of one layer, with keys and values of all tokens so far. It must not be used by two
// goroutines at once.
type Attention struct {
	cfg    ref.Config
	plan   ref.InfLLMPlan
	layer  int
	freqs  []float32 // of the rotary embedding
	length int

	keys, values [][]float32 // of each KV head, [tokens, D], in the cache's format
	near         [][]float32 // keys, turned to their positions
	received     [][]float32 // of each query head, [tokens]: the attention to each token while it was among the Local newest

	representatives [][]float32 // of each query head, [blocks, D], in the cache's format
}

// NewAttention returns the attention of a layer that has read nothing. cfg has the options of InfLLM, the shape of the
// model, the format of the cache and the rotary embedding, which must not be nil.
func NewAttention(cfg ref.Config, layer int) (*Attention, error) {
	plan, err := cfg.InfLLMReads()
	if err != nil {
		return nil, err
	}
	if cfg.Rope == nil {
		return nil, fmt.Errorf("infllm: layer %d: there is no rotary embedding", layer)
	}
	heads, queryHeads := cfg.Shape.KVHeads, cfg.Shape.QueryHeads()
	return &Attention{
		cfg: cfg, plan: plan, layer: layer, freqs: cfg.Rope.InverseFrequencies(),
		keys: make([][]float32, heads), values: make([][]float32, heads), near: make([][]float32, heads),
		received: make([][]float32, queryHeads), representatives: make([][]float32, queryHeads),
	}, nil
}

// Fork returns a copy, which is independent from then on.
func (a *Attention) Fork() *Attention {
	f := *a
	f.keys, f.values, f.near, f.representatives = clip.Rows(a.keys), clip.Rows(a.values), clip.Rows(a.near), clip.Rows(a.representatives)
	f.received = make([][]float32, len(a.received))
	for i := range a.received {
		f.received[i] = slices.Clone(a.received[i])
	}
	return &f
}

// Append reads a chunk of n tokens, at most Chunk of them: q [n, QueryHeads, D], k and v [n, KVHeads, D], q and k as at
// position 0. It writes the attention output to out, of the shape of q. It is an error if a value does not fit the
// cache's format.
func (a *Attention) Append(q, k, v, out []float32) error {
	s := a.cfg.Shape
	d := s.HeadSize
	n := len(k) / (s.KVHeads * d)
	if n < 1 || n > a.plan.Chunk || a.length+n > mostTokens || len(out) != len(q) {
		return fmt.Errorf("infllm: layer %d: a chunk of %d tokens after %d, with %d queries' elements and %d of output: want 1 to %d tokens, %d in all", a.layer, n, a.length, len(q), len(out), a.plan.Chunk, mostTokens)
	}
	if err := a.cfg.CheckPrompt(kv.SeqID(0), a.layer, n, n, q, k, v); err != nil {
		return err
	}
	a.store(n, k, v)
	near, far := a.turned(q, n)
	rows := a.farRows(a.lookup(far, n), n)
	scale := 1 / float32(math.Sqrt(float64(d)))
	for h := range s.KVHeads {
		keys, values := gather(a.keys[h], rows, d), gather(a.values[h], rows, d)
		both := slices.Clone(values) // of the far and then the near KVs
		for t := range n {
			last := a.length + t + 1
			first := max(0, last-a.plan.Local)
			both = append(both[:len(values)], a.values[h][first*d:last*d]...)
			scores := make([]float32, len(rows)+last-first)
			for g := range s.Group {
				head := h*s.Group + g
				at := (t*s.QueryHeads() + head) * d
				vec.Dots(scores[:len(rows)], far[at:][:d], keys, d)
				vec.Dots(scores[len(rows):], near[at:][:d], a.near[h][first*d:last*d], d)
				for i := range scores {
					scores[i] = float32(scores[i] * scale)
				}
				ref.Attend(out[at:][:d], scores, both)
				for i, weight := range scores[len(rows):] {
					a.received[head][first+i] += weight
				}
			}
		}
	}
	a.addBlocks(n)
	a.length += n
	return nil
}

// mostTokens is the most tokens of a sequence, since [trace.Angles] takes no larger positions.
const mostTokens = 1 << 24

// store adds the keys and values of n tokens.
func (a *Attention) store(n int, k, v []float32) {
	s := a.cfg.Shape
	d := s.HeadSize
	k, v = a.rounded(k), a.rounded(v)
	for t := range n {
		turn := a.turn(a.length + t)
		for h := range s.KVHeads {
			key := k[(t*s.KVHeads+h)*d:][:d]
			a.keys[h] = append(a.keys[h], key...)
			a.values[h] = append(a.values[h], v[(t*s.KVHeads+h)*d:][:d]...)
			a.near[h] = append(a.near[h], key...)
			turn(a.near[h][len(a.near[h])-d:])
		}
	}
	for head := range a.received {
		a.received[head] = append(a.received[head], make([]float32, n)...)
	}
}

// rounded returns x in the cache's format.
func (a *Attention) rounded(x []float32) []float32 {
	stored := make([]byte, len(x)*a.cfg.DType.Size())
	a.cfg.DType.Encode(stored, x)
	out := make([]float32, len(x))
	a.cfg.DType.Decode(out, stored)
	return out
}

// turn returns a function that turns a query or key to a position, from position 0.
func (a *Attention) turn(position int) func(x []float32) {
	cos, sin := make([]float32, len(a.freqs)), make([]float32, len(a.freqs))
	trace.Angles(cos, sin, a.freqs, position)
	step, partner := a.cfg.Rope.Strides()
	return func(head []float32) {
		for i := range cos {
			x, y := &head[i*step], &head[i*step+partner]
			*x, *y = trace.RotatePair(*x, *y, cos[i], sin[i])
		}
	}
}

// turned returns the queries of n tokens turned to their own positions, for the near KVs, and to Local − 1, for the far
// ones.
func (a *Attention) turned(q []float32, n int) (near, far []float32) {
	near, far = slices.Clone(q), slices.Clone(q)
	row, d := len(q)/n, a.cfg.Shape.HeadSize
	away := a.turn(a.plan.Local - 1)
	for t := range n {
		turn := a.turn(a.length + t)
		for at := t * row; at < (t+1)*row; at += d {
			turn(near[at:][:d])
			away(far[at:][:d])
		}
	}
	return near, far
}

// lookup returns the blocks that a chunk of n tokens looks up, in ascending order. far has its queries.
func (a *Attention) lookup(far []float32, n int) []int {
	_, blocks, _ := a.plan.Divide(a.length)
	all := make([]int, blocks)
	for b := range all {
		all[b] = b
	}
	most := a.plan.LookedUp / a.plan.Block
	if blocks <= most {
		return all
	}
	d, row := a.cfg.Shape.HeadSize, len(far)/n
	scores, ofHead := make([]float32, blocks), make([]float32, blocks)
	for head, representatives := range a.representatives {
		vec.Dots(ofHead, mean(d, n, func(t int) []float32 { return far[t*row+head*d:] }), representatives, d)
		for b, score := range ofHead {
			scores[b] += score
		}
	}
	best := highest(scores, most)
	slices.Sort(best)
	return best
}

// farRows returns the tokens that a chunk of n tokens reads as far KVs, in ascending order.
func (a *Attention) farRows(lookedUp []int, n int) []int {
	first, blocks, _ := a.plan.Divide(a.length)
	var rows []int
	add := func(from, to int) {
		for i := from; i < to; i++ {
			rows = append(rows, i)
		}
	}
	add(0, first)
	for _, b := range lookedUp {
		add(first+b*a.plan.Block, first+(b+1)*a.plan.Block)
	}
	add(first+blocks*a.plan.Block, a.length+n-a.plan.Local)
	return rows
}

// addBlocks adds the representatives of the blocks that n more tokens make.
func (a *Attention) addBlocks(n int) {
	_, have, _ := a.plan.Divide(a.length)
	first, blocks, _ := a.plan.Divide(a.length + n)
	d, size := a.cfg.Shape.HeadSize, a.plan.Block
	for b := have; b < blocks; b++ {
		from := first + b*size
		for head, received := range a.received {
			keys := a.keys[head/a.cfg.Shape.Group]
			most := highest(received[from:from+size], a.plan.Representatives)
			slices.Sort(most)
			representative := mean(d, len(most), func(i int) []float32 { return keys[(from+most[i])*d:] })
			a.representatives[head] = append(a.representatives[head], a.rounded(representative)...)
		}
	}
}

// highest returns the indices of the n highest values, the highest first, and of equal ones the first.
func highest(values []float32, n int) []int {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(values[j], values[i]) })
	return order[:n]
}

// mean returns the mean of the first d elements of n rows.
func mean(d, n int, row func(i int) []float32) []float32 {
	sum := make([]float32, d)
	for i := range n {
		for j, x := range row(i)[:d] {
			sum[j] += x
		}
	}
	for j := range sum {
		sum[j] /= float32(n)
	}
	return sum
}

// gather returns some rows of d elements.
func gather(all []float32, rows []int, d int) []float32 {
	out := make([]float32, 0, len(rows)*d)
	for _, i := range rows {
		out = append(out, all[i*d:(i+1)*d]...)
	}
	return out
}
