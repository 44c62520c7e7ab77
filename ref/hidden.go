package ref

import (
	"slices"

	"kvcompress/kv"
)

// Masker is a method that hides KVs from queries by Mask edits, and does nothing else.
// Nothing comes free: what its plans ask for is how many KVs they hide. At least one KV of a
// head must always be seen.
type Masker interface {
	Method

	// Hidden is the column, of width 1, that says which KVs are hidden: those whose number
	// is not 0. The engine writes it.
	Hidden() int

	// HidesNew reports whether a KV is hidden from its own query, and until the next plan,
	// when it enters a head that holds held KVs, of a sequence with a prompt of prompt tokens.
	HidesNew(prompt, held int) bool

	// Hiding says what a compression hides, by a ranking. It depends on counts alone.
	Hiding(Counts) Hiding
}

// Hiding is the plan of a [Masker], as an engine makes it that has no View: the KVs that a
// ranking evicts are hidden, in place of those that were. The ranking is by score, which no
// KV has below 0, and window and quotas are all that it has beside.
type Hiding struct {
	Ranking
	Stay int // of KVs that are hidden, those of lower positions cost less than all others
	Also int // how many of the window's KVs are hidden too, oldest first
}

// Edit returns the edit of a head that holds held KVs, of which the ranking evicts kvs.
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

// hiddenOf returns which KVs of a head are hidden, in logical order, nil if the method
// hides nothing; it may use flags again.
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
