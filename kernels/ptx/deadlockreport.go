package ptx

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"kvcompress/internal/cxx"
	"kvcompress/internal/words"
)

// What the report of a deadlock says.

// reason is why some lanes do not go on.
type reason struct {
	block   *block
	warps   []int // for which it is the same
	lanes   uint32
	text    string
	barrier bool // they wait at a barrier of the block, for others
	report  *Report
}

// mostReasons bounds the reasons that are told apart.
const mostReasons = 1000

// deadlock reports that all warps of some blocks wait: at a barrier, or idle.
func (l *launch) deadlock(blocks []*block) error {
	var all []reason
	first, global := -1, false
	for _, b := range blocks {
		if l.cooperative && l.checks != nil {
			l.checks.enter(b)
		}
		for i := range b.warps {
			if b.warps[i].live == 0 || len(all) >= mostReasons {
				continue
			}
			reasons, err := b.warps[i].reasons()
			if err != nil {
				return err
			}
			for _, one := range reasons {
				global = global || one.report.Space == spaceGlobal.String()
				n := slices.IndexFunc(all, func(o reason) bool { return o.block == b && o.lanes == one.lanes && o.text == one.text })
				if n < 0 {
					n, all = len(all), append(all, one)
				}
				all[n].warps = append(all[n].warps, i)
				if first < 0 || all[first].barrier && !one.barrier {
					first = n
				}
			}
		}
	}
	const most = 8
	var parts []string
	for i, one := range all {
		if i == most {
			atLeast := ""
			if len(all) >= mostReasons {
				atLeast = "at least "
			}
			parts = append(parts, fmt.Sprintf("and so on, %s%s in all", atLeast, words.Count(len(all), "wait")))
			break
		}
		of := ""
		if len(blocks) > 1 {
			of = " of block " + coordinates(one.block.index)
		}
		parts = append(parts, fmt.Sprintf("lanes %#x of %s%s %s", one.lanes, warpList(one.warps), of, one.text))
	}
	r := all[first].report
	r.Detail = "no thread can make progress any more: " + strings.Join(parts, "; ")
	if global {
		r.Detail += l.laterBlock()
	}
	return l.foundFatal(r)
}

// warpList is "warp 3" or "warps 0 to 2, 5".
func warpList(warps []int) string {
	var parts []string
	for i := 0; i < len(warps); {
		end := i
		for end+1 < len(warps) && warps[end+1] == warps[end]+1 {
			end++
		}
		if end == i {
			parts = append(parts, fmt.Sprint(warps[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d to %d", warps[i], warps[end]))
		}
		i = end + 1
	}
	return words.Noun(len(warps), "warp") + " " + strings.Join(parts, ", ")
}

// reasons returns why a warp waits.
func (w *warp) reasons() ([]reason, error) {
	b, code := w.block, w.block.launch.entry.code
	if w.waiting >= 0 {
		r := w.report(Deadlock, &code[w.pc-1], w.active)
		return []reason{{block: b, lanes: w.active, report: r, barrier: true, text: fmt.Sprintf("wait at %s at %s", w.barrierName(), r.place())}}, nil
	}
	waits, err := w.waits()
	if err != nil {
		return nil, err
	}
	others := ""
	if rest := w.live &^ w.active; rest != 0 {
		others = fmt.Sprintf(" (lanes %#x wait for them to reconverge; here the lanes of a warp do not run independently)", rest)
	}
	best := waitWeak
	for _, one := range waits {
		best = max(best, one.kind())
	}
	var list []reason
	for _, one := range waits {
		if one.kind() != best {
			continue
		}
		for rest := one.lanes; rest != 0 && len(list) < mostReasons; {
			at, lanes := one.at[bits.TrailingZeros32(rest)&31], uint32(0)
			for g := rest; g != 0; g &= g - 1 {
				if lane := bits.TrailingZeros32(g) & 31; one.at[lane] == at {
					lanes |= 1 << lane
				}
			}
			rest &^= lanes
			r := w.report(Deadlock, one.in, lanes)
			text := one.describe(w, r, at) + others
			if !slices.ContainsFunc(list, func(o reason) bool { return o.lanes == lanes && o.text == text }) {
				list = append(list, reason{block: b, lanes: lanes, report: r, text: text})
			}
		}
	}
	if list == nil {
		r := w.report(Deadlock, &code[w.pc], w.active)
		list = []reason{{block: b, lanes: w.active, report: r, text: "repeat a loop that reads no memory at " + r.place() + others}}
	}
	return list, nil
}

// A loop waits for the last of these that it has an instruction for.
const (
	waitWeak = iota // a weak load
	waitStrong
	waitMbarrier
)

func (one *wait) kind() int {
	switch {
	case one.in.mbarrier != nil:
		return waitMbarrier
	case one.in.mem.kind == accessAtomic || one.in.mem.sem != semWeak:
		return waitStrong
	}
	return waitWeak
}

// describe says what lanes wait for at an address, and completes their report.
func (one *wait) describe(w *warp, r *Report, at uint64) string {
	l, m := w.block.launch, one.in.mem
	if one.in.mbarrier != nil {
		m = &one.in.mbarrier.mem
	}
	sp := m.space
	if sp == spaceGeneric {
		if sp = spaceOfAddress(at); sp == spaceShared {
			at -= sharedBase
		}
	}
	r.Space, r.Address, r.Size = sp.String(), at, int(m.size)
	var mem []byte
	what := fmt.Sprintf("%#x of %v memory", at, sp)
	if sp == spaceShared {
		r.Extent = int64(len(w.block.shared))
		if at < uint64(len(w.block.shared)) {
			mem = w.block.shared[at:]
		}
		if v, lo, size := l.sharedVariable(at); v != nil {
			r.Allocation, r.Extent, r.Offset = cxx.Variable(v.name), int64(size), int64(at-lo)
		}
	} else if a := l.device.mem.find(at); a != nil {
		r.Allocation, r.Extent, r.Offset = a.name, int64(a.size), int64(at-a.base)
		mem = a.mem[r.Offset:]
	}
	if r.Allocation != "" {
		what = fmt.Sprintf("%q+%d (%s)", r.Allocation, r.Offset, what)
	}
	if len(mem) < int(m.size) { // out of bounds, which has been reported
		return fmt.Sprintf("wait at %s for what is at %s", r.place(), what)
	}
	if one.in.mbarrier != nil {
		state := unpackMbarrier(binary.LittleEndian.Uint64(mem))
		return fmt.Sprintf("wait at %s for the mbarrier %s: %s", r.place(), what, state.lacks(w.block, at))
	}
	value := slices.Clone(mem[:m.size])
	slices.Reverse(value)
	return fmt.Sprintf("wait at %s for another value of %s than 0x%x", r.place(), what, value)
}

// lacks says what the phase of a block's barrier still needs.
func (s mbarrierState) lacks(b *block, bar uint64) string {
	if s == (mbarrierState{}) {
		return "it is not initialized"
	}
	text := fmt.Sprintf("in the phase of parity %d, ", s.phase&1)
	if s.pending <= s.expected {
		text += fmt.Sprintf("%s of %s came", words.Number(s.expected-s.pending), words.Count(s.expected, "arrival"))
	} else {
		text += fmt.Sprintf("%s are pending, and a phase expects %s", words.Count(s.pending, "arrival"), words.Number(s.expected))
	}
	if n := b.issuedArrivals(bar); n > 0 {
		text += fmt.Sprintf(", %s more will with copies", words.Number(n))
	}
	if s.tx != 0 {
		text += fmt.Sprintf(", and %s of bulk copies are expected, with %s issued", words.Count(s.tx, "byte"), words.Number(b.issuedBytes(bar)))
	}
	return text
}

// sharedVariable returns the variable of shared memory at an offset, with its own offset and its size.
func (l *launch) sharedVariable(at uint64) (v *variable, lo, size uint64) {
	e := l.entry
	for one, from := range e.placed {
		n := uint64(one.size)
		if one.space != spaceShared {
			continue
		}
		if one.extern {
			from, n = uint64(e.dynamicAt), uint64(l.shared)
		}
		if at-from < n && (v == nil || one.name < v.name) { // dynamic memory may have several names
			v, lo, size = one, from, n
		}
	}
	return v, lo, size
}
