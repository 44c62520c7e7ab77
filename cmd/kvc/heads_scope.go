package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kvcompress/heads"
	"kvcompress/internal/words"
)

// headsScopeFlags are the flags of kvc heads scope.
type headsScopeFlags struct {
	epsilon   float64
	published bool
	tokens    []int
	asJSON    bool
}

func newHeadsScopeCmd() *cobra.Command {
	var f headsScopeFlags
	cmd := &cobra.Command{
		Use:   "scope MODEL",
		Short: "How far back each head of an ALiBi model can attend",
		Long: `Scope computes from a model's weights how many tokens back each head can attend with a
weight of epsilon or more: RazorAttention's rule for models with linear position
biases (ALiBi). KVs that are further back can be dropped without loss.

MODEL is a Hugging Face folder of a BLOOM model, with safetensors. docs/heads.md has the
formulas: the paper's, which does not hold for every model, and a proven one.`,
		Example: `  kvc heads scope ./bloom-560m
  kvc heads scope ./bloom-560m --epsilon 1e-3 --published
  kvc heads scope ./bloom-560m --json | jq '.heads[] | select(.scope < 2048)'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.Float64Var(&f.epsilon, "epsilon", 1e-5, "attention `weight` that may be neglected, in (0, 1)")
	fs.BoolVar(&f.published, "published", false, "use the paper's bound of the scores")
	fs.IntSliceVar(&f.tokens, "tokens", []int{2048, 8192, 32768, 131072}, "lengths of sequences for which the KVs in scope are counted")
	fs.BoolVar(&f.asJSON, "json", false, "print the scopes as JSON, head by head")
	return cmd
}

// headScopesJSON is what kvc heads scope --json prints.
type headScopesJSON struct {
	Source  string          `json:"source"`
	Layers  int             `json:"layers"`
	Heads   int             `json:"heads_per_layer"`
	Epsilon float64         `json:"epsilon"`
	Bound   string          `json:"bound"` // proven or published
	Held    []heldJSON      `json:"held"`
	Scopes  []headScopeJSON `json:"heads"`
}

// heldJSON is the fraction of a sequence's KVs that is in scope.
type heldJSON struct {
	Tokens int     `json:"tokens"`
	Part   float64 `json:"part"`
}

type headScopeJSON struct {
	Layer int     `json:"layer"`
	Head  int     `json:"head"`
	Slope float64 `json:"slope"`
	Bound float64 `json:"bound"` // of |q·k|/√D
	Scope float64 `json:"scope"` // tokens back
}

func (f *headsScopeFlags) run(cmd *cobra.Command, dir string) error {
	if !(f.epsilon > 0 && f.epsilon < 1) {
		return usagef("--epsilon %v: want more than 0 and less than 1", f.epsilon)
	}
	for _, n := range f.tokens {
		if n < 1 {
			return usagef("--tokens %d: want at least 1", n)
		}
	}
	model, err := heads.OpenBloom(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usagef("%s: %w", dir, err)
	case err != nil:
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer model.Close()
	result, err := f.scopes(cmd, model)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	result.Source = filepath.Base(filepath.Clean(dir))
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), result)
	}
	return result.text(cmd.OutOrStdout())
}

// scopes computes the scopes of all heads.
func (f *headsScopeFlags) scopes(cmd *cobra.Command, model *heads.Bloom) (*headScopesJSON, error) {
	r := &headScopesJSON{Layers: model.Layers, Heads: model.Heads, Epsilon: f.epsilon, Bound: "proven", Held: []heldJSON{}}
	bound := heads.ProvenBound
	if f.published {
		r.Bound, bound = "published", heads.PublishedBound
	}
	slopes := heads.Slopes(model.Heads)
	for layer := range model.Layers {
		for head, slope := range slopes {
			if err := cmd.Context().Err(); err != nil {
				return nil, err
			}
			q, k, n, err := model.Head(layer, head)
			if err != nil {
				return nil, err
			}
			b := bound(q, k, n)
			r.Scopes = append(r.Scopes, headScopeJSON{layer, head, slope, b, heads.Scope(b, slope, f.epsilon)})
		}
	}
	for _, tokens := range f.tokens {
		held := 0.0
		for _, s := range r.Scopes {
			held += float64(heads.Held(s.Scope, tokens)) / float64(tokens)
		}
		r.Held = append(r.Held, heldJSON{tokens, held / float64(len(r.Scopes))})
	}
	return r, nil
}

// text prints the scopes, a line for each layer.
func (r *headScopesJSON) text(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d layers × %d heads, weights below %g neglected, %s bound\n\n", printableLine(r.Source), r.Layers, r.Heads, r.Epsilon, r.Bound)
	fmt.Fprintln(&b, "Scope: how many tokens back a layer's heads can attend")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "layer\tleast\tmedian\tmost\t")
	var all []float64
	for _, s := range r.Scopes {
		all = append(all, s.Scope)
	}
	decimals := words.Decimals(all, 3)
	for layer := range r.Layers {
		var scopes []float64
		for _, s := range r.Scopes[layer*r.Heads:][:r.Heads] {
			scopes = append(scopes, s.Scope)
		}
		slices.Sort(scopes)
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t\n", layer, words.Decimal(scopes[0], decimals), words.Decimal(scopes[len(scopes)/2], decimals), words.Decimal(scopes[len(scopes)-1], decimals))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(&b, "\nKVs in scope of the newest token, of all heads")
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "tokens\tin scope\t")
	for _, h := range r.Held {
		fmt.Fprintf(w, "%d\t%.1f %%\t\n", h.Tokens, 100*h.Part)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, b.String())
	return err
}
