package trace

import (
	"context"
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

// maxRepeats is how many errors of one kind Check yields; further ones it only counts.
const maxRepeats = 10

// Check reads the whole trace at the root of fsys and yields every error as an *Error: in trace.json, in
// every line of requests.jsonl, in every header, and in the values of every tensor, where it names the first
// bad value and counts the others. An error in one place hides none elsewhere: tensors are checked against
// whatever is valid in trace.json and requests.jsonl. Of errors that differ only in their numbers it yields
// ten, and at the end the last one with the number of errors not shown. Its memory use is the requests' ids
// and a few MiB.
//
// name is what errors put before file names. progress, unless nil, is called now and then with the bytes read
// so far and those of the whole trace. When ctx is done, its error is the last.
func Check(ctx context.Context, fsys fs.FS, name string, progress func(done, total int64)) iter.Seq[error] {
	return func(yield func(error) bool) {
		c := &checker{
			ctx: ctx, fsys: fsys, name: name, yield: yield, progress: progress,
			repeats: make(map[string]*repeat),
		}
		c.list()
		c.checkMeta()
		c.checkRequests()
		c.checkStrays()
		c.summarize()
	}
}

type checker struct {
	ctx      context.Context // kept only while Check's iterator runs
	fsys     fs.FS
	name     string
	yield    func(error) bool
	stopped  bool
	progress func(done, total int64)

	done, total int64
	files       []string // *.safetensors
	meta        metaFound
	lines       idLines // lines of requests.jsonl by id
	raw         []byte  // buffer for a piece of a tensor
	values      []float32
	repeats     map[string]*repeat
	order       []string // keys of repeats, in order of first occurrence
}

// repeat counts the errors of one kind.
type repeat struct {
	n    int
	last *Error
}

// report yields e unless many errors of its kind have been reported.
func (c *checker) report(e *Error) {
	const maxSorts = 1000
	if c.stopped {
		return
	}
	sort := e.Tensor + ": " + withoutNumbers(e.Err.Error())
	r := c.repeats[sort]
	if r == nil && len(c.repeats) >= maxSorts {
		sort = "" // bounds the memory that a crafted trace can use
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
		r := c.repeats[sort]
		if r.n <= maxRepeats || c.stopped {
			continue
		}
		e := *r.last
		if hidden := r.n - maxRepeats - 1; hidden > 0 {
			verb := "are"
			if hidden == 1 {
				verb = "is"
			}
			e.Err = fmt.Errorf("%w (the last of %d such errors; %d %s not shown)", e.Err, r.n, hidden, verb)
		}
		c.stopped = !c.yield(&e)
	}
}

// withoutNumbers returns what errors of one kind have in common: s without digits, signs and quoted text.
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

// list finds the tensor files, and the number of bytes to read.
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
		if !isTensors && e.Name() != requestsFile {
			continue
		}
		if info, err := fs.Stat(c.fsys, e.Name()); err == nil { // follows links
			c.total += info.Size()
		}
	}
}

func (c *checker) checkMeta() {
	c.meta = readMeta(c.fsys)
	for _, err := range c.meta.errs {
		c.report(&Error{File: c.path(metaFile), Err: err})
	}
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
		if err := l.req.checkPrefix(c.meta.PrefixBlockTokens); err != nil && len(l.errs) == 0 {
			e := at
			e.Err = err
			c.report(&e)
		}
		if n, dup := c.lines.line(l.req.ID); dup {
			at.Err = &duplicateError{n}
			c.report(&at)
			continue
		}
		c.lines.add(l.req.ID, l.number)
		c.checkTensors(l.req)
	}
	if !any {
		c.report(&Error{File: c.path(requestsFile), Err: errNoRequests})
	}
}

// checkTensors checks the tensor file of r, if there is one, against what is valid in trace.json and r.
func (c *checker) checkTensors(r Request) {
	name := r.ID + tensorsSuffix
	at := Error{File: c.path(name), Request: r.ID}
	report := func(err error) { c.report(at.about(err)) }
	_, exists := slices.BinarySearch(c.files, name)
	switch {
	case exists && c.meta.kindOK && storesNone(c.meta.Source.Kind):
		report(fmt.Errorf("a %s trace stores no tensors", c.meta.Source.Kind))
		return
	case exists && c.meta.requestsOnly:
		report(errShapeless)
		return
	case !exists && c.meta.kindOK && c.meta.Source.Kind == Recorded:
		report(errMissing)
		return
	case !exists:
		return
	}
	h, errs := openHeader(c.fsys, name)
	for _, err := range errs {
		report(err)
	}
	if h == nil {
		return
	}
	defer h.close()
	x := expected{format: c.meta.DType, formatOK: c.meta.dtypeOK}
	if c.meta.shapeOK {
		x.shape = c.meta.Shape
	}
	if r.PromptTokens > 0 && r.OutputTokens > 0 && r.CachedTokens() < MaxTokens {
		x.cached = r.CachedTokens()
	}
	for _, err := range x.check(h) {
		report(err)
	}
	rest := h.size
	for t := Q; t <= V; t++ {
		if info, ok := h.tensors.Tensor(t.String()); ok {
			if err := c.checkValues(h.r, info); err != nil {
				report(&tensorError{t, err})
			}
			rest -= info.Bytes()
		}
	}
	c.advance(rest)
}

// checkValues reads all values of a tensor of any shape.
func (c *checker) checkValues(r io.ReaderAt, info safetensors.Info) error {
	format, ok := info.DType.Float()
	if !ok || checkStored(format) != nil {
		c.advance(info.Bytes())
		return nil
	}
	size := int64(format.Size())
	if most := int(min(1<<20, info.Bytes())); len(c.raw) < most {
		c.raw, c.values = make([]byte, most), make([]float32, most/2)
	}
	raw := c.raw[:len(c.raw)/int(size)*int(size)]
	var first error
	count, element := 0, int64(0)
	for at := info.Begin; at < info.End && !c.stopped; {
		n := min(int64(len(raw)), info.End-at)
		if err := readAt(r, raw[:n], at); err != nil {
			return err
		}
		got := c.values[:n/size]
		format.Decode(got, raw[:n])
		for from := 0; ; {
			i, bad := findBad(got[from:])
			if !bad {
				break
			}
			from += i
			if count++; first == nil && len(info.Shape) == 4 {
				first = violation(info.Shape, element+int64(from), got[from])
			} else if first == nil {
				first = fmt.Errorf("%s at element %d", badValue(got[from]), element+int64(from))
			}
			from++
		}
		element += n / size
		at += n
		c.advance(n)
	}
	if count > 1 {
		first = fmt.Errorf("%w (the first of %d such values)", first, count)
	}
	return first
}

// checkStrays reports tensor files that belong to no request.
func (c *checker) checkStrays() {
	for _, name := range c.files {
		if _, ok := c.lines.line(strings.TrimSuffix(name, tensorsSuffix)); !ok {
			c.report(&Error{File: c.path(name), Err: fmt.Errorf("there is no request %q in %s", strings.TrimSuffix(name, tensorsSuffix), requestsFile)})
		}
	}
}

// meter is a reader that reports how much was read.
type meter struct {
	r    io.Reader
	read func(n int64)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.read(int64(n))
	return n, err
}
