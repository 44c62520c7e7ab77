package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"kvcompress/bench/models"
	"kvcompress/heads"
	"kvcompress/internal/near"
	"kvcompress/trace/llama"
)

// Model is a model that a bench runs, with its KV heads ranked by retrieval score.
type Model struct {
	Name  string
	Llama *llama.Model
	Heads Heads
}

// LoadModel reads a bundled model by its name, or another from a path, and ranks its KV
// heads: see [Rank].
func LoadModel(ctx context.Context, name string) (*Model, error) {
	var m *llama.Model
	var err error
	if slices.Contains(models.Names(), name) {
		m, err = models.Load(name)
	} else {
		m, err = llama.Load(name)
	}
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsRune(name, '/') {
		return nil, fmt.Errorf("%w%s; the bundled models are %s", err, near.Hint(name, models.Names()), strings.Join(models.Names(), ", "))
	}
	if err != nil {
		return nil, err
	}
	h, err := Rank(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", name, err)
	}
	return &Model{name, m, h}, nil
}

// Rank orders the KV heads of a model by retrieval score, highest first. The score is the
// larger of the induction and the echo score of RazorAttention's search, on a prompt of 100
// distinct tokens (fewer for a small vocabulary or few positions) that occurs four times over.
func Rank(ctx context.Context, m *llama.Model) (Heads, error) {
	cfg := m.Config()
	h := Heads{Shape: cfg.Shape()}
	draw := heads.Draw{BOS: max(0, cfg.BOS), Last: cfg.Vocab - 1, Distinct: true}
	rep := heads.Repetition{Period: min(100, cfg.Vocab-1, (cfg.MaxPositions-1)/4), Repeats: 4}
	prompt, err := rep.Prompt(draw)
	if err != nil {
		return h, err
	}
	scores, err := heads.FromModel(ctx, m.NewSession(), h.Shape, rep, prompt, nil)
	if err != nil {
		return h, err
	}
	found, err := heads.Razor(scores, cfg.KVHeads, heads.PublishedRatios(), "")
	if err != nil {
		return h, err
	}
	score := func(at [2]int) float64 {
		return max(found.Scores[0].KV[at[0]][at[1]], found.Scores[1].KV[at[0]][at[1]])
	}
	for l := range cfg.Layers {
		for head := range cfg.KVHeads {
			h.Ranked = append(h.Ranked, [2]int{l, head})
		}
	}
	slices.SortStableFunc(h.Ranked, func(a, b [2]int) int { return cmp.Compare(score(b), score(a)) })
	return h, nil
}
