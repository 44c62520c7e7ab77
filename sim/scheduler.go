package sim

import (
	"fmt"

	"kvcompress/internal/near"
	"kvcompress/internal/words"
	"kvcompress/trace"
)

// Scheduler names the server whose scheduler is simulated.
type Scheduler string

// The schedulers.
const (
	VLLMV1           Scheduler = "vllm-v1"     // vLLM's V1 engine
	VLLM06           Scheduler = "vllm-0.6"    // vLLM 0.6.0
	KVCompressServer Scheduler = "kv-compress" // KV-Compress's server, a fork of vLLM 0.6.0
)

// Schedulers returns all schedulers, the newest first.
func Schedulers() []Scheduler { return []Scheduler{VLLMV1, VLLM06, KVCompressServer} }

// ParseScheduler returns the scheduler of a name.
func ParseScheduler(name string) (Scheduler, error) {
	for _, s := range Schedulers() {
		if string(s) == name {
			return s, nil
		}
	}
	return "", fmt.Errorf("sim: there is no scheduler %q%s: want one of %s", name, near.Hint(name, Schedulers()), words.List(Schedulers()))
}

// rules implement a Scheduler: which sequences are in the batch of an iteration, which wait and which are
// preempted. They work on the queue, the running sequences and the cache of a Server, which keeps
// requests, results and the clock.
type rules interface {
	// iterate forms and runs the batch of one iteration. It returns false if there is nothing left to do.
	iterate(step *Step) (more bool, err error)

	// filling returns the admitted sequences with incomplete prompts, in order of admission.
	filling() []*sequence

	// finished is called after an iteration in which sequences finished.
	finished()

	// arrived is called with a request that joins the queue.
	arrived(q *sequence, r *trace.Request)

	// release releases a sequence that ends from the cache.
	release(q *sequence) error
}

// arrived and release are the defaults.
func (s *Server) arrived(*sequence, *trace.Request) {}

func (s *Server) release(q *sequence) error { return s.cache.Release(q.id) }
