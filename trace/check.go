package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"kvcompress/safetensors"
	"kvcompress/trace/regular"
)

// maxRepeats is how many errors of one sort Check yields before it only counts.
const maxRepeats = 10

// Check reads all of the trace at the root of fsys and yields every error, each an
// *Error: of trace.json, of every line of requests.jsonl, of every header, and of
// the values of every tensor, where it names the first and counts the others. Of
// errors that differ only in their numbers it yields ten, and at the end how many
// more there are. It holds no more in memory than the requests' ids and a few MiB.
//
// name is what stands before the files' names in errors. progress, unless nil, is
// called now and then with the bytes that are read and those of the whole trace.
// When ctx is done, its error is the last.
func Check(ctx context.Context, fsys fs.FS, name string, progress func(done, total int64)) iter.Seq[error] {
	return func(yield func(error) bool) {
		c := &checker{
			ctx: ctx, fsys: fsys, name: name, yield: yield, progress: progress,
			lines: make(map[string]int), repeats: make(map[string]*repeat),
		}
		c.list()
		c.checkMeta()
		c.checkRequests()
		c.checkStrays()
		c.summarize()
	}
}

type checker struct {
	ctx      context.Context // for the one call of Check's iterator
	fsys     fs.FS
	name     string
	yield    func(error) bool
	stopped  bool
	progress func(done, total int64)

	done, total int64
	files       []string // *.safetensors
	meta        Meta
	metaOK      bool
	lines       map[string]int // of requests.jsonl, by id
	repeats     map[string]*repeat
	order       []string // of repeats
}

// repeat counts the errors of one sort.
type repeat struct {
	n    int
	last *Error
}

// report yields e unless there have been many of its sort.
func (c *checker) report(e *Error) {
	const maxSorts = 1000
	if c.stopped {
		return
	}
	sort := e.Tensor + ": " + withoutNumbers(e.Err.Error())
	r := c.repeats[sort]
	if r == nil && len(c.repeats) >= maxSorts {
		sort = "" // whoever wants to can make up ever new sorts
		r = c.repeats[sort]
	}
	if r == nil {
		r = &repeat{}
		c.repeats[sort] = r
		c.order = append(c.order, sort)
	}
	r.n++
	r.last = e
	if r.n <= maxRepeats {
		c.stopped = !c.yield(e)
	}
}

func (c *checker) summarize() {
	for _, sort := range c.order {
		if r := c.repeats[sort]; r.n > maxRepeats && !c.stopped {
			e := *r.last
			e.Err = fmt.Errorf("%w (the last of %d such errors; %d are not shown)", e.Err, r.n, r.n-maxRepeats)
			c.stopped = !c.yield(&e)
		}
	}
}

// withoutNumbers tells errors' sorts apart: it drops digits, signs and what is in
// quotes.
func withoutNumbers(s string) string {
	quoted := false
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			quoted = !quoted
			return -1
		case quoted, '0' <= r && r <= '9', r == '-':
			return -1
		}
		return r
	}, s)
}

func (c *checker) path(file string) string { return path.Join(c.name, file) }

func (c *checker) advance(n int64) {
	if err := c.ctx.Err(); err != nil && !c.stopped {
		c.yield(err)
		c.stopped = true
	}
	c.done += n
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
}

// list finds the tensors' files, and how much there is to read.
func (c *checker) list() {
	entries, err := fs.ReadDir(c.fsys, ".")
	if err != nil {
		c.report(&Error{File: c.name, Err: regular.Short(err)})
	}
	for _, e := range entries {
		isTensors := strings.HasSuffix(e.Name(), tensorsSuffix)
		if isTensors {
			c.files = append(c.files, e.Name())
		}
		if info, err := e.Info(); err == nil && (isTensors || e.Name() == requestsFile) {
			c.total += info.Size()
		}
	}
}

func (c *checker) checkMeta() {
	meta, err := readMeta(c.fsys)
	if err != nil {
		c.report(&Error{File: c.path(metaFile), Err: err})
		return
	}
	problems := meta.problems()
	for _, err := range problems {
		c.report(&Error{File: c.path(metaFile), Err: err})
	}
	c.meta, c.metaOK = meta, len(problems) == 0
}

func (c *checker) checkRequests() {
	f, err := regular.Open(c.fsys, requestsFile)
	if err != nil {
		c.report(&Error{File: c.path(requestsFile), Err: err})
		return
	}
	defer f.Close()
	any := false
	for l := range scanLines(&meter{f, c.advance}) {
		if c.stopped {
			return
		}
		any = true
		at := Error{File: c.path(requestsFile), Line: l.number, Request: l.req.ID}
		for _, err := range l.errs {
			e := at
			e.Err = err
			c.report(&e)
		}
		if l.req.ID == "" {
			continue
		}
		if n, dup := c.lines[l.req.ID]; dup {
			at.Err = &duplicateError{n}
			c.report(&at)
			continue
		}
		c.lines[l.req.ID] = l.number
		unsorted := len(l.errs) == 1 && errors.As(l.errs[0], new(*unsortedError))
		c.checkTensors(l.req, len(l.errs) == 0 || unsorted)
	}
	if !any {
		c.report(&Error{File: c.path(requestsFile), Err: errNoRequests})
	}
}

// checkTensors checks the file of r, if there is one: only its header unless the
// request and trace.json are right, by which to judge the rest.
func (c *checker) checkTensors(r Request, requestOK bool) {
	name := r.ID + tensorsSuffix
	report := func(err error) {
		e := &Error{File: c.path(name), Request: r.ID, Err: err}
		if in := (*tensorError)(nil); errors.As(err, &in) {
			e.Tensor, e.Err = in.tensor.String(), in.err
		}
		c.report(e)
	}
	_, exists := slices.BinarySearch(c.files, name)
	switch {
	case exists && c.metaOK && c.meta.Source.Kind == Synthetic:
		report(errors.New("a synthetic trace stores no tensors"))
		return
	case !exists && c.metaOK && c.meta.Source.Kind == Recorded:
		report(errors.New("there is no such file, and every request of a recorded trace has its tensors"))
		return
	case !exists:
		return
	}
	if !c.metaOK || !requestOK {
		for _, err := range c.checkHeader(name) {
			report(err)
		}
		return
	}
	s, errs := openStored(c.fsys, c.meta, r)
	for _, err := range errs {
		report(err)
	}
	if len(errs) == 0 {
		c.checkValues(s, report)
		s.Close()
	}
}

func (c *checker) checkHeader(name string) []error {
	f, err := regular.Open(c.fsys, name)
	if err != nil {
		return []error{err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return []error{regular.Short(err)}
	}
	at, err := readerAt(f, info.Size())
	if err != nil {
		return []error{err}
	}
	c.advance(info.Size())
	return safetensors.Check(at, info.Size())
}

// checkValues reads all values of s.
func (c *checker) checkValues(s *stored, report func(error)) {
	size := int64(s.format.Size())
	raw := make([]byte, 1<<20)
	values := make([]float32, int64(len(raw))/size)
	for t := Q; t <= V; t++ {
		var first *Violation
		count, element := 0, int64(0)
		for at, end := s.tensors[t].begin, s.tensors[t].end; at < end && !c.stopped; {
			n := min(int64(len(raw)), end-at)
			if err := readAt(s.r, raw[:n], at); err != nil {
				report(&tensorError{t, err})
				break
			}
			got := values[:n/size]
			s.format.Decode(got, raw)
			for from := 0; ; {
				i, bad := findBad(got[from:])
				if !bad {
					break
				}
				if count++; first == nil {
					first = s.shape.violation(t, element+int64(from+i), got[from+i])
				}
				from += i + 1
			}
			element += n / size
			at += n
			c.advance(n)
		}
		switch {
		case count == 1:
			report(&tensorError{t, first})
		case count > 1:
			report(&tensorError{t, fmt.Errorf("%w (the first of %d such values)", first, count)})
		}
	}
}

// checkStrays reports files of tensors that belong to no request.
func (c *checker) checkStrays() {
	for _, name := range c.files {
		if _, ok := c.lines[strings.TrimSuffix(name, tensorsSuffix)]; !ok {
			c.report(&Error{File: c.path(name), Err: fmt.Errorf("there is no request %q in %s", strings.TrimSuffix(name, tensorsSuffix), requestsFile)})
		}
	}
}

// meter is a reader that says how much was read.
type meter struct {
	r    io.Reader
	read func(n int64)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.read(int64(n))
	return n, err
}
