package sweep

import (
	"io"

	"kvcompress/journal"
)

// The files of a sweep's results, with a line for each point: see package journal.
type (
	Header  = journal.Header
	Journal = journal.Journal[Outcome]
	File    = journal.File[Outcome]
)

// kind describes a sweep to package journal.
var kind = journal.Kind{Name: "sweep", Item: "point", Command: "kvc sweep", Version: 1, Most: MaxPoints, MaxLine: 1 << 20}

// Place returns the index of the outcome's point.
func (o Outcome) Place() int { return o.Index }

// OpenJournal begins or resumes a shard. It makes the folder dir if there is none. It is an error
// if the shard's file is there and belongs to another sweep or shard.
func OpenJournal(dir string, shard journal.Shard, h Header) (*Journal, error) {
	return journal.Open[Outcome](dir, shard, &kind, h)
}

// ReadFile reads a file of results. An incomplete last line, left by a writer that was stopped, is
// dropped.
func ReadFile(path string) (*File, error) { return journal.ReadFile[Outcome](path, &kind) }

// Read reads the content of a file of results, or the beginning of it.
func Read(r io.Reader) (*File, error) { return journal.Read[Outcome](r, &kind) }

// Merge joins the files of all shards of a sweep. If points are missing it returns the others and
// a [*journal.IncompleteError].
func Merge(files []*File) (*File, error) { return journal.Merge(&kind, files) }
