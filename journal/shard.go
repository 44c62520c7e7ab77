package journal

import (
	"fmt"
	"strconv"
	"strings"
)

// Shard is one of N equal parts of a job: every N-th item from item I on.
type Shard struct{ I, N int }

// MaxShards bounds N.
const MaxShards = 100_000

// Whole is a job that is not divided.
func Whole() Shard { return Shard{0, 1} }

// ParseShard reads I/N, with I from 0 to N−1, or auto/N, or auto: then I is what
// Kubernetes gives the pods of an Indexed Job as JOB_COMPLETION_INDEX, or Slurm the
// tasks of an array as SLURM_ARRAY_TASK_ID; and N, where it is not said, Slurm's
// SLURM_ARRAY_TASK_COUNT.
func ParseShard(s string, getenv func(string) string) (Shard, error) {
	index, count, counted := strings.Cut(s, "/")
	least := 0
	if index == "auto" {
		switch {
		case getenv("JOB_COMPLETION_INDEX") != "":
			index = getenv("JOB_COMPLETION_INDEX")
			if !counted {
				return Shard{}, fmt.Errorf("shard %q: Kubernetes does not say how many there are: want auto/N, with N the job's completions", s)
			}
		case getenv("SLURM_ARRAY_TASK_ID") != "":
			index = getenv("SLURM_ARRAY_TASK_ID")
			if !counted {
				count = getenv("SLURM_ARRAY_TASK_COUNT")
			}
			if first := getenv("SLURM_ARRAY_TASK_MIN"); first != "" {
				var err error
				if least, err = strconv.Atoi(first); err != nil {
					return Shard{}, fmt.Errorf("shard: SLURM_ARRAY_TASK_MIN is %.20q", first)
				}
			}
		default:
			return Shard{}, fmt.Errorf("shard %q: neither JOB_COMPLETION_INDEX nor SLURM_ARRAY_TASK_ID is set", s)
		}
	}
	i, err1 := strconv.Atoi(index)
	n, err2 := strconv.Atoi(count)
	if i -= least; err1 != nil || err2 != nil || n < 1 || n > MaxShards || i < 0 || i >= n {
		return Shard{}, fmt.Errorf("shard %.20s of %.20s: want I/N with I from 0 to N-1 and N at most %d", index, count, MaxShards)
	}
	return Shard{i, n}, nil
}

// Indices returns the shard's part of n items.
func (s Shard) Indices(n int) []int {
	var part []int
	for i := s.I; i < n; i += s.N {
		part = append(part, i)
	}
	return part
}

// String writes the shard so that ParseShard reads it.
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.I, s.N) }

// FileName is what the shard's results are called in the job's folder. name is the job's
// kind.
func (s Shard) FileName(name string) string {
	if s.N == 1 {
		return name + ".jsonl"
	}
	width := len(strconv.Itoa(s.N - 1))
	return fmt.Sprintf("shard-%0*d-of-%d.jsonl", width, s.I, s.N)
}
