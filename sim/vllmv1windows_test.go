package sim

import (
	"slices"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// windowRun serves requests on V1 with blocks of 4 tokens and a layout, and returns the number of blocks in use
// in each step, before finished sequences are released, and the results.
func windowRun(t *testing.T, layout Layout, v1 V1, blocks, batch int, reqs ...trace.Request) (used []int, results []Result) {
	t.Helper()
	cfg := ref.Default()
	cfg.Shape, cfg.Compression = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, ref.Compression{}
	cfg.BlockSize, cfg.Blocks = 4, blocks
	ledger, err := NewLedger(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Lay(layout); err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(ledger, &cfg, Schedule{}, Limits{MaxNumSeqs: 8, MaxNumBatchedTokens: batch}, reqs, FixedStepTime(1000))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.UseV1(v1); err != nil {
		t.Fatal(err)
	}
	for {
		step, err := s.Step()
		if err != nil {
			t.Fatal(err)
		}
		if step == nil {
			return used, s.Results()
		}
		used = append(used, step.Usage.Allocated)
	}
}

// TestWindowsHold compares the blocks of a single sequence with those counted by hand. With a window of 9 tokens, a
// token after n others reads those from n − 8 on.
func TestWindowsHold(t *testing.T) {
	used, _ := windowRun(t, Layout{Full: 1, Windowed: 1, Window: 9, Group: 1}, V1{}, 100, 8, trace.Request{PromptTokens: 20, OutputTokens: 10})
	want := []int{
		2 + 2, 4 + 4, // two chunks of 8 tokens: the token after 8 reads all
		5 + 3,                      // the token after 16 reads from 8 on: blocks 0 and 1 go, and block 4 is taken
		6 + 3, 6 + 3, 6 + 3, 6 + 3, // the token after 20: block 2 goes, and block 5 is taken
		7 + 3, 7 + 3, 7 + 3, 7 + 3, // after 24
		8 + 3, // after 28
	}
	if !slices.Equal(used, want) {
		t.Errorf("used %v, want %v", used, want)
	}
}

// TestWindowsShare has prefixes that are found, worked out by hand. A prefix of n blocks counts if the group with all
// tokens has its n blocks, and those with windows of 9 tokens have the last two.
func TestWindowsShare(t *testing.T) {
	prompt := func(at int64, tokens, output int, hashes ...uint64) trace.Request {
		return trace.Request{ArrivalNS: at, PromptTokens: tokens, OutputTokens: output, PrefixHashes: hashes}
	}
	for _, c := range []struct {
		name   string
		layout Layout
		blocks int
		reqs   []trace.Request
		cached []int // tokens of each request
	}{
		{"all blocks are free and found", Layout{Full: 1, Windowed: 1, Window: 9, Group: 1}, 40,
			[]trace.Request{prompt(0, 20, 1, 1, 2, 3, 4, 5), prompt(5000, 24, 1, 1, 2, 3, 4, 5)}, []int{0, 20}},
		{"a prompt's last token is computed", Layout{Full: 1, Windowed: 1, Window: 9, Group: 1}, 40,
			[]trace.Request{prompt(0, 20, 1, 1, 2, 3, 4, 5), prompt(5000, 20, 1, 1, 2, 3, 4, 5)}, []int{0, 16}},
		// The first request leaves 10 blocks. Those with windows come first in the pool, the last first; the second
		// request takes 4 and 3 of them. Of the third, windows have blocks 1 and 2, before block 3.
		{"the last blocks are taken", Layout{Full: 1, Windowed: 1, Window: 9, Group: 1, WindowsFirst: true}, 10,
			[]trace.Request{prompt(0, 20, 1, 1, 2, 3, 4, 5), prompt(5000, 4, 1, 9), prompt(9000, 20, 1, 1, 2, 3, 4, 5)}, []int{0, 0, 12}},
		// The second takes all of the windows' but block 0, which is a beginning.
		{"less than a window is left", Layout{Full: 1, Windowed: 1, Window: 9, Group: 1, WindowsFirst: true}, 10,
			[]trace.Request{prompt(0, 20, 1, 1, 2, 3, 4, 5), prompt(5000, 8, 1, 8, 9), prompt(9000, 20, 1, 1, 2, 3, 4, 5)}, []int{0, 0, 4}},
		{"no group has all tokens", Layout{Windowed: 1, Window: 9, Group: 1}, 5,
			[]trace.Request{prompt(0, 20, 1, 1, 2, 3, 4, 5), prompt(5000, 4, 1, 9), prompt(9000, 20, 1, 1, 2, 3, 4, 5)}, []int{0, 0, 16}},
		// When the second arrives, after 14 tokens of output, the first has decoded the token after 21 and its windows begin
		// with block 3. Blocks 0 and 1 are free and found.
		{"outside the window of their sequence", Layout{Full: 1, Windowed: 1, Window: 9, Group: 1}, 40,
			[]trace.Request{prompt(0, 8, 20, 1, 2), prompt(14000, 9, 1, 1, 2)}, []int{0, 8}},
		// The first needs all 10 blocks, so blocks 0 and 1 of its windows are taken again. The second waits for its end, and
		// finds them in the other group only.
		{"outside the window, and taken", Layout{Full: 1, Windowed: 1, Window: 9, Group: 1}, 10,
			[]trace.Request{prompt(0, 8, 20, 1, 2), prompt(14000, 9, 1, 1, 2)}, []int{0, 0}},
		// When the first computes the token after 12, block 0 of its windows is free. The second takes it and one that was never
		// full. The third needs blocks 1 and 2 of windows only.
		{"a window's last blocks are left", Layout{Full: 1, Windowed: 1, Window: 9, Group: 1}, 8,
			[]trace.Request{prompt(0, 12, 2, 1, 2, 3), prompt(5000, 3, 1), prompt(9000, 13, 1, 1, 2, 3)}, []int{0, 0, 12}},
		{"one of two groups with windows has lost a block", Layout{Full: 1, Windowed: 2, Window: 9, Group: 1, WindowsFirst: true}, 15,
			[]trace.Request{prompt(0, 20, 1, 1, 2, 3, 4, 5), prompt(5000, 4, 1, 9), prompt(9000, 20, 1, 1, 2, 3, 4, 5)}, []int{0, 0, 8}},
	} {
		_, results := windowRun(t, c.layout, DefaultV1(4), c.blocks, 100, c.reqs...)
		for i, r := range results {
			if r.Cached != c.cached[i] || r.Error != "" {
				t.Errorf("%s: %d tokens of request %d are cached, want %d (%s)", c.name, r.Cached, i, c.cached[i], r.Error)
			}
		}
	}
}

// TestWindowsReserve: a prompt is admitted if ⌈(8 + 8)/4⌉ + 1 blocks of its windows are free, for a window of 9 tokens and batches of 8,
// though no chunk of this one needs the last.
func TestWindowsReserve(t *testing.T) {
	for blocks, admitted := range map[int]bool{4: false, 5: true} {
		_, results := windowRun(t, Layout{Windowed: 1, Window: 9, Group: 1}, V1{ReserveFull: true}, blocks, 8, trace.Request{PromptTokens: 40, OutputTokens: 1})
		if got := results[0].Error == ""; got != admitted {
			t.Errorf("%d blocks: admitted %t, want %t (%s)", blocks, got, admitted, results[0].Error)
		}
	}
}
