package sim

import (
	"fmt"
	"strings"
	"testing"

	"kvcompress/trace"
)

// TestVLLM06 compares with schedules worked out by hand, with blocks of 4 tokens of both heads.
func TestVLLM06(t *testing.T) {
	limits := Limits{MaxNumSeqs: 10, MaxNumBatchedTokens: 100}
	for _, c := range []struct {
		name     string
		blocks   int // of vLLM
		chunked  bool
		change   func(*Limits)
		requests []trace.Request
		want     string
	}{
		{
			// Neither sequence needs a block for its next token, but each has to find a free one in turn.
			name: "a free block for every running sequence", blocks: 4,
			requests: requests([3]int{0, 5, 2}, [3]int{0, 5, 2}),
			want:     "0:5 1:5, -1 0:1, 1:6",
		}, {
			name: "it is enough that the last one finds it", blocks: 5,
			requests: requests([3]int{0, 5, 2}, [3]int{0, 5, 2}),
			want:     "0:5 1:5, 0:1 1:1",
		}, {
			// The first sequence takes the free block.
			name: "unless one before takes it", blocks: 4,
			requests: requests([3]int{0, 4, 2}, [3]int{0, 5, 2}),
			want:     "0:4 1:5, -1 0:1, 1:6",
		}, {
			name: "the preempted comes back at once", blocks: 6,
			requests: requests([3]int{0, 8, 6}, [3]int{0, 8, 2}),
			want:     "0:8 1:8, 0:1 1:1, 0:1, 0:1, 0:1, 0:1",
		}, {
			name: "or waits until a sequence finishes", blocks: 4, change: func(l *Limits) { l.HoldAfterPreemption = true },
			requests: requests([3]int{0, 5, 3}, [3]int{0, 5, 2}, [3]int{0, 1, 1}),
			want:     "0:5 1:5, -1 0:1, 0:1, 1:6 2:1",
		}, {
			name: "a sequence that fills the cache preempts itself", blocks: 2,
			requests: requests([3]int{0, 7, 3}),
			want:     "0:7, -0, 0:8, -0, refused 0",
		}, {
			name: "one that has outgrown a batch", blocks: 6, change: func(l *Limits) { l.MaxNumBatchedTokens = 8 },
			requests: requests([3]int{0, 8, 6}, [3]int{0, 8, 6}),
			want:     "0:8, 1:8, 0:1 1:1, -1 0:1, 1:10, -1 0:1, 1:11, -1 0:1, 1:12, -1 0:1, 1:13",
		}, {
			name: "is dropped", blocks: 6, change: func(l *Limits) { l.MaxNumBatchedTokens, l.DropOutgrown = 8, true },
			requests: requests([3]int{0, 8, 6}, [3]int{0, 8, 6}),
			want:     "0:8, 1:8, 0:1 1:1, -1 0:1, 0:1 refused 1, 0:1, 0:1",
		}, {
			name: "max_model_len", blocks: 100, change: func(l *Limits) { l.MaxModelLen = 6 },
			requests: requests([3]int{0, 5, 2}, [3]int{0, 5, 1}),
			want:     "1:5 refused 0",
		}, {
			// The third is admitted in the step that preempts the second, which waits behind it.
			name: "chunks: admission in the step that preempts", blocks: 5, chunked: true,
			requests: requests([3]int{0, 8, 3}, [3]int{0, 8, 2}, [3]int{1, 3, 1}),
			want:     "0:8 1:8, -1 2:3 0:1, 0:1, 1:9",
		}, {
			name: "chunks: what decodes is taken off the budget", blocks: 100, chunked: true, change: func(l *Limits) { l.MaxNumBatchedTokens = 10 },
			requests: requests([3]int{0, 8, 4}, [3]int{0, 12, 1}),
			want:     "0:8 1:2, 1:9 0:1, 1:1 0:1, 0:1",
		}, {
			// Alone it would take every block, and then find none free for its next chunk.
			name: "chunks: a prompt of the whole cache", blocks: 5, chunked: true, change: func(l *Limits) { l.MaxNumBatchedTokens = 10 },
			requests: requests([3]int{0, 17, 1}, [3]int{0, 16, 1}),
			want:     "1:10 refused 0, 1:6",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := twoHeads(4 * c.blocks)
			cfg.Blocks++ // which is in no block of vLLM
			ledger, err := NewLedger(&cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			limits := limits
			if c.change != nil {
				c.change(&limits)
			}
			s, err := NewServer(ledger, &cfg, Schedule{}, limits, c.requests, nil)
			if err == nil && c.chunked {
				err = s.ChunkPrefills()
			} else if err == nil {
				err = s.UseVLLM06()
			}
			if err != nil {
				t.Fatal(err)
			}
			s.Batch = true
			var steps []string
			var step Step
			for range 100 {
				more, err := s.Next(&step)
				if err != nil {
					t.Fatal(err)
				}
				if text := describe(&step); text != "" {
					steps = append(steps, text)
				}
				if !more {
					break
				}
			}
			if got := strings.Join(steps, ", "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if err := ledger.audit(); err != nil || ledger.Free() != cfg.Blocks {
				t.Errorf("%d of %d blocks are free in the end; %v", ledger.Free(), cfg.Blocks, err)
			}
		})
	}
}

// describe lists what a step computes, preempts and refuses.
func describe(s *Step) string {
	var parts []string
	for _, id := range s.Preempted {
		parts = append(parts, fmt.Sprintf("-%d", id))
	}
	for _, c := range s.Scheduled {
		parts = append(parts, fmt.Sprintf("%d:%d", c.Seq, c.Tokens))
	}
	for _, id := range s.Refused {
		parts = append(parts, fmt.Sprintf("refused %d", id))
	}
	return strings.Join(parts, " ")
}
