package kit

import (
	"errors"
	"fmt"

	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/validate"
)

// Report is the result of comparing another implementation's arrays with an export. A case is one part of one
// stage.
type Report struct {
	Trace   string       `json:"trace"`
	Cases   int          `json:"cases"` // number of compared cases
	Agree   int          `json:"agree"`
	Skipped int          `json:"skipped"` // missing or unreadable
	Files   []FileResult `json:"by_file"`
	Parts   []PartResult `json:"by_part"`
	Unknown []string     `json:"unknown,omitempty"` // files of theirs that are not in the export: the first few
	validate.Tally
	First   *Departure `json:"first_divergence,omitempty"`
	Results []Result   `json:"results"` // every case, in order
}

// FileResult summarizes a stage: a safetensors file, or a folder of .npy files.
type FileResult struct {
	Name    string    `json:"name"` // the stage's path
	Kind    ref.Stage `json:"kind"`
	Cases   int       `json:"cases"`
	Agree   int       `json:"agree"`
	Skipped int       `json:"skipped"`
	Error   string    `json:"error,omitempty"` // the first error in reading it
}

// PartResult summarizes the parts of one name.
type PartResult struct {
	Name    string `json:"name"`
	Cases   int    `json:"cases"`
	Agree   int    `json:"agree"`
	Skipped int    `json:"skipped"`
	validate.Tally
	Differ int    `json:"values_differ"`
	First  string `json:"first,omitempty"` // path of the first stage in which a part differs
}

// Result is the comparison of one part of one stage.
type Result struct {
	File      string     `json:"file"` // from the export's manifest
	Case      int        `json:"case"`
	Kind      string     `json:"kind"` // the part's name
	Step      int        `json:"step"`
	Stage     ref.Stage  `json:"stage"`
	Sequences []kv.SeqID `json:"sequences"`
	Agree     bool       `json:"agree"`
	Skipped   string     `json:"skipped,omitempty"` // why the part was not compared
	Error     string     `json:"error,omitempty"`   // why the part could not be read
	validate.Tally
	Differ     int        `json:"values_differ"`
	Mismatch   string     `json:"mismatch,omitempty"` // the first value that differs, in words
	Divergence *Departure `json:"divergence,omitempty"`
}

// Departure is the first value of a part that differs.
type Departure struct {
	File      string         `json:"file"`
	Step      int            `json:"step"`
	Stage     ref.Stage      `json:"stage"`
	Sequences []kv.SeqID     `json:"sequences"`
	What      string         `json:"what"` // "metric", "key", …
	At        validate.Place `json:"at"`
	Golden    string         `json:"golden"` // decimal, and the bits in hex if it is a number
	Theirs    string         `json:"theirs"`
	ULPs      uint64         `json:"ulp,omitempty"` // distance in floats of the format
	More      int            `json:"more"`          // further values of the part that differ
}

// divergence returns the departure as reported by `kvc validate`.
func (d *Departure) divergence(trace string) *validate.Divergence {
	return &validate.Divergence{
		Trace: trace, Step: d.Step, Stage: d.Stage, Seqs: d.Sequences, Sides: [2]string{"golden", "theirs"}, What: d.What, Place: d.At,
		Want: d.Golden, Got: d.Theirs, ULPs: d.ULPs, More: d.More, Parts: []validate.Part{{What: d.What, Values: d.More + 1}},
	}
}

// Text returns the departure in a few lines.
func (d *Departure) Text(trace string) string { return d.divergence(trace).String() }

// Line returns the departure in one line, without the trace.
func (d *Departure) Line() string {
	at := d.At.String()
	if at != "" {
		at = " at " + at
	}
	apart := ""
	if d.ULPs > 0 {
		apart = fmt.Sprintf(" (%s ulp apart)", words.Number(d.ULPs))
	}
	return fmt.Sprintf("%s%s: golden %s, theirs %s%s", d.divergence("").Where(), at, d.Golden, d.Theirs, apart)
}

// Failure describes in one line what does not agree; it is nil if everything agrees. With all, missing arrays
// are failures. If nothing was compared, that is always a failure.
func (r *Report) Failure(all bool) error {
	switch {
	case r.Agree < r.Cases:
		return errors.New(words.OfAll(r.Cases-r.Agree, r.Cases, "array", "differ"))
	case r.Cases == 0:
		return fmt.Errorf("nothing was compared: none of the export's arrays was found")
	case all && r.Skipped > 0:
		return errors.New(words.OfAll(r.Skipped, r.Cases+r.Skipped, "array", "are not there"))
	}
	return nil
}

// add adds a result.
func (r *Report) add(x Result) {
	x.Case = len(r.Results)
	r.Results = append(r.Results, x)
	p := r.part(x.Kind)
	f := &r.Files[len(r.Files)-1]
	if x.Error != "" && f.Error == "" {
		f.Error = x.Error
	}
	if x.Skipped != "" {
		r.Skipped, p.Skipped, f.Skipped = r.Skipped+1, p.Skipped+1, f.Skipped+1
		return
	}
	r.Cases, p.Cases, f.Cases = r.Cases+1, p.Cases+1, f.Cases+1
	if x.Agree {
		r.Agree, p.Agree, f.Agree = r.Agree+1, p.Agree+1, f.Agree+1
	}
	r.Tally.Add(x.Tally)
	p.Tally.Add(x.Tally)
	p.Differ += x.Differ
	if x.Divergence == nil {
		return
	}
	if p.First == "" {
		p.First = f.Name
	}
	if r.First == nil {
		r.First = x.Divergence
	}
}

// part returns the summary of the parts with a name.
func (r *Report) part(name string) *PartResult {
	for i := range r.Parts {
		if r.Parts[i].Name == name {
			return &r.Parts[i]
		}
	}
	r.Parts = append(r.Parts, PartResult{Name: name})
	return &r.Parts[len(r.Parts)-1]
}
