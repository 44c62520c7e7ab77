package sim

import (
	"fmt"

	"kvcompress/trace"
)

// Scheduler names a server whose rules form the batches.
type Scheduler string

// The schedulers.
const (
	VLLMV1           Scheduler = "vllm-v1"     // vLLM's V1 engine
	VLLM06           Scheduler = "vllm-0.6"    // vLLM 0.6.0
	KVCompressServer Scheduler = "kv-compress" // vLLM 0.6.0 as KV-Compress changes it
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
	return "", fmt.Errorf("sim: there is no scheduler %q: want one of %v", name, Schedulers())
}

// rules are those of one kind of server: who is in the batch of an iteration, who
// waits and who is preempted. They work on the queue, the running sequences and the cache
// of a Server, which keeps requests, results and the clock.
type rules interface {
	// iterate forms and runs the batch of one iteration. It returns false if nothing is
	// left to do.
	iterate(step *Step) (more bool, err error)

	// filling returns the admitted sequences whose prompts are not wholly computed, in
	// order of admission.
	filling() []*sequence

	// finished is called after an iteration in which sequences finished.
	finished()

	// arrived is called with a request that joins the queue.
	arrived(q *sequence, r *trace.Request)

	// release frees what a sequence that ends holds of the cache.
	release(q *sequence) error
}

// arrived and release are those of rules that do nothing more than a server.
func (s *Server) arrived(*sequence, *trace.Request) {}

func (s *Server) release(q *sequence) error { return s.cache.Release(q.id) }
