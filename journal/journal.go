// Package journal keeps the results of a job of many items: in files of JSON lines that
// survive an interruption, that several machines can write for parts of one job, and that
// are joined with nothing missing and nothing twice.
//
// [Open] begins or resumes the results of one shard, and [Merge] joins those of all shards.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// Kind is what a job is.
type Kind struct {
	Name    string // "sweep": of its files, in messages, and the header's digest
	Item    string // "point": the name of an item, in messages
	Command string // "kvc sweep": what writes its files, in messages
	Version int    // of the results; 0 is no bound
	Most    int    // items
	MaxLine int    // bytes of one result
}

// Header is the first line of a file of results:
//
//	{"kvc_sweep":1,"sweep":"digest","points":12,"shard":"0/1","inputs":{…}}
type Header struct {
	Digest string          // of all that the results depend on
	Items  int             // of the whole job
	Shard  string          //
	Inputs json.RawMessage // what the digest was computed from, for people to read
}

// write returns the header as a line.
func (h *Header) write(k *Kind) ([]byte, error) {
	inputs := h.Inputs
	if inputs == nil {
		inputs = json.RawMessage("null")
	}
	digest, err := json.Marshal(h.Digest)
	if err != nil {
		return nil, err
	}
	var line bytes.Buffer
	fmt.Fprintf(&line, `{"kvc_%s":%d,"%s":%s,"%ss":%d,"shard":"%s","inputs":`, k.Name, k.Version, k.Name, digest, k.Item, h.Items, h.Shard)
	if err := json.Compact(&line, inputs); err != nil {
		return nil, err
	}
	line.WriteString("}\n")
	return line.Bytes(), nil
}

// readHeader reads a header.
func readHeader(k *Kind, line []byte) (h Header, err error) {
	var fields map[string]json.RawMessage
	version := 0
	err = json.Unmarshal(line, &fields)
	for name, to := range map[string]any{"kvc_" + k.Name: &version, k.Name: &h.Digest, k.Item + "s": &h.Items, "shard": &h.Shard} {
		if err == nil {
			err = json.Unmarshal(fields[name], to)
		}
	}
	h.Inputs = fields["inputs"]
	if err != nil || version != k.Version || h.Items < 1 || h.Items > k.Most {
		return h, fmt.Errorf("line 1 is not the header of results of version %d", k.Version)
	}
	return h, nil
}

// maxFileBytes bounds a file of results.
const maxFileBytes = 1 << 30

// Item is a result of one item.
type Item interface {
	// Place returns the item's number in the job, from 0.
	Place() int
}

// Journal keeps the outcomes of a shard in a folder. A running shard appends each outcome
// as a line to a .part file, from which an interrupted run resumes. The complete shard is
// written in order to its final file, whole or not at all.
type Journal[T Item] struct {
	kind   *Kind
	header Header
	path   string
	part   *os.File
	items  map[int]*T
}

// Open begins or resumes a shard in a folder, which it makes. A file of another job, or of
// another shard, under its name is an error.
func Open[T Item](dir string, shard Shard, k *Kind, h Header) (*Journal[T], error) {
	h.Shard = shard.String()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, err)
	}
	j := &Journal[T]{kind: k, header: h, path: filepath.Join(dir, shard.FileName(k.Name)), items: map[int]*T{}}
	for _, path := range []string{j.path, j.path + ".part"} {
		part, err := ReadFile[T](path, k)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case part.Header.Digest != h.Digest || part.Header.Items != h.Items || part.Header.Shard != h.Shard:
			return nil, fmt.Errorf("%s: %s is of another %s or shard (%s of %.12s, this is %s of %.12s): want an empty folder, or the same flags and inputs as before",
				k.Name, path, k.Name, part.Header.Shard, part.Header.Digest, h.Shard, h.Digest)
		}
		for i := range part.Items {
			j.items[part.Items[i].Place()] = &part.Items[i]
		}
	}
	return j, nil
}

// Done returns the result of an item, nil if it has none yet.
func (j *Journal[T]) Done(place int) *T { return j.items[place] }

// Add keeps one more result.
func (j *Journal[T]) Add(o *T) error {
	if j.part == nil {
		if err := j.begin(); err != nil {
			return fmt.Errorf("%s: %w", j.kind.Name, err)
		}
	}
	line, err := json.Marshal(o)
	if err == nil {
		_, err = j.part.Write(append(line, '\n')) // at once: a line that is cut off is dropped when it is read
	}
	if err != nil {
		return fmt.Errorf("%s: %w", j.kind.Name, err)
	}
	kept := *o
	j.items[kept.Place()] = &kept
	return nil
}

// begin rewrites the part file from the known results, without a line that was cut off.
func (j *Journal[T]) begin() error {
	if err := j.write(j.path + ".part"); err != nil {
		return err
	}
	var err error
	j.part, err = os.OpenFile(j.path+".part", os.O_WRONLY|os.O_APPEND, 0)
	return err
}

// Items returns the known results, in the order of the job.
func (j *Journal[T]) Items() []T {
	items := make([]T, 0, len(j.items))
	for _, o := range j.items {
		items = append(items, *o)
	}
	slices.SortFunc(items, func(a, b T) int { return a.Place() - b.Place() })
	return items
}

// Finish writes the results to their file, atomically, and returns its path.
func (j *Journal[T]) Finish() (string, error) {
	if err := j.Close(); err != nil {
		return "", err
	}
	if err := j.write(j.path); err != nil {
		return "", fmt.Errorf("%s: %w", j.kind.Name, err)
	}
	if err := os.Remove(j.path + ".part"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", j.kind.Name, err)
	}
	return j.path, nil
}

// Close leaves the shard to be resumed.
func (j *Journal[T]) Close() error {
	if j.part == nil {
		return nil
	}
	err := j.part.Close()
	j.part = nil
	return err
}

// write writes all known results to a file, which appears complete or not at all.
func (j *Journal[T]) write(path string) error {
	return output.Write(path, func(w io.Writer) error { return Write(w, j.kind, j.header, j.Items()) })
}

// Write writes a file of results. Equal results are equal bytes.
func Write[T Item](w io.Writer, k *Kind, h Header, items []T) error {
	line, err := h.write(k)
	if err != nil {
		return err
	}
	if _, err := w.Write(line); err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range items {
		if err := enc.Encode(&items[i]); err != nil {
			return err
		}
	}
	return nil
}

// File is what a file of results holds.
type File[T Item] struct {
	Header Header
	Items  []T
}

// ReadFile reads a file of results. A last line without a newline is dropped: its writer was
// interrupted.
func ReadFile[T Item](path string, k *Kind) (*File[T], error) {
	f, err := regular.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", k.Name, path, err)
	}
	defer f.Close()
	file, err := Read[T](io.LimitReader(f, maxFileBytes), k)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", k.Name, path, err)
	}
	return file, nil
}

// Read reads what Write wrote, or the beginning of it.
func Read[T Item](r io.Reader, k *Kind) (*File[T], error) {
	in := bufio.NewReaderSize(r, 1<<16)
	file := &File[T]{}
	seen := map[int][]byte{}
	for number := 1; ; number++ {
		line, err := readLine(in, k.MaxLine)
		if errors.Is(err, io.EOF) {
			if number == 1 {
				return nil, fmt.Errorf("it has no header: want a file that %s wrote", k.Command)
			}
			return file, nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if number == 1 {
			if file.Header, err = readHeader(k, line); err != nil {
				return nil, err
			}
			continue
		}
		var o T
		if err := json.Unmarshal(line, &o); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, strictjson.Plain(err))
		}
		place := o.Place()
		if place < 0 || place >= file.Header.Items {
			return nil, fmt.Errorf("line %d: %s %d of %d", number, k.Item, place, file.Header.Items)
		}
		if before, ok := seen[place]; ok {
			if !bytes.Equal(before, line) {
				return nil, fmt.Errorf("line %d: %s %d occurs twice, with different results", number, k.Item, place)
			}
			continue
		}
		seen[place] = bytes.Clone(line)
		file.Items = append(file.Items, o)
	}
}

// readLine returns a complete line, or io.EOF for one without a newline.
func readLine(in *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > most:
			return nil, fmt.Errorf("it is longer than %d bytes", most)
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// IncompleteError says which items of a job are in no file.
type IncompleteError struct {
	Kind    *Kind
	Missing int // items
	First   int // of them
	Shards  []string
}

func (e *IncompleteError) Error() string {
	s := fmt.Sprintf("%s: %s %s missing, the first is %d", e.Kind.Name, words.Count(e.Missing, e.Kind.Item), words.Do(e.Missing, "are"), e.First)
	if len(e.Shards) > 0 {
		s += fmt.Sprintf("; no file, or an unfinished one, of shards %v", e.Shards)
	}
	return s
}

// Merge joins the files of all shards of a job. If items are missing it returns
// the others and an *IncompleteError.
func Merge[T Item](k *Kind, files []*File[T]) (*File[T], error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no file to merge", k.Name)
	}
	merged := &File[T]{Header: files[0].Header}
	merged.Header.Shard = Whole().String()
	at := make([]*T, merged.Header.Items)
	for _, f := range files {
		if f.Header.Digest != merged.Header.Digest || f.Header.Items != merged.Header.Items {
			return nil, fmt.Errorf("%s: shards %s and %s are of different %ss (%.12s and %.12s)", k.Name, files[0].Header.Shard, f.Header.Shard, k.Name, merged.Header.Digest, f.Header.Digest)
		}
		for i := range f.Items {
			o := &f.Items[i]
			place := (*o).Place()
			if before := at[place]; before != nil {
				a, errA := json.Marshal(before)
				b, errB := json.Marshal(o)
				if errA != nil || errB != nil || !bytes.Equal(a, b) {
					return nil, fmt.Errorf("%s: %s %d is in two files, with different results", k.Name, k.Item, place)
				}
			}
			at[place] = o
		}
	}
	shards := shardsOf(files)
	missing := &IncompleteError{Kind: k, First: -1}
	for i, o := range at {
		if o != nil {
			merged.Items = append(merged.Items, *o)
			continue
		}
		if missing.Missing++; missing.First < 0 {
			missing.First = i
		}
		if shards > 1 {
			name := Shard{i % shards, shards}.String()
			if len(missing.Shards) < 20 && !slices.Contains(missing.Shards, name) {
				missing.Shards = append(missing.Shards, name)
			}
		}
	}
	if missing.Missing > 0 {
		return merged, missing
	}
	return merged, nil
}

// shardsOf returns into how many shards the files' job was divided, 0 if they
// differ about it.
func shardsOf[T Item](files []*File[T]) int {
	n := 0
	for _, f := range files {
		s, err := ParseShard(f.Header.Shard, func(string) string { return "" })
		if err != nil || n != 0 && s.N != n {
			return 0
		}
		n = s.N
	}
	return n
}
