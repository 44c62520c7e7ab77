package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"kvcompress/bench"
	"kvcompress/dtype"
	"kvcompress/ref"
	"kvcompress/sim/catalog"
	"kvcompress/sim/plan"
	"kvcompress/sim/sweep"
	"kvcompress/trace"
	"kvcompress/trace/regular"
)

// qualityFlags are the flags by which candidates must keep a fraction of the full cache's score.
type qualityFlags struct {
	file, mode string
	least      float64

	table          qualityTable // nil without --quality
	prompt, output int          // tokens of the mean request
	known          map[sweep.Compression]*plan.Quality
}

// qualityTable is a source of quality: the results of a bench or a published table. See
// [bench.Quality].
type qualityTable interface {
	Of() string // names the models and tasks
	At(method string, part float64) (kept float64, err error)
	Methods() []bench.MethodBudgets
}

// ofLongctxBench is the prefix of --quality for the published table of longctx_bench; the name of
// one of its models follows.
const ofLongctxBench = "longctx_bench:"

func (q *qualityFlags) add(fs *pflag.FlagSet) {
	fs.Float64Var(&q.least, "min-quality", 0, "`fraction` of the full cache's score, in (0, 1], that a candidate must keep; needs --quality")
	fs.StringVar(&q.file, "quality", "", "`file` with the output of kvc bench --json, or longctx_bench:MODEL for the published scores of a model")
	fs.StringVar(&q.mode, "quality-mode", "", "mode of the scores: query-aware or query-agnostic (default: for each candidate the mode in which it keeps less)")
	needs(fs, "quality-mode", "quality")
}

// ofBench is the value of --compression that stands for every method of the bench at each of its
// budgets.
const ofBench = "bench"

// needsRequests reports whether candidates needs the mean request: if some method of the bench has no
// rate, and its candidates are numbers of tokens.
func (q *qualityFlags) needsRequests(compressions []string) bool {
	return slices.Contains(compressions, ofBench) && q.table != nil &&
		slices.ContainsFunc(q.table.Methods(), func(m bench.MethodBudgets) bool { return m.ByBudget && !hasRate(m.Method) })
}

// hasRate reports whether a method takes a rate.
func hasRate(method string) bool {
	e, err := ref.FindMethod(method)
	return err == nil && e.Rate != "none"
}

// candidates returns compressions with those of the bench in place of the word bench. A method without a
// rate has part of the mean request's prompt as its tokens.
func (q *qualityFlags) candidates(compressions []string) ([]string, error) {
	if !slices.Contains(compressions, ofBench) {
		return compressions, nil
	}
	if q.table == nil {
		return nil, usagef("--compression %s needs --quality, the output of kvc bench --json", ofBench)
	}
	var all []string
	for _, text := range compressions {
		if text != ofBench {
			all = append(all, text)
			continue
		}
		for _, m := range q.table.Methods() {
			if !m.ByBudget {
				all = append(all, m.Method)
				continue
			}
			for _, b := range m.Budgets {
				switch {
				case b == 1:
				case hasRate(m.Method):
					all = append(all, fmt.Sprintf("%s:rate:%g", m.Method, b.Part()))
				default:
					all = append(all, fmt.Sprintf("%s:tokens:%d", m.Method, max(1, q.prompt/int(b))))
				}
			}
		}
	}
	return all, nil
}

// read reads the file.
func (q *qualityFlags) read() error {
	switch {
	case q.least == 0 && q.file == "":
		return nil
	case q.least == 0:
		return usagef("--quality needs --min-quality, the fraction of the full cache's score to keep, in (0, 1]")
	case !(q.least > 0 && q.least <= 1):
		return usagef("--min-quality %v: want a fraction of the full cache's score, in (0, 1]", q.least)
	case q.file == "":
		return usagef("--min-quality needs --quality, the output of kvc bench --json, or longctx_bench:MODEL")
	}
	if model, ok := strings.CutPrefix(q.file, ofLongctxBench); ok {
		if q.mode != "" && q.mode != string(bench.Aware) {
			return usagef("--quality-mode %s: in longctx_bench's published table the question is in the prompt, so the mode is query-aware", q.mode)
		}
		published, err := bench.PublishedQuality(model)
		if err != nil {
			return usagef("--quality %s: %w", q.file, err)
		}
		q.table = published
		return nil
	}
	f, err := regular.OpenFile(q.file)
	if err != nil {
		return usagef("--quality %s: %w", q.file, err)
	}
	defer f.Close()
	measured, err := bench.ReadQuality(f, bench.Mode(q.mode))
	if err != nil {
		return usagef("--quality %s: %w", q.file, err)
	}
	q.table = measured
	return nil
}

// count sets the mean request, for which the bytes that a candidate holds are counted.
func (q *qualityFlags) count(requests []trace.Request) {
	for i := range requests {
		q.prompt += requests[i].PromptTokens
		q.output += requests[i].OutputTokens
	}
	n := max(1, len(requests))
	q.prompt, q.output = max(1, (q.prompt+n/2)/n), max(1, (q.output+n/2)/n)
	q.known = map[sweep.Compression]*plan.Quality{}
}

// of returns the quality of a candidate; nil without --quality.
func (q *qualityFlags) of(j *sweep.Projector, p *sweep.Point) *plan.Quality {
	if q.table == nil {
		return nil
	}
	known, ok := q.known[p.Compression]
	if !ok {
		known = q.find(j, p)
		q.known[p.Compression] = known
	}
	return known
}

func (q *qualityFlags) find(j *sweep.Projector, p *sweep.Point) *plan.Quality {
	known := &plan.Quality{Kept: 1, Least: q.least, Bytes: 1, Of: q.table.Of()}
	if !p.Compression.Enabled() {
		return known
	}
	cfg := j.Method(p.Compression)
	model, err := catalog.FindModel(p.Model)
	if err == nil {
		var format dtype.DType
		err = format.UnmarshalText([]byte(j.KV))
		cfg.Shape, cfg.BlockSize, cfg.DType = model.Shape, j.BlockSize, format
	}
	if err == nil {
		known.Bytes, err = bench.HeldPart(cfg, q.prompt, q.output)
	}
	method := cfg.Method
	if method == "" {
		method = ref.KVCompress
	}
	if err == nil {
		known.Kept, err = q.table.At(method, known.Bytes)
	}
	if err != nil {
		known.Kept, known.Why = 0, err.Error()
	}
	return known
}
