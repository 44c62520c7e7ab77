package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
)

// plain is a slower and simpler ledger: a number for each head of each sequence, and sums that
// are computed when asked for.
type plain struct {
	cfg  ref.Config
	seqs map[kv.SeqID]*plainSeq
}

type plainSeq struct {
	tokens int
	heads  []int // KVs
}

func (p *plain) blocksOf(n int) int { return ceil.Div(n, p.cfg.BlockSize) }

func (p *plain) usage() kv.Usage {
	var u kv.Usage
	for _, s := range p.seqs {
		u.DenseKVs += s.tokens * len(s.heads)
		u.DenseBlocks += p.blocksOf(s.tokens) * len(s.heads)
		for _, n := range s.heads {
			u.KVs += n
			u.Allocated += p.blocksOf(n)
		}
	}
	u.Free = p.cfg.Blocks - u.Allocated
	u.Wasted = u.Allocated*p.cfg.BlockSize - u.KVs
	return u
}

func (p *plain) need(id kv.SeqID) (need int) {
	for _, n := range p.seqs[id].heads {
		if n%p.cfg.BlockSize == 0 {
			need++
		}
	}
	return need
}

func (p *plain) decode(batch []kv.SeqID) bool {
	need := 0
	for _, id := range batch {
		need += p.need(id)
	}
	if need > p.usage().Free {
		return false
	}
	for _, id := range batch {
		s := p.seqs[id]
		s.tokens++
		for i := range s.heads {
			s.heads[i]++
		}
	}
	return true
}

// compress takes the blocks one by one from the head that has most and can lose
// one, the first of equals.
func (p *plain) compress(id kv.SeqID) (asked, freed int) {
	s := p.seqs[id]
	kvs, blocks := 0, 0
	for _, n := range s.heads {
		kvs += n
		blocks += p.blocksOf(n)
	}
	protected := min(s.tokens, p.cfg.Compression.Sinks+p.cfg.Compression.ProtectedWindow)
	for _, q := range p.cfg.Quotas(p.cfg.Count(s.tokens, kvs, blocks)) {
		asked += q.Units
		for range q.Units {
			best := -1
			for i := q.First; i < q.First+q.Heads; i++ {
				n := s.heads[i]
				if last := n - (p.blocksOf(n)-1)*p.cfg.BlockSize; n == 0 || n-protected < last {
					continue // not all of the last block's KVs could be evicted
				}
				if best < 0 || p.blocksOf(n) > p.blocksOf(s.heads[best]) {
					best = i
				}
			}
			if best < 0 {
				break
			}
			s.heads[best] = (p.blocksOf(s.heads[best]) - 1) * p.cfg.BlockSize
			freed++
		}
	}
	return asked, freed
}

// TestLedgerIsItsTwin compares a ledger with a plain one after random operations.
func TestLedgerIsItsTwin(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 8))
		cfg, _, _, _, _ := randomServing(seed)
		cfg.Shape = kv.Shape{Layers: 1 + rng.IntN(3), KVHeads: 1 + rng.IntN(3), Group: 1, HeadSize: 8}
		cfg.Blocks = 1 + rng.IntN(3000)
		l, err := NewLedger(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := &plain{*cfg, map[kv.SeqID]*plainSeq{}}
		for op := range 300 {
			id := kv.SeqID(rng.IntN(6))
			_, here := p.seqs[id]
			switch what := rng.IntN(10); {
			case what == 0 || !here:
				n := 1 + rng.IntN(200)
				err := l.Prefill(id, n)
				fits := !here && p.blocksOf(n)*cfg.Shape.Layers*cfg.Shape.KVHeads <= p.usage().Free
				if (err == nil) != fits {
					t.Fatalf("seed %d, %d: prefill of %d: %v", seed, op, n, err)
				}
				if fits {
					p.seqs[id] = &plainSeq{n, slices.Repeat([]int{n}, cfg.Shape.Layers*cfg.Shape.KVHeads)}
				}
			case what == 1:
				if err := l.Release(id); err != nil {
					t.Fatal(err)
				}
				delete(p.seqs, id)
			case what == 2:
				c, err := l.Compress(id)
				asked, freed := p.compress(id)
				if err != nil || c.Asked != asked || c.Freed != freed {
					t.Fatalf("seed %d, %d: %+v, %v, want %d of %d", seed, op, c, err, freed, asked)
				}
			case what < 6: // some of them
				var batch []kv.SeqID
				for id := range p.seqs {
					if rng.IntN(2) == 0 {
						batch = append(batch, id)
					}
				}
				var none *kv.ErrNoBlocks
				err := l.Decode(batch)
				if ok := p.decode(batch); ok != (err == nil) || err != nil && !errors.As(err, &none) {
					t.Fatalf("seed %d, %d: decode: %v, want %v", seed, op, err, ok)
				}
			default: // many steps of all
				var all []kv.SeqID
				for id := range p.seqs {
					all = append(all, id)
				}
				n := 1 + rng.IntN(100)
				need := l.NeedAll(n)
				wantKVs, wantBlocks := l.ReadAll(n)
				if need > l.Free() {
					continue
				}
				before := p.usage()
				kvs, blocks := int64(0), int64(0)
				for range n {
					if !p.decode(all) {
						t.Fatalf("seed %d, %d: the twin lacks blocks", seed, op)
					}
					u := p.usage()
					kvs += int64(u.KVs)
					blocks += int64(u.Allocated)
				}
				if got := p.usage().Allocated - before.Allocated; got != need || kvs != wantKVs || blocks != wantBlocks {
					t.Fatalf("seed %d, %d: %d steps take %d blocks and read %d KVs in %d blocks, want %d, %d, %d", seed, op, n, need, wantKVs, wantBlocks, got, kvs, blocks)
				}
				if err := l.DecodeAll(n); err != nil {
					t.Fatal(err)
				}
			}
			if l.Usage() != p.usage() {
				t.Fatalf("seed %d, %d: %+v, want %+v", seed, op, l.Usage(), p.usage())
			}
			for id, s := range p.seqs {
				if got := l.Lengths(nil, id); !slices.Equal(got, s.heads) || l.DecodeNeed(id) != p.need(id) {
					t.Fatalf("seed %d, %d: sequence %d: %v, want %v", seed, op, id, got, s.heads)
				}
			}
			if err := l.audit(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
