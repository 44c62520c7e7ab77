package sim

import (
	"fmt"
	"slices"

	"kvcompress/internal/ceil"
)

// Layout is what a sequence holds in the cache of a model with layers of several kinds. The zero value is
// no layout: every head of the shape holds every token.
type Layout struct {
	Full     int // number of heads that hold every token
	Windowed int // number of heads that hold the last Window tokens
	Window   int // most tokens that a windowed head holds and reads
	Fixed    int // blocks of a sequence of any length: the states of linear-time layers

	// Group is the number of heads in each of the groups of layers into which vLLM V1 divides a model without
	// states: a block of V1 is one block of each. 0 if there are no such groups.
	Group        int
	WindowsFirst bool // V1's first groups are those with windows
}

// maxWindow bounds a window, so that no sum overflows.
const maxWindow = 1 << 30

// Validate returns an error if a number is negative or too large, or if all are 0.
func (l Layout) Validate() error {
	switch {
	case l.Full < 0 || l.Windowed < 0 || l.Fixed < 0 || l.Full+l.Windowed+l.Fixed == 0:
		return fmt.Errorf("sim: layout: %d heads, %d windowed heads and %d fixed blocks: want none negative, and at least one", l.Full, l.Windowed, l.Fixed)
	case l.Full > MaxLedgerHeads || l.Windowed > MaxLedgerHeads || l.Fixed > MaxLedgerBlocks:
		return fmt.Errorf("sim: layout: more than %d heads, or %d fixed blocks", MaxLedgerHeads, MaxLedgerBlocks)
	case l.Group < 0 || l.Group > 0 && (l.Full%l.Group != 0 || l.Windowed%l.Group != 0 || l.Fixed > 0):
		return fmt.Errorf("sim: layout: groups of %d heads: want %d and %d heads to be multiples of it, and no states", l.Group, l.Full, l.Windowed)
	case l.Group > 0 && l.Windowed == 0 && l.Full > l.Group:
		return fmt.Errorf("sim: layout: groups of %d heads of %d that all hold every token: want one group", l.Group, l.Full)
	case l.Windowed > 0 && (l.Window < 1 || l.Window > maxWindow):
		return fmt.Errorf("sim: layout: a window of %d tokens is not from 1 to %d", l.Window, maxWindow)
	}
	return nil
}

// Lay sets the layout by which the ledger counts. A windowed head of n tokens holds the last
// min(n, Window) KVs in a ring of ⌈min(n, Window)/B⌉ blocks, as in vLLM 0.6's block manager. vLLM V1
// counts the blocks of groups of layers itself: see blockPool.
//
// It is an error for a ledger whose method compresses, and for one in use.
func (l *Ledger) Lay(layout Layout) error {
	if err := layout.Validate(); err != nil {
		return err
	}
	switch {
	case l.cfg.Compresses() || l.selection != nil:
		return fmt.Errorf("sim: layout: method %s is defined for models whose layers all hold every token", l.method.Name())
	case l.prefixes != nil:
		return fmt.Errorf("sim: layout: prefix caching is not modelled for layers with windows or states")
	case l.seqs.len() > 0:
		return fmt.Errorf("sim: layout: the ledger is in use")
	}
	l.full, l.fixed = layout.Full, layout.Fixed
	l.windows = windows{heads: layout.Windowed, size: layout.Window}
	l.unit, l.groups = layout.Group, layout.groups()
	return nil
}

// groups returns the window of each of V1's groups of layers, 0 for none; nil if there are no groups.
func (l *Layout) groups() []int {
	if l.Group == 0 {
		return nil
	}
	full, windowed := make([]int, l.Full/l.Group), slices.Repeat([]int{l.Window}, l.Windowed/l.Group)
	if l.WindowsFirst {
		return append(windowed, full...)
	}
	return append(full, windowed...)
}

// alike reports whether all layers hold every token.
func (l *Ledger) alike() bool { return l.full == l.heads && l.windows.heads == 0 && l.fixed == 0 }

// windows counts the windowed heads of all sequences. All windowed heads of a sequence have the same
// length, so one of them is counted for all. The windows of a sequence are full when it has size tokens
// or more. The base of a sequence is its number of tokens less the number of decode steps so far, which
// does not change while it decodes.
type windows struct {
	heads int // windowed heads of a sequence
	size  int // tokens of a window

	filling []int     // bases of the sequences whose windows are not full, ascending: the last is the first to be full
	full    int       // number of sequences whose windows are full
	kvs     int       // KVs in the filling windows, at the current step
	blocks  int       // blocks of the filling windows, at the current step
	phases  [maxB]int // number of filling windows, by base modulo B

	seqs int       // number of sequences
	all  [maxB]int // the same by base modulo B
}

// window returns the number of KVs that a windowed head holds after n tokens.
func (w *windows) window(n int) int { return min(n, w.size) }

// enter adds a sequence of base + steps tokens, or removes it if sign is −1.
func (w *windows) enter(base, steps, b, sign int) {
	n := base + steps
	if w.heads == 0 {
		return
	}
	w.seqs += sign
	w.all[base&(b-1)] += sign
	if n >= w.size {
		w.full += sign
		return
	}
	at, _ := slices.BinarySearch(w.filling, base)
	if sign > 0 {
		w.filling = slices.Insert(w.filling, at, base)
	} else {
		w.filling = slices.Delete(w.filling, at, at+1)
	}
	w.kvs += sign * n
	w.blocks += sign * ceil.Div(n, b)
	w.phases[base&(b-1)] += sign
}

// windowWork is the work of decode steps in the windowed heads of all sequences.
type windowWork struct {
	need   int   // blocks taken
	kvs    int64 // KVs read
	blocks int64 // blocks read
}

// ahead returns the result of advance without changing w. A shallow copy is enough, since advance only
// shortens filling at its end.
func (w *windows) ahead(now, steps, b int) windowWork {
	c := *w
	return c.advance(now, steps, b)
}

// advance takes the next decode steps, after now steps.
func (w *windows) advance(now, steps, b int) (done windowWork) {
	if w.heads == 0 {
		return done
	}
	for steps > 0 {
		k := steps
		if n := len(w.filling); n > 0 {
			k = min(k, w.size-w.filling[n-1]-now) // until the first is full
		}
		growing := len(w.filling)
		kvs, blocks := readSteps(w.kvs, w.blocks, growing, &w.phases, now, k, b)
		done.kvs += kvs + int64(k)*int64(w.full)*int64(w.size)
		done.blocks += blocks + int64(k)*int64(w.full)*int64(ceil.Div(w.size, b))
		need := crossings(&w.phases, growing, b, now, k)
		done.need += need
		w.kvs += k * growing
		w.blocks += need
		now, steps = now+k, steps-k
		for n := len(w.filling); n > 0 && w.filling[n-1]+now == w.size; n-- {
			w.phases[w.filling[n-1]&(b-1)]--
			w.filling = w.filling[:n-1]
			w.full++
			w.kvs -= w.size
			w.blocks -= ceil.Div(w.size, b)
		}
	}
	done.need *= w.heads
	done.kvs *= int64(w.heads)
	done.blocks *= int64(w.heads)
	return done
}

// held returns the numbers of KVs and blocks that the windowed heads of all sequences hold.
func (w *windows) held(b int) (kvs, blocks int) {
	if w.heads == 0 {
		return 0, 0
	}
	return w.heads * (w.kvs + w.full*w.size), w.heads * (w.blocks + w.full*ceil.Div(w.size, b))
}

// Experts is a mixture of experts.
type Experts struct {
	Total  int // experts of a layer, E
	Active int // experts to which a token is routed, k
}

// ExpertUnit is the number of units of [ExpertsRead] that one expert counts.
const ExpertUnit = 1 << 10

// Read returns the expected number of experts of a layer that a step of this many tokens reads, in units
// of 1/ExpertUnit: E·(1 − (1 − k/E)^tokens), as if each token were routed to k random experts of E.
func (e Experts) Read(tokens int) int64 {
	if e.Total == 0 {
		return 0
	}
	missed, base := 1.0, float64(e.Total-e.Active)/float64(e.Total)
	for n := tokens; n > 0; n >>= 1 { // the power by products only, so that it is the same on every platform
		if n&1 == 1 {
			missed *= base
		}
		base *= base
	}
	return int64(float64(ExpertUnit*e.Total)*(1-missed) + 0.5)
}

// windowPairs returns the number of (query, key) pairs of the tokens from < i ≤ to, each of which
// attends to the last window tokens; 0 without a window.
func windowPairs(from, to, window int64) int64 {
	if window == 0 {
		return 0
	}
	upTo := func(n int64) int64 {
		full := max(0, n-window)
		return full*window + sumUpTo(n-full)
	}
	return upTo(to) - upTo(from)
}
