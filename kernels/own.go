package kernels

import (
	"errors"
	"fmt"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// rules are how one sequence is compressed.
type rules struct {
	method  ref.Method
	watched *ref.Observation // nil if the method watches no attention
}

// Configure has a sequence follow options of its own, as [ref.Engine.Configure] does.
func (e *Engine) Configure(id kv.SeqID, own *trace.Compression) error {
	if own == nil {
		return errors.New("kernels: configure: no options")
	}
	method, err := e.cfg.OwnMethod(own, e.method)
	if err != nil {
		return fmt.Errorf("kernels: sequence %d: %w", id, err)
	}
	if err := supported(method, e.cfg.Shape); err != nil {
		return err
	}
	r := rules{method, method.Observe()}
	if !decodeAlike(r.watched, e.state.watched) {
		return fmt.Errorf("kernels: sequence %d: by its options method %s watches decode steps in another way than by the run's, of which a batch has one: it runs on the reference engine", id, method.Name())
	}
	e.own[id] = r
	return nil
}

// decodeAlike reports whether what two observations see in a decode step differs in the
// buffer at most.
func decodeAlike(a, b *ref.Observation) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Column == b.Column && a.Norm == b.Norm && a.Group == b.Group && a.Decode == b.Decode
}

// rulesFor returns how a sequence is compressed.
func (e *Engine) rulesFor(id kv.SeqID) rules {
	if r, ok := e.own[id]; ok {
		return r
	}
	return rules{e.method, e.state.watched}
}

// times brings to the device the positions from which attend_record, with the run's
// buffer, counts back: of a sequence whose own buffer is larger by n, n positions before its
// token's. positions are those of the batch's tokens, which on has.
func (e *Engine) times(ids []kv.SeqID, positions []int32, on device.Ptr) (device.Ptr, error) {
	var times []int32
	for i, id := range ids {
		r, ok := e.own[id]
		if !ok || r.watched == nil || r.watched.Buffer == e.state.watched.Buffer {
			continue
		}
		if times == nil {
			times = append(times, positions...)
		}
		times[i] -= int32(r.watched.Buffer - e.state.watched.Buffer)
	}
	if times == nil {
		return on, nil
	}
	return upload(e.state, "batch times", times)
}
