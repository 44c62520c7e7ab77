package heads

import (
	"context"
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/trace"
)

// Scores are the scores of every query head of a model, [L][H·G]. P_h is the causal softmax attention of
// query head h without the row and the column of BOS: row and column i are those of token 1+i. (So the rows
// of P_h add up to less than 1; the rest is the attention to BOS.) Over the rows i from n to R·n−1,
//
//	echo_h      = mean of  Σ_{c ≥ 1, i−c·n ≥ 0}  P_h[i, i−c·n]
//	induction_h = mean of  Σ_{c ≥ 1, i−c·n ≥ 0}  P_h[i, i−c·n+1]
//
// which are shares of 1: the attention to all earlier copies of the token, and to the tokens that follow
// those copies. (RazorAttention, arXiv 2407.15891; the sums are those of Ascend/msmodelslim's
// ra_rope_tools.py.)
//
// P is computed in binary32 as in ref/NUMERICS.md §4, and its sums over copies and rows in binary64, so the
// same q and k give the same scores on every platform.
type Scores struct {
	Echo, Induction [][]float64
}

// MaxKeyBytes bounds the memory for a search's keys in binary32: those of one layer of a trace, or of all
// layers of a model.
const MaxKeyBytes = 16 << 30

// chunk is the number of tokens whose queries are in memory at a time.
const chunk = 128

func checkSearch(shape kv.Shape, rep Repetition, layers int) error {
	if err := rep.Check(); err != nil {
		return err
	}
	if err := shape.Check(); err != nil {
		return fmt.Errorf("heads: %w", err)
	}
	row := int64(layers*shape.KVHeads) * int64(shape.HeadSize) * 4
	if bytes := row * int64(rep.Tokens()); bytes > MaxKeyBytes {
		return fmt.Errorf("heads: the keys of %d tokens take %d GiB, more than %d: want a shorter period or fewer repeats",
			rep.Tokens(), bytes>>30, MaxKeyBytes>>30)
	}
	return nil
}

// FromTensors computes the scores of a recorded request whose first 1 + R·n tokens are a repetition. It reads
// no later tokens, and no V. It goes layer by layer, with the keys of one layer and the queries of 128 tokens
// in memory.
//
// progress, unless nil, is called with the number of tokens processed in a layer since the last call: L·(1 +
// R·n) in all.
func FromTensors(ctx context.Context, tensors trace.Tensors, shape kv.Shape, rep Repetition, progress func(tokens int)) (*Scores, error) {
	if err := checkSearch(shape, rep, 1); err != nil {
		return nil, err
	}
	tokens := rep.Tokens()
	if tensors.Tokens() < tokens {
		return nil, fmt.Errorf("heads: there are %d tokens, want 1 + %d × %d = %d", tensors.Tokens(), rep.Repeats, rep.Period, tokens)
	}
	k := make([]float32, chunk*shape.KVHeads*shape.HeadSize)
	q := make([]float32, chunk*shape.QueryHeads()*shape.HeadSize)
	s := &Scores{}
	for number := range shape.Layers {
		l := newLayer(shape, rep)
		for from := 0; from < tokens; from += chunk {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			n := min(chunk, tokens-from)
			k, q := k[:n*shape.KVHeads*shape.HeadSize], q[:n*shape.QueryHeads()*shape.HeadSize]
			if err := tensors.Read(k, trace.K, number, from, n); err != nil {
				return nil, err
			}
			if err := tensors.Read(q, trace.Q, number, from, n); err != nil {
				return nil, err
			}
			l.appendKeys(k)
			l.addQueries(q, from)
			if progress != nil {
				progress(n)
			}
		}
		s.add(l)
	}
	return s, nil
}

// Feeder runs a model over tokens, as *llama.Session does: for each token it calls visit with queries q [L,
// H·G, D], keys k and values v [L, H, D], after RoPE.
type Feeder interface {
	Feed(tokens []int, visit func(q, k, v []float32) error) ([]float32, error)
}

// FromModel computes the scores of a model of the given shape while running it over a prompt from
// [Repetition.Prompt]. The model must not have been fed before. Nothing is recorded; the keys of all layers
// (L·H·D·4 bytes per token, in addition to the model's own KV cache) and the queries of 128 tokens are in
// memory.
//
// progress, unless nil, is called after each token. A query or key that is not finite, or beyond
// trace.MaxMagnitude, is an error.
func FromModel(ctx context.Context, model Feeder, shape kv.Shape, rep Repetition, prompt []int, progress func(tokens int)) (*Scores, error) {
	if err := checkSearch(shape, rep, shape.Layers); err != nil {
		return nil, err
	}
	if len(prompt) != rep.Tokens() {
		return nil, fmt.Errorf("heads: a prompt of %d tokens, want 1 + %d × %d = %d", len(prompt), rep.Repeats, rep.Period, rep.Tokens())
	}
	var (
		layers  = make([]*layer, shape.Layers)
		queries = make([][]float32, shape.Layers) // of tokens from…fed−1
		kRow    = shape.KVHeads * shape.HeadSize
		qRow    = shape.QueryHeads() * shape.HeadSize

		from, fed int
	)
	for i := range layers {
		layers[i] = newLayer(shape, rep)
		queries[i] = make([]float32, 0, chunk*qRow)
	}
	flush := func() {
		for i, l := range layers {
			l.addQueries(queries[i], from)
			queries[i] = queries[i][:0]
		}
		from = fed
	}
	_, err := model.Feed(prompt, func(q, k, _ []float32) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(q) != shape.Layers*qRow || len(k) != shape.Layers*kRow {
			return fmt.Errorf("heads: token %d: %d elements of queries and %d of keys do not match %+v", fed, len(q), len(k), shape)
		}
		if !bounded(q) || !bounded(k) {
			return fmt.Errorf("heads: token %d: a query or key is not finite, or beyond ±2^56", fed)
		}
		for i, l := range layers {
			l.appendKeys(k[i*kRow:][:kRow])
			queries[i] = append(queries[i], q[i*qRow:][:qRow]...)
		}
		if fed++; fed-from == chunk {
			flush()
		}
		if progress != nil {
			progress(1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if fed != len(prompt) {
		return nil, fmt.Errorf("heads: the model processed %d tokens of %d", fed, len(prompt))
	}
	flush()
	s := &Scores{}
	for _, l := range layers {
		s.add(l)
	}
	return s, nil
}

// add appends the mean scores of a layer, whose queries have all been added.
func (s *Scores) add(l *layer) {
	mean := func(sums []float64) []float64 {
		means := make([]float64, len(sums))
		for h, sum := range sums {
			means[h] = sum / float64(l.rep.scored())
		}
		return means
	}
	s.Echo = append(s.Echo, mean(l.echo))
	s.Induction = append(s.Induction, mean(l.induction))
}

// bounded reports whether all of x are within ±trace.MaxMagnitude, so that no sum overflows.
func bounded(x []float32) bool {
	limit := math.Float32bits(trace.MaxMagnitude)
	for _, v := range x {
		if math.Float32bits(v)&^(1<<31) > limit {
			return false
		}
	}
	return true
}

// Repeats reports whether the values of a request's first layer repeat as rep says. In models with rotary
// embeddings these values depend only on the token, so copies have equal values. It compares each period with
// the one before, and accepts differences of less than 1 % in root mean square, which occur if a GPU computed
// the copies in batches of different sizes.
func Repeats(tensors trace.Tensors, shape kv.Shape, rep Repetition) (bool, error) {
	if err := checkSearch(shape, rep, 1); err != nil {
		return false, err
	}
	row := shape.KVHeads * shape.HeadSize
	a, b := make([]float32, row), make([]float32, row)
	var difference, size float64
	for t := 1 + rep.Period; t < rep.Tokens(); t++ {
		if err := tensors.Read(a, trace.V, 0, t-rep.Period, 1); err != nil {
			return false, err
		}
		if err := tensors.Read(b, trace.V, 0, t, 1); err != nil {
			return false, err
		}
		for i, x := range a {
			d := float64(x) - float64(b[i])
			difference += float64(d * d)
			size += float64(float64(x) * float64(x))
		}
	}
	return difference <= 1e-4*size, nil
}
