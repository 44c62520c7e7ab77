package sim

import (
	"iter"

	"kvcompress/kv"
)

// accounts are the accounts of sequences by their ids: a table of short chains. A server
// numbers its sequences as they arrive, so those that are there fall into places of their own.
type accounts struct {
	chains []*account // a power of two of them
	n      int
}

func (t *accounts) len() int { return t.n }

// of returns the account of a sequence; nil if it has none.
func (t *accounts) of(id kv.SeqID) *account {
	if t.n == 0 {
		return nil
	}
	a := *t.chain(id)
	for a != nil && a.id != id {
		a = a.link
	}
	return a
}

// add takes in the account of a sequence that has none.
func (t *accounts) add(id kv.SeqID, a *account) {
	if t.n == len(t.chains) {
		old := *t
		t.chains = make([]*account, max(16, 2*len(old.chains)))
		for a := range old.all() {
			t.link(a)
		}
	}
	a.id = id
	t.link(a)
	t.n++
}

func (t *accounts) link(a *account) {
	at := t.chain(a.id)
	a.link, *at = *at, a
}

// remove takes out an account that is there.
func (t *accounts) remove(a *account) {
	at := t.chain(a.id)
	for *at != a {
		at = &(*at).link
	}
	*at, a.link = a.link, nil
	t.n--
}

func (t *accounts) chain(id kv.SeqID) **account { return &t.chains[uint32(id)&uint32(len(t.chains)-1)] }

// all goes over the accounts, in no order that matters.
func (t *accounts) all() iter.Seq[*account] {
	return func(yield func(*account) bool) {
		for _, a := range t.chains {
			for a != nil {
				next := a.link // a may be linked elsewhere
				if !yield(a) {
					return
				}
				a = next
			}
		}
	}
}
