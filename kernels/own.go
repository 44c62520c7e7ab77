package kernels

import (
	"errors"
	"fmt"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// rules say how one sequence is compressed.
type rules struct {
	method  ref.Method
	watched *ref.Observation // nil if the method observes no attention
}

// Configure sets the options of one sequence, as [ref.Engine.Configure] does.
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
		return fmt.Errorf("kernels: sequence %d: with its options method %s observes decode steps otherwise than with the run's, which a batch cannot mix: it runs on the reference engine", id, method.Name())
	}
	e.own[id] = r
	return nil
}

// decodeAlike reports whether two observations differ, in decode steps, at most in the buffer.
func decodeAlike(a, b *ref.Observation) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Column == b.Column && a.Norm == b.Norm && a.Group == b.Group && a.Decode == b.Decode
}

// rulesFor returns the rules of a sequence.
func (e *Engine) rulesFor(id kv.SeqID) rules {
	if r, ok := e.own[id]; ok {
		return r
	}
	return rules{e.method, e.state.watched}
}

// times uploads the positions from which attend_record subtracts the run's buffer. For a sequence with a
// buffer larger by n, this is its token's position − n. positions are those of the batch's tokens; on has
// them on the device.
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
