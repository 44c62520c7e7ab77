package sim

import (
	"iter"

	"kvcompress/kv"
)

// accounts is a hash table of accounts by sequence id, with chains. A server numbers its sequences in
// order of arrival, so chains are short.
type accounts struct {
	chains []*account // the length is a power of two
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

// add adds the account of a sequence that has none.
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

// remove removes an account that is in the table.
func (t *accounts) remove(a *account) {
	at := t.chain(a.id)
	for *at != a {
		at = &(*at).link
	}
	*at, a.link = a.link, nil
	t.n--
}

func (t *accounts) chain(id kv.SeqID) **account { return &t.chains[uint32(id)&uint32(len(t.chains)-1)] }

// all yields the accounts, in no particular order.
func (t *accounts) all() iter.Seq[*account] {
	return func(yield func(*account) bool) {
		for _, a := range t.chains {
			for a != nil {
				next := a.link // yield may change a.link
				if !yield(a) {
					return
				}
				a = next
			}
		}
	}
}
