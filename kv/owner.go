package kv

// Owner says whose KVs a physical block holds.
type Owner struct {
	Seq     SeqID // NoSeq if the block is free
	Layer   int32
	Head    int32
	Logical int32 // of a plain segment: the logical index of its first KV, over B; else the block's index in its segment's table
	Part    Part  // Keys or Values of a segment of that list, Both of the plain one
}

// partShift is where an owner's part stands in its fourth number: above every index, of
// which there are at most MaxBlocks.
const partShift = 30

// Ints returns the owner as four numbers, as snapshots, digests and kernels have it:
// sequence, layer, head, and the logical index with the part in its bits 30 and 31.
func (o Owner) Ints() [4]int32 {
	return [4]int32{int32(o.Seq), o.Layer, o.Head, o.Logical | int32(uint32(o.Part)<<partShift)}
}

// OwnerOf is the inverse of [Owner.Ints].
func OwnerOf(n [4]int32) Owner {
	return Owner{SeqID(n[0]), n[1], n[2], n[3] & (1<<partShift - 1), Part(uint32(n[3]) >> partShift)}
}
