package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"kvcompress/journal"
)

// Journal writes the results of one shard of a bench to a file, a line for each unit.
type Journal = journal.Journal[Result]

// File is the content of a journal's file.
type File = journal.File[Result]

var kind = journal.Kind{Name: "bench", Item: "unit", Command: "kvc bench", Version: 2, Most: maxUnits, MaxLine: 1 << 26}

// Place returns the unit's number, as [journal.Item] asks for it.
func (r Result) Place() int { return r.Unit }

// header has a digest of the plan and of the settings that were found. The settings depend on
// the models' retrieval heads, so results of other weights do not merge.
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

// knobTexts returns the settings of all models, in words.
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

// OpenJournal begins or resumes a shard. It makes the folder dir if there is none. It is an
// error if the shard's file is there and belongs to another bench or shard.
func (b *Bench) OpenJournal(dir string, shard journal.Shard) (*Journal, error) {
	h, err := b.header()
	if err != nil {
		return nil, err
	}
	return journal.Open[Result](dir, shard, &kind, h)
}

// ReadFile reads a journal's file.
func ReadFile(path string) (*File, error) { return journal.ReadFile[Result](path, &kind) }

// Merge joins the files of all shards. If units are missing it returns the others and a
// [*journal.IncompleteError].
func Merge(files []*File) (*File, error) { return journal.Merge(&kind, files) }
