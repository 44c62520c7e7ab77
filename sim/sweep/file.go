package sweep

import (
	"io"

	"kvcompress/journal"
)

// The files of a sweep's results are those of package journal, a line for each point.
type (
	Header  = journal.Header
	Journal = journal.Journal[Outcome]
	File    = journal.File[Outcome]
)

// kind is what a sweep is among jobs.
var kind = journal.Kind{Name: "sweep", Item: "point", Command: "kvc sweep", Version: 1, Most: MaxPoints, MaxLine: 1 << 20}

// Place returns the index of the outcome's point.
func (o Outcome) Place() int { return o.Index }

// OpenJournal begins or resumes a shard in a folder, which it makes. A file of
// another sweep, or of another shard, under its name is an error.
func OpenJournal(dir string, shard journal.Shard, h Header) (*Journal, error) {
	return journal.Open[Outcome](dir, shard, &kind, h)
}

// ReadFile reads a file of results. A last line without an end is dropped: whoever
// wrote it was stopped.
func ReadFile(path string) (*File, error) { return journal.ReadFile[Outcome](path, &kind) }

// Read reads what a journal wrote, or the beginning of it.
func Read(r io.Reader) (*File, error) { return journal.Read[Outcome](r, &kind) }

// Merge joins the files of all shards of a sweep. If points are missing it returns
// what there is, beside a [*journal.IncompleteError].
func Merge(files []*File) (*File, error) { return journal.Merge(&kind, files) }
