package sweep

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
	"kvcompress/trace/regular"
)

// Header is the first line of a file of results.
type Header struct {
	Version int             `json:"kvc_sweep"`
	Sweep   string          `json:"sweep"`  // digest of all that its results depend on
	Points  int             `json:"points"` // of the whole sweep
	Shard   string          `json:"shard"`
	Inputs  json.RawMessage `json:"inputs"` // what the digest is of, to show
}

const fileVersion = 1

// The bounds of a file of results.
const (
	maxFileBytes = 1 << 30
	maxLineBytes = 1 << 20
)

// Journal keeps the outcomes of a shard in a folder. While it runs they are in a
// file whose name ends in .part, a line each, so that whoever is stopped in the
// middle goes on from there; when all are there, they are written in their order to
// a file that appears whole or not at all.
type Journal struct {
	header   Header
	path     string
	part     *os.File
	outcomes map[int]*Outcome
}

// OpenJournal begins or resumes a shard in a folder, which it makes. A file of
// another sweep, or of another shard, under its name is an error.
func OpenJournal(dir string, shard Shard, h Header) (*Journal, error) {
	h.Version, h.Shard = fileVersion, shard.String()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	j := &Journal{header: h, path: filepath.Join(dir, shard.FileName()), outcomes: map[int]*Outcome{}}
	for _, path := range []string{j.path, j.path + ".part"} {
		part, err := ReadFile(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case part.Header.Sweep != h.Sweep || part.Header.Points != h.Points || part.Header.Shard != h.Shard:
			return nil, fmt.Errorf("sweep: %s is of another sweep or shard (%s of %.12s, this is %s of %.12s): want an empty folder, or the same flags and inputs as before",
				path, part.Header.Shard, part.Header.Sweep, h.Shard, h.Sweep)
		}
		for i := range part.Outcomes {
			j.outcomes[part.Outcomes[i].Index] = &part.Outcomes[i]
		}
	}
	return j, nil
}

// Done returns the outcome of a point, nil if it has none yet.
func (j *Journal) Done(index int) *Outcome { return j.outcomes[index] }

// Add keeps one more outcome.
func (j *Journal) Add(o *Outcome) error {
	if j.part == nil {
		if err := j.begin(); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	line, err := json.Marshal(o)
	if err == nil {
		_, err = j.part.Write(append(line, '\n')) // at once: a line that is cut off is dropped when it is read
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	kept := *o
	j.outcomes[o.Index] = &kept
	return nil
}

// begin writes the part that is known anew, without what a cut-off line has left.
func (j *Journal) begin() error {
	if err := j.write(j.path + ".part"); err != nil {
		return err
	}
	var err error
	j.part, err = os.OpenFile(j.path+".part", os.O_WRONLY|os.O_APPEND, 0)
	return err
}

// Outcomes returns what is kept, in the order of the points.
func (j *Journal) Outcomes() []Outcome {
	outcomes := make([]Outcome, 0, len(j.outcomes))
	for _, o := range j.outcomes {
		outcomes = append(outcomes, *o)
	}
	slices.SortFunc(outcomes, func(a, b Outcome) int { return a.Index - b.Index })
	return outcomes
}

// Finish writes the results to their file, atomically, and returns its path.
func (j *Journal) Finish() (string, error) {
	if err := j.Close(); err != nil {
		return "", err
	}
	if err := j.write(j.path); err != nil {
		return "", fmt.Errorf("sweep: %w", err)
	}
	if err := os.Remove(j.path + ".part"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("sweep: %w", err)
	}
	return j.path, nil
}

// Close leaves the shard to be resumed.
func (j *Journal) Close() error {
	if j.part == nil {
		return nil
	}
	err := j.part.Close()
	j.part = nil
	return err
}

// write writes all that is known to a file, which appears whole or not at all.
func (j *Journal) write(path string) error {
	return output.Write(path, func(w io.Writer) error { return Write(w, j.header, j.Outcomes()) })
}

// Write writes a file of results. Equal results are equal bytes.
func Write(w io.Writer, h Header, outcomes []Outcome) error {
	h.Version = fileVersion
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(h); err != nil {
		return err
	}
	for i := range outcomes {
		if err := enc.Encode(&outcomes[i]); err != nil {
			return err
		}
	}
	return nil
}

// File is what a file of results holds.
type File struct {
	Header   Header
	Outcomes []Outcome
}

// ReadFile reads a file of results. A last line without an end is dropped: whoever
// wrote it was stopped.
func ReadFile(path string) (*File, error) {
	f, err := regular.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("sweep: %s: %w", path, err)
	}
	defer f.Close()
	file, err := Read(io.LimitReader(f, maxFileBytes))
	if err != nil {
		return nil, fmt.Errorf("sweep: %s: %w", path, err)
	}
	return file, nil
}

// Read reads what Write wrote, or the beginning of it.
func Read(r io.Reader) (*File, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	file := &File{}
	seen := map[int][]byte{}
	for number := 1; ; number++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			if number == 1 {
				return nil, errors.New("it has no header: want a file that kvc sweep wrote")
			}
			return file, nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if number == 1 {
			if err := json.Unmarshal(line, &file.Header); err != nil || file.Header.Version != fileVersion ||
				file.Header.Points < 1 || file.Header.Points > MaxPoints {
				return nil, fmt.Errorf("line 1 is not the header of results of version %d", fileVersion)
			}
			continue
		}
		var o Outcome
		if err := json.Unmarshal(line, &o); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if o.Index < 0 || o.Index >= file.Header.Points {
			return nil, fmt.Errorf("line %d: point %d of %d", number, o.Index, file.Header.Points)
		}
		if before, ok := seen[o.Index]; ok {
			if !bytes.Equal(before, line) {
				return nil, fmt.Errorf("line %d: point %d occurs twice, with different results", number, o.Index)
			}
			continue
		}
		seen[o.Index] = bytes.Clone(line)
		file.Outcomes = append(file.Outcomes, o)
	}
}

// readLine returns a whole line, and io.EOF for what has no end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLineBytes:
			return nil, fmt.Errorf("it is longer than %d bytes", maxLineBytes)
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// IncompleteError says which points of a sweep no file has.
type IncompleteError struct {
	Missing int // points
	First   int // of them
	Shards  []string
}

func (e *IncompleteError) Error() string {
	s := fmt.Sprintf("sweep: %d points are missing, the first is %d", e.Missing, e.First)
	if len(e.Shards) > 0 {
		s += fmt.Sprintf("; no file, or an unfinished one, of shards %v", e.Shards)
	}
	return s
}

// Merge joins the files of all shards of a sweep. If points are missing it returns
// what there is, beside an *IncompleteError.
func Merge(files []*File) (*File, error) {
	if len(files) == 0 {
		return nil, errors.New("sweep: no file to merge")
	}
	merged := &File{Header: files[0].Header}
	merged.Header.Shard = Whole().String()
	at := make([]*Outcome, merged.Header.Points)
	for _, f := range files {
		if f.Header.Sweep != merged.Header.Sweep || f.Header.Points != merged.Header.Points {
			return nil, fmt.Errorf("sweep: shards %s and %s are of different sweeps (%.12s and %.12s)", files[0].Header.Shard, f.Header.Shard, merged.Header.Sweep, f.Header.Sweep)
		}
		for i := range f.Outcomes {
			o := &f.Outcomes[i]
			if before := at[o.Index]; before != nil {
				a, errA := json.Marshal(before)
				b, errB := json.Marshal(o)
				if errA != nil || errB != nil || !bytes.Equal(a, b) {
					return nil, fmt.Errorf("sweep: point %d is in two files, with different results", o.Index)
				}
			}
			at[o.Index] = o
		}
	}
	shards := shardsOf(files)
	missing := &IncompleteError{First: -1}
	for i, o := range at {
		if o != nil {
			merged.Outcomes = append(merged.Outcomes, *o)
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

// shardsOf returns into how many shards the files' sweep was divided, 0 if they
// differ about it.
func shardsOf(files []*File) int {
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
