package report

import (
	"bufio"
	"fmt"
	"io"

	"kvcompress/internal/words"
)

// Generation is a text that was generated through a cache, and the memory of the cache.
type Generation struct {
	Said                     string
	Method                   string // "" is none
	Prompt, Question, Output int    // tokens
	Compressions, Evicted    int
	Mean, MeanDense          float64 // bytes of blocks, mean over the steps; dense: of a cache that holds every token
	Peak                     int64
	Steps                    []GenerationStep
}

// GenerationStep is what the cache held after a token was computed.
type GenerationStep struct {
	Tokens, KVs, Blocks int
	Bytes, DenseBytes   int64
}

// Text writes the generated text, a table of the cache at each step and a summary.
func (g *Generation) Text(w io.Writer, opt TextOptions) error {
	if opt.Width <= 0 {
		opt.Width = defaultWidth
	}
	opt.Width = max(opt.Width, minWidth)
	if opt.Steps == 0 {
		opt.Steps = defaultSteps
	}
	p := &printer{w: bufio.NewWriter(w), opt: opt, gap: 2}
	p.printf("%s\n", g.Said)
	p.section("Memory ledger", ": the cache after each token; dense is what it would hold uncompressed")
	n := opt.Steps
	if n < 0 {
		n = len(g.Steps)
	}
	var rows [][]string
	chosen := pick(len(g.Steps), n)
	for _, i := range chosen {
		s := &g.Steps[i]
		rows = append(rows, []string{words.Number(s.Tokens), words.Number(s.KVs), words.Number(s.Blocks), shortSize(s.Bytes), shortSize(s.DenseBytes), percent(float64(s.Bytes) / float64(s.DenseBytes))})
	}
	p.table([]column{{"tokens", right}, {"KVs", right}, {"blocks", right}, {"bytes", right}, {"dense", right}, {"part", right}}, rows)
	if more := len(g.Steps) - len(chosen); more > 0 {
		p.printf("… %s more (--steps all shows them)\n", words.Count(more, "step"))
	}
	p.section("Summary", "")
	asked := ""
	if g.Question > 0 {
		asked = fmt.Sprintf(", %s of question", words.Count(g.Question, "token"))
	}
	p.sentences(fmt.Sprintf("%s of prompt%s, %s of output.", words.Count(g.Prompt, "token"), asked, words.Count(g.Output, "token")))
	if g.Method == "" {
		p.sentences("Nothing was compressed: no method has a budget. Try --max-cache-tokens 64.")
	} else {
		p.sentences(fmt.Sprintf("%s: %s, in which %s were evicted.", g.Method, words.Count(g.Compressions, "compression"), words.Count(g.Evicted, "KV")))
	}
	p.sentences(fmt.Sprintf("The blocks held took %s on average over the steps, %s at most: %s of the %s of a cache that holds every token.",
		size(int64(g.Mean)), size(g.Peak), percent(g.Mean/g.MeanDense), size(int64(g.MeanDense))))
	return p.end()
}
