package main

import (
	"fmt"
	"slices"

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

	table          *bench.Quality // nil where none is asked for
	prompt, output int            // tokens of the mean request
	known          map[sweep.Compression]*plan.Quality
}

func (q *qualityFlags) add(fs *pflag.FlagSet) {
	fs.Float64Var(&q.least, "min-quality", 0, "`part` of the full cache's score, in (0, 1], that a candidate has to keep; needs --quality")
	fs.StringVar(&q.file, "quality", "", "`file` that kvc bench --json has printed: whose scores --min-quality goes by")
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
		return usagef("--min-quality needs --quality, a file that kvc bench --json has printed: whose quality it is to be")
	}
	f, err := regular.OpenFile(q.file)
	if err != nil {
		return usagef("--quality %s: %w", q.file, err)
	}
	defer f.Close()
	if q.table, err = bench.ReadQuality(f, bench.Mode(q.mode)); err != nil {
		return usagef("--quality %s: %w", q.file, err)
	}
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
