package plan

import "fmt"

// Quality is what a candidate keeps of the full cache's quality, as far as is known.
type Quality struct {
	Kept  float64 `json:"kept"`          // part of the full cache's score
	Least float64 `json:"least"`         // that is asked for
	Bytes float64 `json:"bytes"`         // part of the full cache's bytes that the candidate holds over a request
	Of    string  `json:"of"`            // whose quality it is
	Why   string  `json:"why,omitempty"` // why nothing is known
}

// enough reports whether as much is kept as is asked for.
func (q *Quality) enough() bool { return q == nil || q.Why == "" && q.Kept >= q.Least }

// text says what is kept, and of what.
func (q *Quality) text() string {
	if q.Why != "" {
		return "nothing is known of its quality: " + q.Why
	}
	return fmt.Sprintf("it keeps %s of the full cache's quality, and %s are asked for", Percent(q.Kept), Percent(q.Least))
}

// caveat says whose quality an answer goes by.
func (q *Quality) caveat() string {
	return fmt.Sprintf("Its quality is taken to be that of %s: %s of the full cache's, with %s of its bytes. Another model keeps more or less.", q.Of, Percent(q.Kept), Percent(q.Bytes))
}
