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

// Trace is a trace whose requests are in memory, and whose tensors are read or
// synthesized on demand. It holds no open file.
type Trace struct {
	Meta     Meta
	fsys     fs.FS  // nil for a trace made by New
	name     string // before the name of a file, in errors
	requests []Request
}

// Open reads the trace in the directory dir: trace.json and requests.jsonl, but no
// tensors yet; those of a recorded trace must be there. It returns the first error it meets, as
// an *Error if the trace is at fault.
func Open(dir string) (*Trace, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("trace: %s is not a directory", dir)
	}
	return OpenContext(context.Background(), os.DirFS(dir), dir)
}

// OpenFS is Open for a trace at the root of fsys, such as an embedded one. The
// files of fsys should implement io.ReaderAt, as those of os.DirFS and embed.FS
// do; of another file system, tensors of up to 64 MiB are read whole, and larger
// ones refused.
func OpenFS(fsys fs.FS) (*Trace, error) {
	return OpenContext(context.Background(), fsys, "")
}

// New returns a trace that lies nowhere: of the given requests and, if meta has a
// recipe, their synthetic tensors. It refuses what Open would.
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
		err := c.check(r)
		if err == nil {
			err = c.add(r)
		}
		if err != nil {
			return nil, &Error{Request: r.ID, Err: err}
		}
	}
	if len(requests) == 0 {
		return nil, &Error{Err: errNoRequests}
	}
	return &Trace{Meta: meta, requests: slices.Clone(requests)}, nil
}

// OpenContext is OpenFS, and ends with the context's error when that is done. name is what
// stands before the files' names in errors.
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

// Stream reads the trace at the root of fsys without holding its requests: it reads
// trace.json, and the requests as they are ranged over, which may be done again. It
// finds what Open finds, but that tensors are missing, and ends with the first
// error; that an id occurs again, where there are many ids that are no numbers, it finds after
// the last request. What it holds does not grow with the requests. name is what stands before
// the files' names in errors.
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
		c := collector{ids: idSet{most: mostNamed}, block: meta.PrefixBlockTokens, lineOf: func(id string) int { return lineOf(fsys, id) }}
		defer c.ids.close()
		any := false
		for l := range scanLines(f) {
			any = true
			err := first(l.errs)
			if err == nil {
				err = c.check(l.req)
			}
			if err == nil {
				err = c.add(l.req)
			}
			if err != nil {
				yield(Request{}, &Error{File: file, Line: l.number, Request: l.req.ID, Err: err})
				return
			}
			if !yield(l.req, nil) {
				return
			}
		}
		if !any {
			yield(Request{}, &Error{File: file, Err: errNoRequests})
		}
		for again, err := range c.ids.repeated(context.Background(), fsys) {
			if err == nil {
				err = &duplicateError{line: again.before}
			}
			yield(Request{}, &Error{File: file, Line: again.line, Request: again.id, Err: err})
			return
		}
	}, nil
}

// lineOf returns the first line of a request, 0 if the file has changed and there is none.
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

// checkRecorded sees that a request of a recorded trace has its file.
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

// Requests returns the requests in order of arrival. The caller must not change
// them.
func (t *Trace) Requests() []Request { return t.requests }

// path returns how errors name a file of the trace.
func (t *Trace) path(file string) string {
	return path.Join(t.name, file)
}

var (
	errNoRequests = errors.New("there are no requests")
	errMissing    = errors.New("there is no such file, and every request of a recorded trace has its tensors")
)

// collector finds what is wrong between requests that are each right.
type collector struct {
	ids      idSet
	lineOf   func(id string) int // of the requests; nil if they have no lines
	previous int64
	block    int // of the prefix hashes, if that is known
}

// check says what is wrong with r after those that were added.
func (c *collector) check(r Request) error {
	if c.ids.has(r.ID) {
		if c.lineOf == nil {
			return errDuplicate
		}
		return &duplicateError{id: r.ID, lineOf: c.lineOf}
	}
	if r.ArrivalNS < c.previous {
		return &unsortedError{r.ArrivalNS, c.previous}
	}
	return r.checkPrefix(c.block)
}

// add notes a request. The error is of the disk.
func (c *collector) add(r Request) error {
	c.previous = r.ArrivalNS
	return c.ids.add(r.ID)
}

var errDuplicate = errors.New("the id is that of an earlier request")

// duplicateError says on which earlier line an id is. The line is looked up when it is asked for:
// of many such errors few are shown.
type duplicateError struct {
	line   int // 0 if it is not known yet
	id     string
	lineOf func(id string) int
}

func (e *duplicateError) Error() string {
	if e.line == 0 {
		e.line = e.lineOf(e.id)
	}
	return fmt.Sprintf("the id is that of line %d", e.line)
}
