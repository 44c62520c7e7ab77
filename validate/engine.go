package validate

import (
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
)

// Engine is a pipeline that can be held against the reference: a *ref.Engine, or a
// *kernels.Engine.
type Engine interface {
	sim.Engine

	// Restore makes the engine go on from a copy of the given cache. It opens the
	// tensors of the cache's sequences, and observes nothing.
	Restore(*kv.Cache) error

	// Poison fills every slot that no head holds with what is never right: NaN, and
	// [kv.PoisonPosition].
	Poison() error
}

// NewEngine makes an engine with an empty cache. open and observe are those of
// [ref.NewEngine]; it is used by one goroutine at a time, but not beside another
// engine's open.
type NewEngine func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error)

// Reference is the NewEngine of package ref.
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
	Sequences []kv.SeqID `json:"sequences"` // one, except of a decode
	Tokens    int        `json:"tokens,omitempty"`
}

// run carries out the operation. The result is that of a compression.
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

// check returns an error if the operation is none.
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

// String says the operation in a line.
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
