package kv

import "fmt"

// Format is how a segment holds keys or values in its pages. The zero value is plain.
type Format struct {
	Kind  Kind
	Bits  int // of a code: of Quantized, and of Merged directions that are quantized; else 0
	Group int // elements that share one scale and one minimum, where Bits is not 0
}

// Kind is what a page's bytes are.
type Kind uint8

// The kinds of pages.
const (
	Plain      Kind = iota // B keys and B values of the same KVs, in the cache's dtype
	PerChannel             // keys or values: whole groups of Group tokens, a scale and a minimum for each channel (KIVI's keys)
	PerToken               // keys or values: tokens, a scale and a minimum for each Group channels (KIVI's values, FlexGen)
	Merged                 // keys or values: a direction for two layers and a norm for each (MiniCache)
	Exact                  // keys or values as a plain page has them, each behind its logical index (what MiniCache retains)
)

func (k Kind) String() string {
	names := [...]string{"plain", "per-channel", "per-token", "merged", "exact"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// scaleBytes is the size of a scale or a minimum, which are of the cache's type.
func (c *Config) scaleBytes() int { return c.DType.Size() }

// Bytes of the numbers of a unit that are not of the cache's type.
const (
	normBytes  = 4 // of a norm, binary32: the norm of a vector may be beyond the largest f16
	indexBytes = 4 // of a logical index
)

// Check returns an error if a cache of the configuration cannot have pages of the
// format, with what would do.
func (c *Config) Check(f Format) error {
	d := c.Shape.HeadSize
	switch f.Kind {
	case Plain:
		if f != (Format{}) {
			return fmt.Errorf("format: a plain page has neither bits nor groups")
		}
		return nil
	case PerChannel, PerToken, Merged, Exact:
	default:
		return fmt.Errorf("format: kind %d is unknown", f.Kind)
	}
	if c.DType.Size() < 2 {
		return fmt.Errorf("format: scales, minima and directions have no type in a cache of %v: choose kv_dtype f32, f16 or bf16", c.DType)
	}
	switch exact := f.Kind == Exact || f.Kind == Merged && f.Bits == 0; {
	case exact && (f.Bits != 0 || f.Group != 0):
		return fmt.Errorf("format: codes of %d bits, groups of %d, of what is not quantized", f.Bits, f.Group)
	case exact:
	case f.Bits < 1 || f.Bits > 8:
		return fmt.Errorf("format: %d bits, want 1 to 8", f.Bits)
	case f.Group < 1:
		return fmt.Errorf("format: groups of %d, want at least 1", f.Group)
	case f.Kind == PerChannel && f.Group*f.Bits%8 != 0:
		return fmt.Errorf("format: %d tokens of %d bits fill no whole bytes: choose a group that is a multiple of 8", f.Group, f.Bits)
	case f.Kind != PerChannel && d%f.Group != 0:
		return fmt.Errorf("format: a head of size %d is not made of groups of %d: choose a divisor of %d", d, f.Group, d)
	case f.Kind != PerChannel && d*f.Bits%32 != 0:
		return fmt.Errorf("format: %d elements of %d bits fill no whole words of 32 bits: choose another number of bits", d, f.Bits)
	}
	if c.Capacity(f) == 0 {
		return fmt.Errorf("format: a page of %d bytes does not hold one group of %d bytes: choose a larger block_size or smaller groups", c.PageBytes(), c.UnitBytes(f))
	}
	return nil
}

// Unit returns the KVs that a page of the format takes or leaves together.
func (f Format) Unit() int {
	if f.Kind == PerChannel {
		return f.Group
	}
	return 1
}

// UnitBytes returns the bytes of the fewest KVs that a page takes: payload, scales,
// minima and norms. The format is one that Check takes.
func (c *Config) UnitBytes(f Format) int {
	d, scale := c.Shape.HeadSize, c.scaleBytes()
	switch f.Kind {
	case PerChannel:
		return f.Group*d*f.Bits/8 + 2*scale*d
	case PerToken:
		return (d*f.Bits+7)/8 + 2*scale*(d/f.Group)
	case Merged:
		if f.Bits == 0 {
			return c.RowBytes() + 2*normBytes
		}
		return (d*f.Bits+7)/8 + 2*scale*(d/f.Group) + 2*normBytes
	case Exact:
		return indexBytes + c.RowBytes()
	default:
		return 2 * c.RowBytes()
	}
}

// Capacity returns how many KVs a page of the format holds: whole groups, and 0 where
// not one fits. Of a plain page it is B. A page of 8,192 bytes holds 96 keys of 128
// elements in 4-bit groups of 32, not the 102 that its bits would make.
func (c *Config) Capacity(f Format) int {
	if f.Kind == Plain {
		return c.BlockSize
	}
	if f.Group < 1 && f.Bits > 0 || f.Kind > Exact || c.DType.Size() < 2 {
		return 0
	}
	n := c.UnitBytes(f)
	if n < 1 {
		return 0
	}
	return c.PageBytes() / n * f.Unit()
}

// Payload returns the bytes for each KV that the format asks for, page slack left out:
// of a plain page K and V, of the others K or V alone.
func (c *Config) Payload(f Format) float64 {
	return float64(c.UnitBytes(f)) / float64(f.Unit())
}

// Pages returns how many pages that many KVs of the format take.
func (c *Config) Pages(f Format, kvs int) int { return ceilDiv(kvs, c.Capacity(f)) }
