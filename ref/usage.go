package ref

// Usage says how a cache is filled at one moment.
type Usage struct {
	KVs         int `json:"kvs"`          // held
	DenseKVs    int `json:"dense_kvs"`    // that an uncompressed cache would hold: Σ tokens·L·H
	DenseBlocks int `json:"dense_blocks"` // likewise: Σ ⌈tokens/B⌉·L·H
	Allocated   int `json:"blocks_allocated"`
	Free        int `json:"blocks_free"`
	Wasted      int `json:"slots_wasted"` // empty slots in last blocks
}

// Usage counts the cache's KVs, blocks and empty slots.
func (c *Cache) Usage() Usage {
	u := Usage{Allocated: c.Blocks() - c.Free(), Free: c.Free()}
	for _, s := range c.seqs {
		u.KVs += s.KVs()
		u.DenseKVs += s.Len * len(s.Heads)
		u.DenseBlocks += ceilDiv(s.Len, c.blockSize) * len(s.Heads)
	}
	u.Wasted = u.Allocated*c.blockSize - u.KVs
	return u
}

// HeadUsage says what each head holds over all sequences, by layer and KV head:
// [L][H].
type HeadUsage struct {
	KVs    [][]int `json:"kvs"`
	Blocks [][]int `json:"blocks"`
}

// HeadUsage counts the KVs and blocks of each head.
func (c *Cache) HeadUsage() HeadUsage {
	u := HeadUsage{make([][]int, c.shape.Layers), make([][]int, c.shape.Layers)}
	for l := range u.KVs {
		u.KVs[l], u.Blocks[l] = make([]int, c.shape.KVHeads), make([]int, c.shape.KVHeads)
	}
	for _, s := range c.seqs {
		for i := range s.Heads {
			layer, head := i/c.shape.KVHeads, i%c.shape.KVHeads
			u.KVs[layer][head] += s.Heads[i].Len
			u.Blocks[layer][head] += len(s.Heads[i].Table)
		}
	}
	return u
}

// MetadataBytes returns what the published implementation keeps beside K and V
// for the given number of blocks: 21 bytes for each block and 12 + 8·G for each
// of its slots (IsaacRe/vllm-kvcompress).
func (c *Config) MetadataBytes(blocks int) int64 {
	return int64(blocks) * (21 + int64(c.BlockSize)*(12+8*int64(c.Shape.Group)))
}

// MoveBytes returns the bytes that one KV's move reads, and writes: K, V,
// metric and position.
func (c *Config) MoveBytes() int {
	return 2*c.Shape.HeadSize*c.DType.Size() + 4 + 4
}
