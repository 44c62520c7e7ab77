package validate

import (
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
)

// Engine is a pipeline that can be compared with the reference: a *ref.Engine or a *kernels.Engine.
type Engine interface {
	sim.Engine

	// Restore replaces the engine's cache by a copy of the given one, and opens the tensors of its sequences.
	// It reports no event.
	Restore(*kv.Cache) error

	// Poison fills every slot that no head holds with NaN, and its position with [kv.PoisonPosition], so that
	// reading it shows.
	Poison() error
}

// NewEngine makes an engine with an empty cache. open and observe are as in [ref.NewEngine]. An engine is
// used by one goroutine at a time; two engines may call open at the same time.
type NewEngine func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error)

// Reference is the NewEngine of the reference engine.
func Reference(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
	e, err := ref.NewEngine(cfg, open, observe)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// The kinds of Operation.
const (
	OpPrefill  = "prefill"
	OpDecode   = "decode"
	OpCompress = "compress"
	OpRelease  = "release"
)

// Operation is one call of an engine.
type Operation struct {
	Kind      string     `json:"operation"` // OpPrefill, OpDecode, OpCompress or OpRelease
	Sequences []kv.SeqID `json:"sequences"` // one, except for a decode
	Tokens    int        `json:"tokens,omitempty"`
}

// run carries out the operation. It returns the result of a compression, or zero.
func (op Operation) run(e sim.Cache) (ref.Compressed, error) {
	switch op.Kind {
	case OpPrefill:
		return ref.Compressed{}, e.Prefill(op.Sequences[0], op.Tokens)
	case OpDecode:
		return ref.Compressed{}, e.Decode(op.Sequences)
	case OpCompress:
		return e.Compress(op.Sequences[0])
	default:
		return ref.Compressed{}, e.Release(op.Sequences[0])
	}
}

// check returns an error if the operation is malformed.
func (op Operation) check() error {
	switch op.Kind {
	case OpPrefill, OpCompress, OpRelease:
		if len(op.Sequences) != 1 {
			return fmt.Errorf("operation %s of %d sequences", op.Kind, len(op.Sequences))
		}
	case OpDecode:
	default:
		return fmt.Errorf("operation %q is none of prefill, decode, compress and release", op.Kind)
	}
	return nil
}

// String returns the operation as one line.
func (op Operation) String() string {
	switch op.Kind {
	case OpPrefill:
		return fmt.Sprintf("prefill of sequence %d with %d tokens", op.Sequences[0], op.Tokens)
	case OpDecode:
		return fmt.Sprintf("decode of sequences %v", op.Sequences)
	default:
		return fmt.Sprintf("%s of sequence %d", op.Kind, op.Sequences[0])
	}
}
