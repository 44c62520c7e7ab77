package ref

import (
	"kvcompress/kv"
	"kvcompress/ref/vec"
)

// Folder is a method whose plans fold KVs into stand-ins.
type Folder interface {
	Method

	// StandIns says which of the method's columns the engine keeps for stand-ins.
	StandIns() StandIns

	// Folding says what a compression folds, by a ranking. It depends on counts alone.
	Folding(Counts) Folding
}

// Folding is the plan of a [Folder], as an engine makes it that has no View: the KVs that a
// ranking evicts are folded into their head's stand-in.
type Folding struct {
	Ranking        // the KVs whose slots come free
	Into    int    // logical index of the stand-in of every head; None: the KVs are dropped
	New     []bool // [L·H] whether it is made, of the KV that lies there and those of the ranking
}

// Edit returns the edit by which KVs of a head go: logical indices, ascending.
func (f *Folding) Edit(head int, gone []int32) Edit {
	switch {
	case f.Into == None:
		return Edit{Op: Drop, Head: head, KVs: gone}
	case f.New[head]:
		return Edit{Op: StandIn, Head: head, KVs: append([]int32{int32(f.Into)}, gone...), Into: None}
	default:
		return Edit{Op: StandIn, Head: head, KVs: gone, Into: int32(f.Into)}
	}
}

// StandIns says in which columns an engine keeps what a stand-in is beside a KV in the
// cache. A stand-in for N KVs has the mean of their keys and the mean of their values,
// and lies in a slot like any KV; the slot's page holds the means rounded to the cache's
// format. It keeps the slot and the position of the lowest of the KVs that it was made of.
//
// A column that is None is not kept.
type StandIns struct {
	// Weight is the column of N, of width 1 and initially 1. Attention adds ln N to the
	// logit of every entry; where the method keeps no weights, a stand-in counts as one KV.
	Weight int

	// Keys and Values are the columns of the means before they are rounded, of width D.
	// Only a method that has them, and weights, folds KVs into a stand-in that is there.
	Keys, Values int
}

// standInsOf returns what the method keeps of stand-ins.
func standInsOf(m Method) StandIns {
	if f, ok := m.(Folder); ok {
		return f.StandIns()
	}
	return StandIns{None, None, None}
}

// weights returns the column of weights; nil if there is none.
func (s StandIns) weights(c *kv.Cache) []float32 {
	if s.Weight == None {
		return nil
	}
	return c.Data[s.Weight]
}

// fold carries out an edit that is a StandIn, but for the slots that it empties.
// NUMERICS.md, "Stand-ins", has the order of every operation.
func (s StandIns) fold(c *kv.Cache, h *kv.Head, edit *Edit) {
	into, count := int(edit.Into), 0
	if edit.Into == None {
		into = int(edit.KVs[0])
	} else {
		count = int(c.Data[s.Weight][c.Slot(h, into)])
	}
	slot := c.Slot(h, into)
	s.mean(c, h, edit.KVs, slot, count, c.ReadKeys, c.StoreKey, s.Keys)
	s.mean(c, h, edit.KVs, slot, count, c.ReadValues, c.StoreValue, s.Values)
	if s.Weight != None {
		c.Data[s.Weight][slot] = float32(count + len(edit.KVs))
	}
}

// mean writes to a slot, and to the column if there is one, the mean of the stored rows
// of KVs: of these alone where count is 0, else of them and of the count KVs whose mean
// the column has.
func (s StandIns) mean(c *kv.Cache, h *kv.Head, kvs []int32, slot, count int, from func([]float32, int), store func(int, []float32), column int) {
	d, format := c.Shape().HeadSize, c.Config().DType
	mean, row := make([]float32, d), make([]float32, d)
	if count > 0 {
		copy(mean, c.Data[column][slot*d:])
	}
	for i, kv := range kvs {
		from(row, c.Slot(h, int(kv)))
		for j, x := range row {
			if count == 0 {
				mean[j] += x
			} else {
				mean[j] += (x - mean[j]) / float32(count+i+1)
			}
		}
	}
	if count == 0 {
		for j := range mean {
			mean[j] /= float32(len(kvs))
		}
	}
	if column != None {
		copy(c.Data[column][slot*d:][:d], mean)
	}
	if format.Size() > 1 { // fp8 saturates
		limit := format.Max()
		for j, x := range mean {
			mean[j] = min(max(x, -limit), limit)
		}
	}
	store(slot, mean)
}

// weigh adds to the scores of a head's KVs from logical index first on the logarithm of
// what each stands for. first begins a block, as a partition does.
func (a *attention) weigh(c *kv.Cache, h *kv.Head, scores []float32, first int) {
	size := c.Config().BlockSize
	for i := 0; i < len(scores); i += size {
		block := scores[i:min(i+size, len(scores))]
		for j, w := range a.stands[c.Slot(h, first+i):][:len(block)] {
			if w != 1 {
				block[j] += vec.Log(w)
			}
		}
	}
}
