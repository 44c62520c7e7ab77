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

	// Folding returns what a compression folds, as a ranking. It depends on Counts alone.
	Folding(Counts) Folding
}

// Folding is the plan of a [Folder] for an engine that has no View: the KVs that the ranking evicts are
// folded into their head's stand-in.
type Folding struct {
	Ranking        // the KVs whose slots become free
	Into    int    // logical index of every head's stand-in; None: the KVs are evicted
	New     []bool // [L·H] whether the stand-in is new: made from the KV at Into and those of the ranking
}

// Edit returns the edit that folds or evicts KVs of a head, which are logical indices, ascending.
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

// StandIns says in which columns an engine keeps data of stand-ins. A stand-in for N KVs has the mean of
// their keys and of their values. It occupies a slot like any KV, with the means rounded to the cache's
// format; slot and position are those of the oldest KV that it represents.
//
// A column that is None is not kept.
type StandIns struct {
	// Weight is the column of N, of width 1 and initially 1. Attention adds ln N to the score of every entry.
	// Without weights a stand-in counts as one KV.
	Weight int

	// Keys and Values are columns of width D with the unrounded means. Only a method that has these and
	// Weight can fold more KVs into an existing stand-in.
	Keys, Values int
}

// standInsOf returns the method's stand-in columns.
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

// fold carries out a StandIn edit, except that it does not empty the slots. NUMERICS.md, "Stand-ins", has the
// order of every operation.
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

// mean stores the mean of KVs in a slot, and unrounded in column unless that is None. If count > 0, the mean
// also includes the count KVs whose mean is in the column.
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
	if format.Size() > 1 { // fp8 saturates by itself
		limit := format.Max()
		for j, x := range mean {
			mean[j] = min(max(x, -limit), limit)
		}
	}
	store(slot, mean)
}

// weigh adds ln w to the scores of a head's KVs, starting at logical index first, for entries that represent
// w KVs. first is the start of a partition, so also of a block.
func (a *attention) weigh(c *kv.Cache, h *kv.Head, scores []float32, first int) {
	size := c.Config().BlockSize
	for i := 0; i < len(scores); i += size {
		block := scores[i:min(i+size, len(scores))]
		for j, w := range a.represents[c.Slot(h, first+i):][:len(block)] {
			if w != 1 {
				block[j] += vec.Log(w)
			}
		}
	}
}
