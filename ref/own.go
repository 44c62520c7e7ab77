package ref

import (
	"errors"
	"fmt"
	"reflect"

	"kvcompress/kv"
	"kvcompress/trace"
)

// With returns the configuration by which a request is compressed that has options of its
// own: they replace the run's, and so one budget the other. The error says what is wrong
// with them, or which of them the method does not have.
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
		return with, fmt.Errorf("compression: protected_window and buffer are options of %s: of a request of %s, max_cache_tokens, rate and compress_once are taken", KVCompress, c.Method)
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

// OwnMethod returns the method of a request that has options of its own, beside that of
// the run. It keeps the same columns and watches as many queries of a prompt, so that both
// can share a cache; where it would not, that is an error.
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
		return nil, fmt.Errorf("compression: method %s is not the configuration's: it takes no options by request", run.Name())
	case !reflect.DeepEqual(method.Columns(), run.Columns()) || method.Observe().Queries(MaxWindow) != run.Observe().Queries(MaxWindow):
		return nil, fmt.Errorf("compression: by these options method %s keeps other columns of each KV, or watches other queries, than by the run's", run.Name())
	}
	return method, nil
}

// rules are how one sequence is compressed: a method, and what an engine asks of it.
type rules struct {
	method  Method
	watched *Observation // nil if the method watches no attention
	masker  Masker       // nil if the method hides nothing
}

func rulesOf(m Method) rules {
	masker, _ := m.(Masker)
	return rules{m, m.Observe(), masker}
}

// Configure has a sequence follow options of its own, from now until it is released. A
// request's options come before its prefill.
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

// rulesFor returns how a sequence is compressed.
func (e *Engine) rulesFor(id kv.SeqID) rules {
	if r, ok := e.own[id]; ok {
		return r
	}
	return e.rules
}
