package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"

	"kvcompress/trace/regular"
)

// The files of a trace.
const (
	metaFile      = "trace.json"
	requestsFile  = "requests.jsonl"
	tensorsSuffix = ".safetensors"
)

// Trace is a trace. Its requests are in memory; its tensors are read or synthesized when they are needed. It
// keeps no files open.
type Trace struct {
	Meta     Meta
	fsys     fs.FS  // nil for a trace made by New
	name     string // what errors put before file names
	requests []Request
}

// Open reads trace.json and requests.jsonl in the directory dir, but no tensors; it checks that a recorded
// trace has its tensor files. It returns the first error, as an *Error if the error is in the trace.
func Open(dir string) (*Trace, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("trace: %s is not a directory", dir)
	}
	return OpenContext(context.Background(), os.DirFS(dir), dir)
}

// OpenFS is Open for a trace at the root of fsys, such as an embedded one. The files of fsys should implement
// io.ReaderAt, as those of os.DirFS and embed.FS do; otherwise tensor files of up to 64 MiB are read as a
// whole, and larger ones are errors.
func OpenFS(fsys fs.FS) (*Trace, error) {
	return OpenContext(context.Background(), fsys, "")
}

// New returns a trace in memory: the given requests and, if meta has a recipe, their synthetic tensors. It
// returns the same errors as Open.
func New(meta Meta, requests []Request) (*Trace, error) {
	if err := meta.Check(); err != nil {
		return nil, &Error{File: metaFile, Err: err}
	}
	if meta.Source.Kind == Recorded {
		return nil, errors.New("trace: a recorded trace needs files for its tensors")
	}
	c := collector{block: meta.PrefixBlockTokens}
	for _, r := range requests {
		if err := first(r.problems()); err != nil {
			return nil, &Error{Request: r.ID, Err: err}
		}
		if err := c.check(r); err != nil {
			return nil, &Error{Request: r.ID, Err: err}
		}
		c.add(r)
	}
	if len(requests) == 0 {
		return nil, &Error{Err: errNoRequests}
	}
	return &Trace{Meta: meta, requests: slices.Clone(requests)}, nil
}

// OpenContext is OpenFS, but returns ctx's error when ctx is done. name is what errors put before file names.
func OpenContext(ctx context.Context, fsys fs.FS, name string) (*Trace, error) {
	t := &Trace{fsys: fsys, name: name}
	meta, requests, err := Stream(fsys, name)
	if err != nil {
		return nil, err
	}
	t.Meta = meta
	for r, err := range requests {
		if err == nil && len(t.requests)%1024 == 1023 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		t.requests = append(t.requests, r)
	}
	if meta.Source.Kind == Recorded {
		for _, r := range t.requests {
			if err := cmp.Or(ctx.Err(), t.checkRecorded(r)); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// Stream reads the trace at the root of fsys without holding its requests in memory: it reads trace.json at
// once, and the requests whenever the result is ranged over. It finds the same errors as Open, except missing
// tensor files, and ends with the first one. To find duplicates, it keeps the ids that are not numbers, and
// one bit for each number that is out of order. name is what errors put before file names.
func Stream(fsys fs.FS, name string) (Meta, iter.Seq2[Request, error], error) {
	meta := readMeta(fsys)
	if err := first(meta.errs); err != nil {
		return Meta{}, nil, &Error{File: path.Join(name, metaFile), Err: err}
	}
	file := path.Join(name, requestsFile)
	return meta.Meta, func(yield func(Request, error) bool) {
		f, err := regular.Open(fsys, requestsFile)
		if err != nil {
			yield(Request{}, &Error{File: file, Err: err})
			return
		}
		defer f.Close()
		c := collector{block: meta.PrefixBlockTokens, lineOf: func(id string) int { return lineOf(fsys, id) }}
		any := false
		for l := range scanLines(f) {
			any = true
			err := first(l.errs)
			if err == nil {
				err = c.check(l.req)
			}
			if err != nil {
				yield(Request{}, &Error{File: file, Line: l.number, Request: l.req.ID, Err: err})
				return
			}
			c.add(l.req)
			if !yield(l.req, nil) {
				return
			}
		}
		if !any {
			yield(Request{}, &Error{File: file, Err: errNoRequests})
		}
	}, nil
}

// lineOf returns the first line with the request id, or 0 if the file has changed and there is none.
func lineOf(fsys fs.FS, id string) int {
	f, err := regular.Open(fsys, requestsFile)
	if err != nil {
		return 0
	}
	defer f.Close()
	for l := range scanLines(f) {
		if l.req.ID == id {
			return l.number
		}
	}
	return 0
}

// checkRecorded checks that a request of a recorded trace has its file.
func (t *Trace) checkRecorded(r Request) error {
	if t.Meta.Source.Kind != Recorded {
		return nil
	}
	info, err := fs.Stat(t.fsys, r.ID+tensorsSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errMissing
	case err != nil:
		err = regular.Short(err)
	case !info.Mode().IsRegular():
		err = regular.ErrNotRegular
	default:
		return nil
	}
	return t.located(r, err)
}

// Requests returns the requests in order of arrival. The caller must not change them.
func (t *Trace) Requests() []Request { return t.requests }

// path returns the name of a trace's file for errors.
func (t *Trace) path(file string) string {
	return path.Join(t.name, file)
}

var (
	errNoRequests = errors.New("there are no requests")
	errMissing    = errors.New("there is no such file, but every request of a recorded trace must have its tensors")
)

// collector finds errors that concern several requests: duplicate ids and wrong order.
type collector struct {
	ids      idSet
	lineOf   func(id string) int // line of an earlier request; nil if there are no lines
	previous int64
	block    int // Meta.PrefixBlockTokens
}

// check returns an error if r cannot follow the requests added so far.
func (c *collector) check(r Request) error {
	if c.ids.has(r.ID) {
		if c.lineOf == nil {
			return errDuplicate
		}
		return &duplicateError{c.lineOf(r.ID)}
	}
	if r.ArrivalNS < c.previous {
		return &unsortedError{r.ArrivalNS, c.previous}
	}
	return r.checkPrefix(c.block)
}

func (c *collector) add(r Request) {
	c.ids.add(r.ID)
	c.previous = r.ArrivalNS
}

var errDuplicate = errors.New("an earlier request has the same id")

type duplicateError struct{ line int }

func (e *duplicateError) Error() string { return fmt.Sprintf("line %d has the same id", e.line) }
