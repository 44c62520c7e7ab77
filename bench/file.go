package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"kvcompress/journal"
)

// Journal keeps the results of a shard of a bench, a line for each unit.
type Journal = journal.Journal[Result]

// File is what a journal's file holds.
type File = journal.File[Result]

var kind = journal.Kind{Name: "bench", Item: "unit", Command: "kvc bench", Version: 2, Most: maxUnits, MaxLine: 1 << 26}

// Place returns the unit's number.
func (r Result) Place() int { return r.Unit }

// header is of the plan and of where its knobs stand, and so of the models' heads.
func (b *Bench) header() (journal.Header, error) {
	plan, err := json.Marshal(b.Plan)
	if err != nil {
		return journal.Header{}, err
	}
	knobs, err := json.Marshal(b.knobTexts())
	if err != nil {
		return journal.Header{}, err
	}
	h := sha256.New()
	h.Write(plan)
	h.Write(knobs)
	return journal.Header{Digest: hex.EncodeToString(h.Sum(nil)), Items: b.Plan.Units(), Inputs: plan}, nil
}

// knobTexts are the settings of all models.
func (b *Bench) knobTexts() []string {
	var texts []string
	for _, name := range b.Plan.Models {
		for _, k := range b.knobs[name].all {
			text := "unreached"
			if k.Setting != nil {
				text = k.Setting.Text
			}
			texts = append(texts, text)
		}
	}
	return texts
}

// OpenJournal begins or resumes a shard in a folder, which it makes. A file of another
// bench or shard under its name is an error.
func (b *Bench) OpenJournal(dir string, shard journal.Shard) (*Journal, error) {
	h, err := b.header()
	if err != nil {
		return nil, err
	}
	return journal.Open[Result](dir, shard, &kind, h)
}

// ReadFile reads a file of results.
func ReadFile(path string) (*File, error) { return journal.ReadFile[Result](path, &kind) }

// Merge joins the files of all shards. If units are missing it returns what there is,
// beside a [*journal.IncompleteError].
func Merge(files []*File) (*File, error) { return journal.Merge(&kind, files) }
