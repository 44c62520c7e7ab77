package ref

import (
	"fmt"

	"kvcompress/internal/ceil"
)

// RazorMemory compares the memory of one sequence under RazorAttention with that of a cache that keeps
// everything (Dense).
type RazorMemory struct {
	Tokens int // N
	Recent int // L_h

	KVs, DenseKVs       int   // entries, summed over heads
	Blocks, DenseBlocks int   // pages, whole ones in each head
	Bytes, DenseBytes   int64 // of those pages: K, V, positions, owners, and the method's columns
	Payload             int64 // bytes of K and V of the entries, and of weights and exact means of the stand-ins
	DensePayload        int64 // F·N, where F = L·H·2·D·b
}

// RazorMemory returns what razor keeps after a compression of n tokens: of a prompt, or with decode=rolling
// of any sequence. If a fraction ρ of the heads are retrieval heads, the number of entries is
//
//	L·H·(ρ·n + (1−ρ)·min(n, N0 + 1 + L_h))
//
// which for large n approaches the fraction ρ + (1−ρ)/C of L·H·n.
func (c *Config) RazorMemory(n int) (RazorMemory, error) {
	method, err := c.NewMethod()
	if err != nil {
		return RazorMemory{}, err
	}
	m, ok := method.(*razor)
	if !ok {
		return RazorMemory{}, fmt.Errorf("the method is %s, not razor", method.Name())
	}
	mem := RazorMemory{Tokens: n, Recent: m.recent(n)}
	row := int64(c.RowBytes())
	for _, full := range m.full {
		entries := n
		if !full {
			entries = min(n, m.Sinks+m.standIns()+mem.Recent)
		}
		mem.KVs += entries
		mem.Blocks += ceil.Div(entries, c.BlockSize)
		mem.Payload += int64(entries) * 2 * row
		if entries < n {
			for _, column := range m.Columns() {
				mem.Payload += int64(column.Bytes())
			}
		}
	}
	mem.DenseKVs = n * len(m.full)
	mem.DenseBlocks = ceil.Div(n, c.BlockSize) * len(m.full)
	mem.DensePayload = int64(mem.DenseKVs) * 2 * row
	mem.Bytes = int64(mem.Blocks) * int64(c.BlockBytes())
	mem.DenseBytes = int64(mem.DenseBlocks) * int64(c.Config.BlockBytes(nil))
	return mem, nil
}
