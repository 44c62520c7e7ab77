package cost

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kvcompress/sim"
)

// Engine names a server by how it profiles memory to size its cache. Versions with the same memory
// profiling share a name.
type Engine string

// The engines. V0 and V1 are the two engines of vLLM.
const (
	KVCompress  Engine = "kv-compress"  // a fork of vLLM 0.6.0
	VLLM06      Engine = "vllm-0.6"     // V0 up to 0.6.2
	VLLM063     Engine = "vllm-0.6.3"   // V0 from 0.6.3
	VLLM07      Engine = "vllm-0.7"     // V0 from 0.7
	VLLMV1First Engine = "vllm-v1-0.7"  // V1 up to 0.9.1
	VLLMV1      Engine = "vllm-v1"      // V1 from 0.9.2
	VLLMV1Next  Engine = "vllm-v1-0.17" // V1 from 0.17
	VLLMV1Last  Engine = "vllm-v1-0.21" // V1 from 0.21
)

// profiling has the figures of an engine's memory profiling: it runs its largest batch to find how
// much memory is left for the cache. docs/cost-model.md has the source of each figure.
type profiling struct {
	engine Engine
	v1     bool
	since  [3]int // version

	// reserve is the factor by which the tensors' peak is counted: 1 if the engine counts tensors,
	// more if it counts what the allocator has reserved for them.
	reserve float64

	// residuals is the number of tensors of one hidden size per token that are live at a layer's
	// peak, on one card and with tensor parallelism, where the result of an all-reduce is one more.
	residuals, residualsTP int64

	sampler   float64 // bytes per logit at the sampler's peak
	workspace int64   // further bytes of the sampler
	outside   int64   // bytes outside PyTorch's allocator, on one card
	links     int64   // further bytes with tensor parallelism: NCCL's, and buffers of all-reduces
	rope      bool    // tables of rotary embeddings are counted separately
	graphs    bool    // CUDA graphs are counted
}

const mib = 1 << 20

// Bytes per logit while a sampler runs. A sampler that sorts holds the logits in 16 and in 32 bits
// (2 + 4), their sorted values (4) and indices (8), and 20 more in the sort; 38.3 were measured. One
// that does not sort holds the logits in both formats, the probabilities (4) and the random numbers
// by which they are divided (4).
const (
	SortingSampler   = 38.3
	ThresholdSampler = 14
)

// profilings returns the figures of all engines, within each family in the order of versions.
func profilings() []profiling {
	return []profiling{
		{engine: KVCompress, since: [3]int{-1}, reserve: activationReserve, residuals: 2, residualsTP: 2, sampler: SortingSampler, outside: fixedBytes},
		{engine: VLLM06, reserve: activationReserve, residuals: 2, residualsTP: 2, sampler: SortingSampler, outside: fixedBytes},
		{engine: VLLM063, since: [3]int{0, 6, 3}, reserve: 1, residuals: 3, residualsTP: 4, sampler: SortingSampler, outside: 420 * mib, links: 490 * mib, rope: true},
		{engine: VLLM07, since: [3]int{0, 7, 0}, reserve: 1, residuals: 3, residualsTP: 4, sampler: SortingSampler, outside: 200 * mib, links: 490 * mib, rope: true},
		{engine: VLLMV1First, v1: true, reserve: 1, residuals: 3, residualsTP: 4, sampler: SortingSampler, outside: 600 * mib, links: 490 * mib, rope: true},
		{engine: VLLMV1, v1: true, since: [3]int{0, 9, 2}, reserve: 1, residuals: 3, residualsTP: 4, sampler: SortingSampler, outside: 135 * mib, links: 490 * mib, rope: true},
		{engine: VLLMV1Next, v1: true, since: [3]int{0, 17, 0}, reserve: 1, residuals: 3, residualsTP: 4, sampler: ThresholdSampler, workspace: 80 * mib, outside: 655 * mib, links: 490 * mib, rope: true},
		{engine: VLLMV1Last, v1: true, since: [3]int{0, 21, 0}, reserve: 1, residuals: 3, residualsTP: 4, sampler: ThresholdSampler, workspace: 80 * mib, outside: 655 * mib, links: 490 * mib, rope: true, graphs: true},
	}
}

// Engines returns the engines by name.
func Engines() []Engine {
	var list []Engine
	for _, p := range profilings() {
		list = append(list, p.engine)
	}
	return list
}

// Scheduler returns the server's scheduler. Several engines share one.
func (e Engine) Scheduler() sim.Scheduler {
	switch p := e.profiling(); {
	case e == KVCompress:
		return sim.KVCompressServer
	case p.v1:
		return sim.VLLMV1
	}
	return sim.VLLM06
}

// Valid reports whether the engine is one of [Engines].
func (e Engine) Valid() bool { return slices.Contains(Engines(), e) }

// profiling returns the figures of an engine; zeros if it is unknown, which Validate refuses.
func (e Engine) profiling() profiling {
	for _, p := range profilings() {
		if p.engine == e {
			return p
		}
	}
	return profiling{}
}

// EngineOf returns the engine of a version of vLLM, such as 0.6.3, v0.11, 0.8.5.post1 or "0.7 V1". From
// 0.8 on it is V1 unless the text says "V0". A version without its last number stands for the latest: 0.6
// is 0.6.6. "" is [VLLMV1].
func EngineOf(version string) (Engine, error) {
	if strings.TrimSpace(version) == "" {
		return VLLMV1, nil
	}
	number, v1, err := parseVersion(version)
	if err != nil {
		return "", err
	}
	var of Engine
	for _, p := range profilings() {
		if p.engine != KVCompress && p.v1 == v1 && slices.Compare(p.since[:], number[:]) <= 0 {
			of = p.engine
		}
	}
	return of, nil
}

// ReservesFull reports whether a version of vLLM, as [EngineOf] reads it, admits a request
// only when its whole prompt fits: V1 from 0.20.
func ReservesFull(version string) bool {
	number, v1, err := parseVersion(version)
	return err == nil && v1 && slices.Compare(number[:], []int{0, 20, 0}) >= 0
}

// versionForm is the form of vLLM's versions: two to four numbers, and then what kind of release or build
// it is, as in 0.6.3.post1, 0.11.1rc2.dev3+cu129.
var versionForm = regexp.MustCompile(`^v?(\d+)\.(\d+)(?:\.(\d+))?(?:\.\d+)?(?:[.-]?(?:a|b|rc|post|dev)\d*)*(?:\+[\w.]+)?$`)

// parseVersion reads a version of vLLM, and whether its engine is V1.
func parseVersion(version string) (number [3]int, v1 bool, err error) {
	bad := fmt.Errorf("version %.40q of vLLM: want one such as 0.6.3, 0.11, 0.8.5.post1 or \"0.7 V1\"", version)
	words := strings.Fields(strings.ToLower(version))
	if len(words) == 0 || len(words) > 2 {
		return number, false, bad
	}
	parts := versionForm.FindStringSubmatch(words[0])
	if parts == nil {
		return number, false, bad
	}
	number[2] = 1 << 30
	for i, s := range parts[1:] {
		if s == "" {
			continue
		}
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return number, false, bad
		}
		number[i] = int(n)
	}
	v1 = slices.Compare(number[:], []int{0, 8, 0}) >= 0
	if len(words) == 2 {
		if v1 = words[1] == "v1"; !v1 && words[1] != "v0" {
			return number, false, bad
		}
	}
	return number, v1, nil
}

// Server returns the engine of a deployment: d.Engine, or if that is empty KV-Compress's server with
// compression and vLLM V1 without.
func (d *Deployment) Server() Engine {
	switch {
	case d.Engine != "":
		return d.Engine
	case d.Compresses():
		return KVCompress
	}
	return VLLMV1
}

// captureSizes returns the number of batch sizes up to largest for which a server captures a CUDA
// graph: 1, 2, 4, then multiples of 8 up to 256 and multiples of 16 up to 512.
func captureSizes(largest int) (n int64) {
	for size := 1; size <= min(largest, 512); {
		n++
		switch {
		case size < 8:
			size *= 2
		case size < 256:
			size += 8
		default:
			size += 16
		}
	}
	return n
}

// graphBytes is the least number of bytes that an engine counts for each further CUDA graph.
const graphBytes = mib

// graphs returns the bytes that an engine keeps free for CUDA graphs: those of decode steps with up
// to max_num_seqs sequences, and those of mixed steps with up to twice as many tokens.
func (d *Deployment) graphs(p *profiling) int64 {
	if !p.graphs {
		return 0
	}
	return graphBytes * (captureSizes(2*d.MaxSeqs) - 1 + captureSizes(d.MaxSeqs) - 1)
}
