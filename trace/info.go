package trace

import (
	"context"
	"errors"
	"hash/maphash"
	"io/fs"
	"iter"
	"math"

	"kvcompress/kv"
	"kvcompress/trace/regular"
)

// Info is a trace's statistics.
type Info struct {
	Name   string   `json:"name"`
	Model  string   `json:"model"`
	Shape  kv.Shape `json:"shape,omitzero"` // zero in a trace of requests only, like everything computed from it
	DType  string   `json:"dtype,omitempty"`
	Rope   *Rope    `json:"rope,omitempty"`
	Source Source   `json:"source"`
	// Heads counts the KV heads of each kind over all layers of a synthetic trace.
	Heads []HeadCount `json:"heads,omitempty"`

	Requests    int `json:"requests"`
	WithTensors int `json:"with_tensors"` // requests, recorded or synthetic
	Sessions    int `json:"sessions"`     // distinct sessions
	// WithPrefixes counts the requests that have prefix hashes. Each hash is for PrefixBlockTokens tokens of
	// the prompt, 0 if unknown.
	WithPrefixes      int `json:"with_prefixes"`
	PrefixBlockTokens int `json:"prefix_block_tokens,omitzero"`
	WithCompression   int `json:"with_compression,omitzero"` // requests with their own compression options

	Prompt Distribution `json:"prompt_tokens"`
	Output Distribution `json:"output_tokens"`
	// Tokens is the sum of prompt and output tokens over all requests.
	Tokens int64 `json:"tokens"`

	Arrivals ArrivalInfo `json:"arrivals"`

	Files     int   `json:"files"`
	DiskBytes int64 `json:"disk_bytes"`
	// Sizes in an uncompressed cache of the trace's dtype.
	KVBytesPerToken       int64 `json:"kv_bytes_per_token,omitzero"`
	KVBytes               int64 `json:"kv_bytes,omitzero"`                 // of all requests together
	KVBytesLargestRequest int64 `json:"kv_bytes_largest_request,omitzero"` // of the request with the most tokens
}

// HeadCount is the number of KV heads of one kind.
type HeadCount struct {
	Kind  Head  `json:"kind"`
	Heads int64 `json:"heads"`
}

// ArrivalInfo is when the requests arrive.
type ArrivalInfo struct {
	FirstNS int64 `json:"first_ns"`
	LastNS  int64 `json:"last_ns"`
	// Rate is (requests - 1) / (last - first). If all arrive at once, it and the following fields are 0, and
	// are left out of JSON.
	Rate float64 `json:"per_second,omitempty"`
	// Gaps are the times between one arrival and the next, in nanoseconds.
	Gaps Distribution `json:"gaps_ns,omitzero"`
	// GapCV is the gaps' standard deviation over their mean: 0 for equal gaps, 1 for independent arrivals,
	// more for bursts.
	GapCV float64 `json:"gap_cv,omitempty"`
}

// Distribution summarizes a sample. The percentile p is the smallest value that at least p % of the sample do
// not exceed. In an empty sample all fields are 0.
type Distribution struct {
	Min  int64   `json:"min"`
	P50  int64   `json:"p50"`
	Mean float64 `json:"mean"`
	P90  int64   `json:"p90"`
	P99  int64   `json:"p99"`
	Max  int64   `json:"max"`
}

// Info computes the trace's statistics without reading tensors. When ctx is done it returns its error.
func (t *Trace) Info(ctx context.Context) (Info, error) {
	return newInfo(ctx, t.Meta, t.fsys, t.name, t.all())
}

// all yields the requests.
func (t *Trace) all() iter.Seq2[Request, error] {
	return func(yield func(Request, error) bool) {
		for _, r := range t.requests {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// StreamInfo computes the statistics of the trace at the root of fsys, and its rate over time. windows
// returns the number of windows for a number of requests; the rate is nil if that is 0 or all requests arrive
// at once. It finds the errors that OpenContext finds, but does not hold requests in memory; long lists are
// sorted on disk. progress, unless nil, is called with the number of requests read; they are read a second
// time for the rate, and the count then begins again.
func StreamInfo(ctx context.Context, fsys fs.FS, name string, windows func(requests int) int, progress func(requests int)) (Info, *RateOverTime, error) {
	meta, requests, err := Stream(fsys, name)
	if err != nil {
		return Info{}, nil, err
	}
	checked := func(yield func(Request, error) bool) {
		t := &Trace{Meta: meta, fsys: fsys, name: name}
		for r, err := range counted(requests, progress) {
			if err == nil {
				err = t.checkRecorded(r)
			}
			if !yield(r, err) {
				return
			}
		}
	}
	info, err := newInfo(ctx, meta, fsys, name, checked)
	if err != nil {
		return Info{}, nil, err
	}
	n := windows(info.Requests)
	if n == 0 {
		return info, nil, nil
	}
	rate, err := newRate(ctx, counted(requests, progress), info.Requests, info.Arrivals.FirstNS, info.Arrivals.LastNS, n)
	return info, rate, err
}

// counted yields requests, and now and then tells progress how many.
func counted(requests iter.Seq2[Request, error], progress func(int)) iter.Seq2[Request, error] {
	if progress == nil {
		return requests
	}
	return func(yield func(Request, error) bool) {
		n := 0
		for r, err := range requests {
			if !yield(r, err) {
				return
			}
			if n++; n%4096 == 0 {
				progress(n)
			}
		}
	}
}

func newInfo(ctx context.Context, m Meta, fsys fs.FS, name string, requests iter.Seq2[Request, error]) (Info, error) {
	info := Info{
		Name: m.Name, Model: m.Model, Shape: m.Shape, Rope: m.Rope, Source: m.Source,
		KVBytesPerToken: int64(m.Shape.Layers) * 2 * int64(K.row(m.Shape)) * int64(m.DType.Size()),
	}
	if !m.RequestsOnly() {
		info.DType = m.DType.String()
	}
	if m.Synth != nil {
		info.Heads = countHeads(m.Synth, m.Shape)
	}
	files := make(map[string]bool)
	if fsys != nil {
		entries, err := fs.ReadDir(fsys, ".")
		if err != nil {
			return Info{}, &Error{File: name, Err: regular.Short(err)}
		}
		for _, e := range entries {
			stat, err := fs.Stat(fsys, e.Name())
			if err != nil || !stat.Mode().IsRegular() {
				continue // a folder, or a link to nowhere
			}
			files[e.Name()] = true
			info.DiskBytes += stat.Size()
		}
		info.Files = len(files)
	}
	prompt, output, gaps, sessions := newSample(), newSample(), newSample(), newSample()
	samples := []sample{prompt, output, gaps, sessions}
	defer func() {
		for _, s := range samples {
			_ = s.Close() // errors do not matter: the file was only read
		}
	}()
	seed := maphash.MakeSeed()
	a := &info.Arrivals
	for r, err := range requests {
		if err == nil && info.Requests%1024 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return Info{}, err
		}
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
		err = errors.Join(prompt.Add(int64(r.PromptTokens)), output.Add(int64(r.OutputTokens)))
		if r.Session != "" {
			// Ten million sessions contain two with equal hashes in one of 300,000 runs.
			err = errors.Join(err, sessions.Add(int64(maphash.String(seed, r.Session))))
		}
		info.Tokens += int64(r.PromptTokens) + int64(r.OutputTokens)
		kv := int64(r.CachedTokens()) * info.KVBytesPerToken
		info.KVBytes += min(kv, math.MaxInt64-info.KVBytes)
		info.KVBytesLargestRequest = max(info.KVBytesLargestRequest, kv)
		if info.Requests == 0 {
			a.FirstNS = r.ArrivalNS
		} else {
			err = errors.Join(err, gaps.Add(r.ArrivalNS-a.LastNS))
		}
		if err != nil {
			return Info{}, err
		}
		a.LastNS = r.ArrivalNS
		info.Requests++
	}
	var err error
	if info.Sessions, err = sessions.different(ctx); err != nil {
		return Info{}, err
	}
	for _, d := range []struct {
		of     *Distribution
		sample sample
	}{{&info.Prompt, prompt}, {&info.Output, output}, {&a.Gaps, gaps}} {
		if *d.of, err = d.sample.distribution(ctx); err != nil {
			return Info{}, err
		}
	}
	if span := a.LastNS - a.FirstNS; span > 0 {
		a.Rate = float64(gaps.Len()) / (float64(span) / 1e9)
	}
	if mean := a.Gaps.Mean; mean > 0 {
		if a.GapCV, err = gaps.cv(ctx, mean); err != nil {
			return Info{}, err
		}
	}
	return info, nil
}

// countHeads counts the kinds, in the order in which they first occur.
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
