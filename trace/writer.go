package trace

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"kvcompress/internal/output"
)

// Writer writes a trace into a directory. It returns the errors that Open and Check would return. trace.json,
// without which a directory is not a trace, is written last, so every trace is complete.
//
//	w, err := trace.Create(dir, meta)
//	...
//	defer w.Abort()
//	rw, err := w.Begin("story")
//	...
//	defer rw.Abort()
//	for each token { err := rw.Append(q, k, v) }
//	err = rw.Finish(trace.Request{ID: "story", ...})
//	err = w.Close()
//
// Its methods may be called from several goroutines; those of one RequestWriter
// only from one at a time.
type Writer struct {
	dir  string
	made bool // the directory was made by Create
	meta Meta

	mu       sync.Mutex
	requests *tempFile // requests.jsonl
	seen     collector
	count    int
	line     []byte          // buffer for a line
	begun    map[string]bool // ids that are being recorded
	tensors  []*tempFile     // of finished requests, without their final names
	closed   bool            // or aborted
}

var errClosed = errors.New("trace: the writer is closed")

// Create makes the directory dir if it does not exist, and begins a trace there. It is an error if dir
// already has a trace, or files of one. meta.FormatVersion may be 0 for the current version.
func Create(dir string, meta Meta) (*Writer, error) {
	if meta.FormatVersion == 0 {
		meta.FormatVersion = FormatVersion
	}
	if err := meta.Check(); err != nil {
		return nil, &Error{File: filepath.Join(dir, metaFile), Err: err}
	}
	_, err := os.Lstat(dir)
	w := &Writer{dir: dir, made: err != nil, meta: meta, begun: make(map[string]bool)}
	w.seen.block = meta.PrefixBlockTokens
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	if err := CheckFree(dir); err != nil {
		return nil, err
	}
	if output.Clean(dir, func(name string) bool { return name == requestsFile }) > 0 {
		return nil, fmt.Errorf("trace: another trace is being written to %s: %w", dir, ErrTaken)
	}
	// Nobody else is writing here, so these are left over from a program that was killed.
	output.Clean(dir, func(name string) bool {
		return name == metaFile || slices.ContainsFunc([]string{tensorsSuffix, keysSuffix, valuesSuffix}, func(s string) bool { return strings.HasSuffix(name, s) })
	})
	if w.requests, err = createTemp(dir, requestsFile); err != nil {
		return nil, err
	}
	return w, nil
}

// ErrTaken is the error for a directory that already has files of a trace.
var ErrTaken = errors.New("choose another folder, or remove this one first")

// CheckFree returns an error if Create would return one because of files in the directory dir.
func CheckFree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); name == metaFile || name == requestsFile || strings.HasSuffix(name, tensorsSuffix) {
			return fmt.Errorf("trace: %s already has a trace, or a part of one (%s): %w", dir, name, ErrTaken)
		}
	}
	return nil
}

// Add adds a request without stored tensors. Requests must be added in order of arrival. It is an error in a
// trace of kind Recorded, where every request has tensors.
func (w *Writer) Add(r Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.meta.Source.Kind == Recorded {
		return w.errorf(r.ID, errors.New("a request of a recorded trace must have tensors"))
	}
	if w.begun[r.ID] {
		return w.errorf(r.ID, errors.New("the request is being recorded"))
	}
	if err := w.admit(r); err != nil {
		return err
	}
	return w.add(r)
}

// admit returns the error that add would return for r. Like add, it needs mu to be locked.
func (w *Writer) admit(r Request) error {
	if w.closed {
		return errClosed
	}
	if err := r.Check(); err != nil {
		return w.errorf(r.ID, err)
	}
	if err := w.seen.check(r); err != nil {
		return w.errorf(r.ID, err)
	}
	return nil
}

func (w *Writer) add(r Request) error {
	text, err := appendRequest(w.line[:0], r)
	if err != nil {
		return w.errorf(r.ID, err)
	}
	w.line = append(text, '\n')
	if len(w.line) > MaxLineBytes {
		return w.errorf(r.ID, errLongLine)
	}
	if _, err = w.requests.Write(w.line); err != nil {
		return err
	}
	w.count++
	w.seen.add(r)
	return nil
}

func (w *Writer) errorf(id string, err error) error {
	return &Error{File: w.dir, Request: id, Err: err}
}

// Close gives all files their names, trace.json last. It is an error to close a trace without requests, or
// while a request is being recorded.
func (w *Writer) Close() (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	for id := range w.begun {
		return w.errorf(id, errors.New("the request is still being recorded"))
	}
	if w.count == 0 {
		return w.errorf("", errNoRequests)
	}
	text, err := json.MarshalIndent(w.meta, "", "  ")
	if err != nil {
		return w.errorf("", err)
	}
	meta, err := createTemp(w.dir, metaFile)
	if err != nil {
		return err
	}
	defer meta.discard()
	if _, err := meta.Write(append(text, '\n')); err != nil {
		return err
	}
	var named []string
	defer func() {
		if err != nil {
			for _, name := range named {
				err = errors.Join(err, os.Remove(name))
			}
		}
	}()
	for _, f := range append(slices.Clone(w.tensors), w.requests, meta) {
		if err := f.commit(); err != nil {
			return err
		}
		named = append(named, f.f.Path())
	}
	w.closed = true
	return nil
}

// Abort discards the trace, and leaves the directory as it was before Create. After a successful Close it
// does nothing. Requests that are being recorded must be aborted before.
func (w *Writer) Abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	w.requests.discard()
	for _, f := range w.tensors {
		f.discard()
	}
	if w.made {
		os.Remove(w.dir) // fails, as it should, if other files have been added
	}
}

// tempFile is a buffered file that gets its final name on commit.
type tempFile struct {
	*bufio.Writer
	f *output.File
}

func createTemp(dir, name string) (*tempFile, error) {
	f, err := output.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	return &tempFile{Writer: bufio.NewWriterSize(f, 256<<10), f: f}, nil
}

func (t *tempFile) Write(p []byte) (int, error) {
	n, err := t.Writer.Write(p)
	if err != nil {
		err = fmt.Errorf("trace: %w", err)
	}
	return n, err
}

// close ends the writing; the file can then be committed.
func (t *tempFile) close() error {
	err := t.Flush()
	if err == nil {
		err = t.f.Close()
	}
	if err != nil {
		t.discard()
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

func (t *tempFile) commit() error {
	err := t.Flush()
	if err == nil {
		err = t.f.Commit()
	}
	if err != nil {
		t.discard()
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

// discard removes the file unless it was committed.
func (t *tempFile) discard() { t.f.Discard() }
