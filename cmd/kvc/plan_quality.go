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

// qualityFlags ask candidates to keep a part of the full cache's quality.
type qualityFlags struct {
	file, mode string
	least      float64

	table          qualityTable // nil where none is asked for
	prompt, output int          // tokens of the mean request
	known          map[sweep.Compression]*plan.Quality
}

// qualityTable says which part of the full cache's score a model keeps: a bench's, or a
// published one.
type qualityTable interface {
	Of() string // whose quality it is
	At(method string, part float64) (kept float64, err error)
	Methods() []bench.MethodBudgets
}

// ofLongctxBench is what --quality begins with for the published table of longctx_bench; the
// name of one of its models follows.
const ofLongctxBench = "longctx_bench:"

func (q *qualityFlags) add(fs *pflag.FlagSet) {
	fs.Float64Var(&q.least, "min-quality", 0, "`part` of the full cache's score, in (0, 1], that a candidate has to keep; needs --quality")
	fs.StringVar(&q.file, "quality", "", "`file` that kvc bench --json has printed, or longctx_bench:MODEL for the published table of a model: whose scores --min-quality goes by")
	fs.StringVar(&q.mode, "quality-mode", "", "query-aware or query-agnostic (default: the one in which a candidate keeps less)")
}

// ofBench stands in --compression for every method of the bench at each of its budgets.
const ofBench = "bench"

// candidates returns compressions with the bench's own in the place of the word bench.
func (q *qualityFlags) candidates(compressions []string) ([]string, error) {
	if !slices.Contains(compressions, ofBench) {
		return compressions, nil
	}
	if q.table == nil {
		return nil, usagef("--compression %s: every method of a bench at its budgets: want --quality, a file that kvc bench --json has printed", ofBench)
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
				if b > 1 {
					all = append(all, fmt.Sprintf("%s:rate:%g", m.Method, b.Part()))
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
	case !(q.least > 0 && q.least <= 1):
		return usagef("--min-quality %v: want a part of the full cache's score, in (0, 1]", q.least)
	case q.file == "":
		return usagef("--min-quality needs --quality, a file that kvc bench --json has printed, or longctx_bench:MODEL: whose quality it is to be")
	}
	if model, ok := strings.CutPrefix(q.file, ofLongctxBench); ok {
		if q.mode != "" && q.mode != string(bench.Aware) {
			return usagef("--quality-mode %s: the published table of longctx_bench has the question in the prompt: it is query-aware", q.mode)
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

// count has what candidates hold counted for the mean of the requests.
func (q *qualityFlags) count(requests []trace.Request) {
	for i := range requests {
		q.prompt += requests[i].PromptTokens
		q.output += requests[i].OutputTokens
	}
	n := max(1, len(requests))
	q.prompt, q.output = max(1, (q.prompt+n/2)/n), max(1, (q.output+n/2)/n)
	q.known = map[sweep.Compression]*plan.Quality{}
}

// of returns what is known of a candidate's quality; nil where none is asked for.
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
