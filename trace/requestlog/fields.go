package requestlog

import (
	"errors"
	"fmt"
	"strings"
)

// Fields has the names of the columns of a CSV log, or of the members of a JSON log's
// objects. Arrival, Session and Hashes may be empty. A nested member is written as a
// path: usage.prompt_tokens.
type Fields struct {
	Arrival, Prompt, Output, Session string
	Hashes                           string // JSON only: an array of prefix hashes
	Unit                             Unit   // of numeric arrivals; 0 for seconds
}

// ParseFields reads arrival=ts:ms,prompt=in,output=out,session=user,hashes=blocks.
// The unit after the arrival, s, ms, us or ns, is optional.
func ParseFields(s string) (Fields, error) {
	var f Fields
	for part := range strings.SplitSeq(s, ",") {
		what, name, ok := strings.Cut(part, "=")
		what = strings.TrimSpace(what)
		into := map[string]*string{
			"arrival": &f.Arrival, "prompt": &f.Prompt, "output": &f.Output, "session": &f.Session, "hashes": &f.Hashes,
		}[what]
		name = strings.TrimSpace(name)
		switch {
		case !ok || into == nil || name == "":
			return Fields{}, fmt.Errorf("%q: want arrival=NAME, prompt=NAME, output=NAME, session=NAME or hashes=NAME, separated by commas", part)
		case *into != "":
			return Fields{}, fmt.Errorf("%q: %s is given twice", part, what)
		}
		*into = name
	}
	if i := strings.LastIndexByte(f.Arrival, ':'); i > 0 {
		if unit, err := ParseUnit(f.Arrival[i+1:]); err == nil {
			f.Arrival, f.Unit = f.Arrival[:i], unit
		}
	}
	return f, nil
}

// check returns an error if the prompt or the output has neither a name here nor a
// fixed length in the options.
func (f Fields) check(o Options) error {
	if f.Prompt == "" && o.PromptTokens == 0 || f.Output == "" && o.OutputTokens == 0 {
		return errors.New("say which fields hold the prompt and the output, as in prompt=in,output=out")
	}
	return nil
}

// unit is the unit of the arrivals.
func (f Fields) unit(o Options) (Unit, error) {
	switch {
	case f.Unit != 0 && o.TimeUnit != 0 && f.Unit != o.TimeUnit:
		return 0, errors.New("requestlog: two units of time: that of the field arrival, and another")
	case f.Unit != 0:
		return f.Unit, nil
	case o.TimeUnit != 0:
		return o.TimeUnit, nil
	}
	return Second, nil
}
