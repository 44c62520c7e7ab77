package trace

import (
	"context"
	"io/fs"
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/trace/regular"
)

// Info is what a trace is about, in numbers.
type Info struct {
	Name   string   `json:"name"`
	Model  string   `json:"model"`
	Shape  kv.Shape `json:"shape,omitzero"` // zero, as what follows from it, of a trace of requests only
	DType  string   `json:"dtype,omitempty"`
	Rope   *Rope    `json:"rope,omitempty"`
	Source Source   `json:"source"`
	// Heads counts the KV heads of each kind, over all layers, of a synthetic trace.
	Heads []HeadCount `json:"heads,omitempty"`

	Requests    int `json:"requests"`
	WithTensors int `json:"with_tensors"` // requests, recorded or synthetic
	Sessions    int `json:"sessions"`     // different ones that are named
	// WithPrefixes counts the requests that have prefix hashes, each for
	// PrefixBlockTokens of the prompt, or 0 if that is not known.
	WithPrefixes      int `json:"with_prefixes"`
	PrefixBlockTokens int `json:"prefix_block_tokens,omitzero"`
	WithCompression   int `json:"with_compression,omitzero"` // requests with options of compression of their own

	Prompt Distribution `json:"prompt_tokens"`
	Output Distribution `json:"output_tokens"`
	// Tokens is the sum of prompt and output tokens over all requests.
	Tokens int64 `json:"tokens"`

	Arrivals ArrivalInfo `json:"arrivals"`

	Files     int   `json:"files"`
	DiskBytes int64 `json:"disk_bytes"`
	// What an uncompressed cache of the trace's dtype takes.
	KVBytesPerToken       int64 `json:"kv_bytes_per_token,omitzero"`
	KVBytes               int64 `json:"kv_bytes,omitzero"`                 // of all requests together
	KVBytesLargestRequest int64 `json:"kv_bytes_largest_request,omitzero"` // of the one with most tokens
}

// HeadCount is how many KV heads are of one kind.
type HeadCount struct {
	Kind  Head  `json:"kind"`
	Heads int64 `json:"heads"`
}

// ArrivalInfo describes when the requests come.
type ArrivalInfo struct {
	FirstNS int64 `json:"first_ns"`
	LastNS  int64 `json:"last_ns"`
	// Rate is (requests - 1) / (last - first), and 0 if all come at once.
	Rate float64 `json:"per_second"`
	// Gaps are the times between one arrival and the next, in nanoseconds.
	Gaps Distribution `json:"gaps_ns"`
	// GapCV is the gaps' standard deviation over their mean: 0 for a regular beat, 1
	// for independent arrivals, more for bursts.
	GapCV float64 `json:"gap_cv"`
}

// Distribution summarizes a sample. A percentile is the smallest value that at
// least that share of the sample does not exceed. Of an empty sample all are 0.
type Distribution struct {
	Min  int64   `json:"min"`
	P50  int64   `json:"p50"`
	Mean float64 `json:"mean"`
	P90  int64   `json:"p90"`
	P99  int64   `json:"p99"`
	Max  int64   `json:"max"`
}

// Info computes the trace's statistics. It reads no tensors. When ctx is done it ends with
// its error.
func (t *Trace) Info(ctx context.Context) (Info, error) {
	m := t.Meta
	info := Info{
		Name: m.Name, Model: m.Model, Shape: m.Shape, Rope: m.Rope, Source: m.Source,
		Requests:        len(t.requests),
		KVBytesPerToken: int64(m.Shape.Layers) * 2 * int64(K.row(m.Shape)) * int64(m.DType.Size()),
	}
	if !m.RequestsOnly() {
		info.DType = m.DType.String()
	}
	if m.Synth != nil {
		info.Heads = countHeads(m.Synth, m.Shape)
	}
	files := make(map[string]bool)
	if t.fsys != nil {
		entries, err := fs.ReadDir(t.fsys, ".")
		if err != nil {
			return Info{}, &Error{File: t.name, Err: regular.Short(err)}
		}
		for _, e := range entries {
			stat, err := fs.Stat(t.fsys, e.Name())
			if err != nil || !stat.Mode().IsRegular() {
				continue // a folder, or a link to nowhere
			}
			files[e.Name()] = true
			info.DiskBytes += stat.Size()
		}
		info.Files = len(files)
	}
	var prompt, output, gaps []int64
	sessions := make(map[string]bool)
	for i, r := range t.requests {
		if m.Synth != nil || files[r.ID+tensorsSuffix] {
			info.WithTensors++
		}
		if len(r.PrefixHashes) > 0 {
			info.WithPrefixes++
			info.PrefixBlockTokens = m.PrefixBlockTokens
		}
		if r.Compression != nil {
			info.WithCompression++
		}
		if r.Session != "" {
			sessions[r.Session] = true
		}
		prompt = append(prompt, int64(r.PromptTokens))
		output = append(output, int64(r.OutputTokens))
		info.Tokens += int64(r.PromptTokens) + int64(r.OutputTokens)
		kv := int64(r.CachedTokens()) * info.KVBytesPerToken
		info.KVBytes += min(kv, math.MaxInt64-info.KVBytes)
		info.KVBytesLargestRequest = max(info.KVBytesLargestRequest, kv)
		if i > 0 {
			gaps = append(gaps, r.ArrivalNS-t.requests[i-1].ArrivalNS)
		}
	}
	info.Sessions = len(sessions)
	for _, d := range []struct {
		of     *Distribution
		sample []int64
	}{{&info.Prompt, prompt}, {&info.Output, output}, {&info.Arrivals.Gaps, gaps}} {
		if err := ctx.Err(); err != nil {
			return Info{}, err
		}
		*d.of = distribution(d.sample)
	}
	info.Arrivals = arrivalInfo(t.requests, gaps, info.Arrivals.Gaps)
	return info, nil
}

func arrivalInfo(requests []Request, gaps []int64, summary Distribution) ArrivalInfo {
	a := ArrivalInfo{
		FirstNS: requests[0].ArrivalNS,
		LastNS:  requests[len(requests)-1].ArrivalNS,
		Gaps:    summary,
	}
	if span := a.LastNS - a.FirstNS; span > 0 {
		a.Rate = float64(len(gaps)) / (float64(span) / 1e9)
	}
	if mean := a.Gaps.Mean; mean > 0 {
		sum := 0.0
		for _, g := range gaps {
			sum += float64((float64(g) - mean) * (float64(g) - mean))
		}
		a.GapCV = math.Sqrt(sum/float64(len(gaps))) / mean
	}
	return a
}

// distribution sorts the sample.
func distribution(sample []int64) Distribution {
	if len(sample) == 0 {
		return Distribution{}
	}
	slices.Sort(sample)
	sum := 0.0
	for _, x := range sample {
		sum += float64(x)
	}
	at := func(percent int) int64 { return sample[(len(sample)*percent+99)/100-1] }
	return Distribution{
		Min:  sample[0],
		P50:  at(50),
		Mean: sum / float64(len(sample)),
		P90:  at(90),
		P99:  at(99),
		Max:  sample[len(sample)-1],
	}
}

// countHeads counts the kinds in the order in which they first occur.
func countHeads(r *Recipe, s kv.Shape) []HeadCount {
	var counts []HeadCount
	index := make(map[Head]int)
	for l := range s.Layers {
		for h := range s.KVHeads {
			kind := r.Head(l, h)
			i, ok := index[kind]
			if !ok {
				i = len(counts)
				index[kind] = i
				counts = append(counts, HeadCount{Kind: kind})
			}
			counts[i].Heads++
		}
	}
	return counts
}
