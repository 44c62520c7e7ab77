package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"

	"kvcompress/bench/infllm"
	"kvcompress/internal/ceil"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

// infLLM is the name of the method whose past is in the host's memory.
const infLLM = "infllm"

// infLLMRow is InfLLM with longctx_bench's settings. Its local window of 512 tokens is as long as a short context here,
// so block and local become smaller with the context: they are the parts of it that 128 and 512 are of 8,192 tokens,
// rounded down to powers of two.
func infLLMRow() Row {
	const least = 8
	r := withSet(infLLM, "the prompt is read in chunks that look up blocks; int(0.021·C) first tokens, int(0.324·C) in blocks", "")
	r.choose = func(ks *knobSearch) []choice {
		part := func(of, most int) string {
			n := max(least, ks.context/of)
			return strconv.Itoa(min(most, 1<<(bits.Len(uint(n))-1)))
		}
		block, local := part(64, 128), part(16, 512)
		return []choice{{text: "block " + block + ", local " + local, tunable: byTokens(), set: map[string]string{"block": block, "local": local}}}
	}
	return r
}

// lookup decodes with InfLLM.
type lookup struct{ cfg ref.Config }

// infLLMHeld returns the bytes that a sequence of tokens has on the card: whole blocks of the KVs of each head, and the
// representatives of all of InfLLM's blocks, one for each query head; and the bytes of K and V that it has in the host's
// memory.
func infLLMHeld(cfg *ref.Config, p *ref.InfLLMPlan, tokens int) (card, host float64) {
	onCard, onHost := p.Held(tokens)
	_, blocks, _ := p.Divide(tokens)
	heads, size := cfg.Shape.Heads(), cfg.BlockSize
	key := cfg.Shape.HeadSize * cfg.DType.Size()
	return float64(heads*ceil.Div(onCard, size)*cfg.BlockBytes() + heads*cfg.Shape.Group*blocks*key), float64(heads * onHost * 2 * key)
}

// infLLMBytes returns the mean bytes on the card over a request.
func infLLMBytes(cfg ref.Config, c request) (float64, error) {
	p, err := cfg.InfLLMReads()
	if err != nil {
		return 0, err
	}
	return c.mean(func(tokens int) float64 {
		card, _ := infLLMHeld(&cfg, &p, tokens)
		return card
	}), nil
}

// decode implements [decoder]. The context is read in chunks. The question is too, except its last token, if it is part
// of the prompt; otherwise it is read token by token.
func (o *lookup) decode(ctx context.Context, q *question, stepper *llama.Stepper, next func([]float32) (int, bool)) ([]stepUsage, error) {
	plan, err := o.cfg.InfLLMReads()
	if err != nil {
		return nil, err
	}
	prompt, fed := ints(q.task.Context), q.asked
	if len(fed) == 0 {
		prompt = append(prompt, ints(q.task.Question)...)
		prompt, fed = prompt[:len(prompt)-1], prompt[len(prompt)-1:]
	}
	// Questions share the whole chunks of the context.
	shared := min(len(prompt), len(q.task.Context)) / plan.Chunk * plan.Chunk
	s, err := q.reading.lookups(ctx, o.cfg, prompt[:shared], stepper)
	if err != nil {
		return nil, err
	}
	if err := s.Read(ctx, prompt[shared:]); err != nil {
		return nil, err
	}
	steps, err := decodeOn(ctx, s, fed, next)
	for i := range steps {
		steps[i].bytes, steps[i].host = infLLMHeld(&o.cfg, &plan, steps[i].tokens)
	}
	return steps, err
}

// lookups returns a sequence of InfLLM that has read the beginning of the context. For a configuration it is read once.
func (r *reading) lookups(ctx context.Context, cfg ref.Config, tokens []int, stepper *llama.Stepper) (*infllm.Sequence, error) {
	options, err := json.Marshal(cfg.Set)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%d %s %d", cfg.Compression.MaxCacheTokens, options, len(tokens))
	s := r.lookedUp[name]
	if s == nil {
		if s, err = infllm.New(cfg, r.model.Llama, stepper); err != nil {
			return nil, err
		}
		if err := s.Read(ctx, tokens); err != nil {
			return nil, err
		}
		r.lookedUp[name] = s
	}
	return s.Fork(), nil
}
