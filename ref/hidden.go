package ref

import (
	"slices"

	"kvcompress/kv"
)

// Masker is a method whose plans have only Mask edits: it hides KVs from queries and frees nothing. Asks
// counts the KVs to hide. At least one KV of every head must stay visible.
type Masker interface {
	Method

	// Hidden is the index of a column of width 1: a KV is hidden if its number is not 0. The engine writes
	// it.
	Hidden() int

	// HidesNew reports whether a new KV is hidden, from its own query and until the next plan, when it enters
	// a head that holds held KVs, in a sequence whose prompt has prompt tokens.
	HidesNew(prompt, held int) bool

	// Hiding returns what a compression hides, as a ranking. It depends on Counts alone.
	Hiding(Counts) Hiding
}

// Hiding is the plan of a [Masker] for an engine that has no View. The KVs that the ranking evicts are
// hidden, and all others become visible. The ranking is ByScore with Unit 1; of its other fields only Window
// and Quotas are set. Scores are not negative.
type Hiding struct {
	Ranking
	Stay int // hidden KVs at positions below Stay cost less than all other KVs
	Also int // how many of the window's KVs are also hidden, oldest first
}

// Edit returns the edit of a head that holds held KVs, given the KVs that the ranking evicts.
func (m *Hiding) Edit(head, held int, kvs []int32) Edit {
	kvs = slices.Clone(kvs)
	for i := range m.Also {
		kvs = append(kvs, int32(held-m.Window+i))
	}
	return Edit{Op: Mask, Head: head, KVs: kvs}
}

// hide carries out a Mask edit.
func (e *Engine) hide(h *kv.Head, kvs []int32) {
	column := e.cache.Data[e.masker.Hidden()]
	for i := range h.Len {
		column[e.cache.Slot(h, i)] = 0
	}
	for _, i := range kvs {
		column[e.cache.Slot(h, int(i))] = 1
	}
}

// hiddenOf returns which KVs of a head are hidden, in logical order; nil if the method hides nothing. It may
// reuse flags.
func (e *Engine) hiddenOf(flags []bool, h *kv.Head) []bool {
	if e.masker == nil {
		return nil
	}
	column := e.cache.Data[e.masker.Hidden()]
	flags = flags[:0]
	for i := range h.Len {
		flags = append(flags, column[e.cache.Slot(h, i)] != 0)
	}
	return flags
}
