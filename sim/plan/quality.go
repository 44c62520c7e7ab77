package plan

import (
	"fmt"

	"kvcompress/internal/words"
)

// Quality is the quality of a candidate relative to the full cache, if it is known.
type Quality struct {
	Kept  float64 `json:"kept"`          // fraction of the full cache's score
	Least float64 `json:"least"`         // required fraction
	Bytes float64 `json:"bytes"`         // fraction of the full cache's bytes that the candidate holds over a request
	Of    string  `json:"of"`            // the models and tasks of the bench or table
	Why   string  `json:"why,omitempty"` // why it is not known
}

// enough reports whether the required quality is kept.
func (q *Quality) enough() bool { return q == nil || q.Why == "" && q.Kept >= q.Least }

// text returns the quality in words, as a reason.
func (q *Quality) text() string {
	if q.Why != "" {
		return "its quality is not known: " + q.Why
	}
	return fmt.Sprintf("it keeps %s of the full cache's quality, and %s is required", words.Share(q.Kept), words.Required(q.Least))
}

// caveat says where the quality of an answer comes from.
func (q *Quality) caveat() string {
	return fmt.Sprintf("Its quality is assumed to be that of %s: %s of the full cache's, with %s of its bytes. Other models keep more or less.", q.Of, words.Share(q.Kept), words.Share(q.Bytes))
}
