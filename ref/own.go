package ref

import (
	"errors"
	"fmt"
	"reflect"

	"kvcompress/kv"
	"kvcompress/trace"
)

// With returns the configuration for a request that has options of its own, which replace the run's. A
// max_cache_tokens of the request replaces a rate of the run, and the reverse. The error says what is wrong
// with the options, or which of them the method does not have.
func (c *Config) With(own *trace.Compression) (Config, error) {
	with := *c
	if own == nil {
		return with, nil
	}
	if err := own.Check(); err != nil {
		return with, fmt.Errorf("compression: %w", err)
	}
	if own.MaxCacheTokens != nil {
		with.Compression.MaxCacheTokens, with.Compression.Rate = *own.MaxCacheTokens, 0
	}
	if own.Rate != nil {
		with.Compression.MaxCacheTokens, with.Compression.Rate = 0, *own.Rate
	}
	if with.methodName() != KVCompress && (own.ProtectedWindow != nil || own.Buffer != nil) {
		return with, fmt.Errorf("compression: protected_window and buffer are options of %s: a request with method %s can set max_cache_tokens, rate and compress_once", KVCompress, c.Method)
	}
	if own.ProtectedWindow != nil {
		with.Compression.ProtectedWindow = *own.ProtectedWindow
	}
	if own.Buffer != nil {
		with.Metric.Buffer = *own.Buffer
	}
	errs := with.Compression.validate(with.Shape)
	if with.methodName() == KVCompress {
		errs = append(errs, with.Metric.Validate())
	}
	_, err := with.NewMethod()
	return with, errors.Join(append(errs, err)...)
}

// OwnMethod returns the method for a request that has options of its own. It is an error if that method has
// other columns than run, the method of the run, or observes another number of a prompt's queries: the two
// could not share a cache.
func (c *Config) OwnMethod(own *trace.Compression, run Method) (Method, error) {
	with, err := c.With(own)
	if err != nil {
		return nil, err
	}
	method, err := with.NewMethod()
	switch {
	case err != nil:
		return nil, err
	case method.Name() != run.Name():
		return nil, fmt.Errorf("compression: method %s is not the configuration's: requests cannot set options for it", run.Name())
	case !reflect.DeepEqual(method.Columns(), run.Columns()) || method.Observe().Queries(MaxWindow) != run.Observe().Queries(MaxWindow):
		return nil, fmt.Errorf("compression: with these options method %s has other columns, or observes other queries, than with the run's", run.Name())
	}
	return method, nil
}

// rules say how one sequence is compressed: its method, and the method's observation and masker.
type rules struct {
	method      Method
	observation *Observation // nil if the method observes no attention
	masker      Masker       // nil if the method hides nothing
}

func rulesOf(m Method) rules {
	masker, _ := m.(Masker)
	return rules{m, m.Observe(), masker}
}

// Configure sets the options of one sequence, until it is released. For a request, call it before Prefill.
func (e *Engine) Configure(id kv.SeqID, own *trace.Compression) error {
	if own == nil {
		return errors.New("ref: configure: no options")
	}
	method, err := e.cfg.OwnMethod(own, e.method)
	if err != nil {
		return fmt.Errorf("ref: sequence %d: %w", id, err)
	}
	e.own[id] = rulesOf(method)
	return nil
}

// rulesFor returns the rules of a sequence.
func (e *Engine) rulesFor(id kv.SeqID) rules {
	if r, ok := e.own[id]; ok {
		return r
	}
	return e.rules
}
