package kv

// Owner is the head that a physical block belongs to, and the block's place in it.
type Owner struct {
	Seq     SeqID // NoSeq if the block is free
	Layer   int32
	Head    int32
	Logical int32 // in a plain segment: the logical index of the block's first KV, over B; else the block's index in the segment's table
	Part    Part  // Keys or Values for a segment of that list, Both for the plain segment
}

// partShift is the position of Part in the fourth number: above the bits of Logical, which is at most
// MaxBlocks.
const partShift = 30

// Ints returns the owner as four numbers for snapshots, digests and kernels: sequence, layer, head, and the
// logical index with the part in bits 30 and 31.
func (o Owner) Ints() [4]int32 {
	return [4]int32{int32(o.Seq), o.Layer, o.Head, o.Logical | int32(uint32(o.Part)<<partShift)}
}

// OwnerOf is the inverse of [Owner.Ints].
func OwnerOf(n [4]int32) Owner {
	return Owner{SeqID(n[0]), n[1], n[2], n[3] & (1<<partShift - 1), Part(uint32(n[3]) >> partShift)}
}
