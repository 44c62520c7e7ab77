package llama

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// A step with the attention of a session returns the session's logits, whichever other
// sequences are in the batch.
func TestStepper(t *testing.T) {
	m := tinyModel(t)
	prompts := [][]int{{1, 2, 3, 4, 5}, {7, 3}}
	sessions, want := make([]*Session, 2), make([]float32, 0, 2*m.cfg.Vocab)
	for i, p := range prompts {
		whole, err := m.NewSession().Feed(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, whole...)
		sessions[i] = m.NewSession()
		if _, err := sessions[i].Feed(p[:len(p)-1], nil); err != nil {
			t.Fatal(err)
		}
	}
	last := func(p []int) int { return p[len(p)-1] }
	got, err := m.NewStepper().Step([]int{last(prompts[0]), last(prompts[1])}, []int{4, 1}, func(layer int, q, k, v, out []float32) error {
		for i, s := range sessions {
			row := func(x []float32) []float32 { n := len(x) / 2; return x[i*n:][:n] }
			a := &activations{n: 1, q: row(q), k: row(k), v: row(v), attended: row(out)}
			s.attention(layer, a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Error("the logits differ from those of sessions")
	}
}

// A forked session continues as if it had been fed all its tokens itself.
func TestFork(t *testing.T) {
	m := tinyModel(t)
	s := m.NewSession()
	if _, err := s.Feed([]int{1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	forks := []*Session{s, s.Fork(), s.Fork()}
	for i, f := range forks {
		for _, token := range []int{4 + i, 9 - i} {
			got, err := f.Feed([]int{token}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if token != 9-i {
				continue
			}
			want, err := m.NewSession().Feed([]int{1, 2, 3, 4 + i, 9 - i}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("fork %d: the logits differ", i)
			}
		}
	}
}

func TestStepperRefuses(t *testing.T) {
	m := tinyModel(t)
	stop := errors.New("stop")
	for _, c := range []struct {
		tokens, positions []int
		err               error
		want              string
	}{
		{nil, nil, nil, "a step of 0 tokens"},
		{[]int{1}, []int{1, 2}, nil, "1 tokens at 2 positions"},
		{[]int{m.cfg.Vocab}, []int{1}, nil, "not in the vocabulary"},
		{[]int{1}, []int{m.cfg.MaxPositions}, nil, "position"},
		{[]int{1}, []int{0}, stop, "stop"},
	} {
		_, err := m.NewStepper().Step(c.tokens, c.positions, func(int, []float32, []float32, []float32, []float32) error { return c.err })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v at %v: %v, want something with %q", c.tokens, c.positions, err, c.want)
		}
	}
}

// silu is x·σ(x) within the rounding of its few operations, for either sign.
func TestSiLU(t *testing.T) {
	for x := float32(-30); x <= 30; x += 0.37 {
		want := float64(x) / (1 + math.Exp(-float64(x)))
		if d := math.Abs(float64(silu(x)) - want); d > 4*math.Abs(want)*0x1p-23 {
			t.Errorf("silu(%g) = %g, want %g", x, silu(x), want)
		}
	}
}

// tinyModel is a llama2.c checkpoint with weights computed from their indices.
func tinyModel(t *testing.T) *Model {
	t.Helper()
	h := checkpointHeader{Dim: 16, HiddenDim: 24, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 11, SeqLen: 9}
	m := &Model{cfg: Config{}}
	cfg, err := h.config()
	if err != nil {
		t.Fatal(err)
	}
	m.cfg = cfg
	n := 0
	for _, s := range m.checkpointPlan(false) {
		n += s.count * s.rows * s.cols
	}
	var file bytes.Buffer
	put := func(v uint32) { file.Write([]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}) }
	for _, v := range []int32{h.Dim, h.HiddenDim, h.Layers, h.Heads, h.KVHeads, h.Vocab, h.SeqLen} {
		put(uint32(v))
	}
	for i := range n {
		put(math.Float32bits(float32(math.Sin(float64(i * i)))))
	}
	m, err = ReadCheckpoint(bytes.NewReader(file.Bytes()), int64(file.Len()), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	return m
}
