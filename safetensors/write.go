package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
)

// AppendHeader appends to dst the length and the header of a file with the given tensors, one
// after the other in this order, without gaps; the caller appends their bytes. Begin and End are
// ignored. The header is padded with spaces, as the format allows, to at least pad bytes and a
// multiple of eight, so that a writer can reserve space for it before the shapes are known. The
// result depends only on the arguments.
func AppendHeader(dst []byte, tensors []Info, pad int) ([]byte, error) {
	type entry struct {
		DType   DType    `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	tooLong := func(n int) error {
		return fmt.Errorf("safetensors: a header of %d bytes, more than %d", n, MaxHeader)
	}
	var b strings.Builder
	b.WriteByte('{')
	seen := make(map[string]bool, len(tensors))
	at := int64(0)
	for i, t := range tensors {
		size, ok := byteSize(t.DType, t.Shape)
		if t.DType.Bits() == 0 || !ok || at > 1<<62-size {
			return dst, fmt.Errorf("safetensors: tensor %q: shape %v of %q has no size", t.Name, t.Shape, t.DType)
		}
		for _, d := range t.Shape {
			if d < 0 {
				return dst, fmt.Errorf("safetensors: tensor %q: shape %v has a negative dimension", t.Name, t.Shape)
			}
		}
		if seen[t.Name] || t.Name == "__metadata__" {
			return dst, fmt.Errorf("safetensors: tensor %q: the name is taken", t.Name)
		}
		if n := b.Len() + len(t.Name); n > MaxHeader {
			return dst, tooLong(n)
		}
		seen[t.Name] = true
		if i > 0 {
			b.WriteByte(',')
		}
		shape := append([]int64{}, t.Shape...) // a scalar's is [] and not null
		name, err := json.Marshal(t.Name)
		if err != nil {
			return dst, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
		}
		value, err := json.Marshal(entry{t.DType, shape, [2]int64{at, at + size}})
		if err != nil {
			return dst, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
		at += size
	}
	b.WriteByte('}')
	n := (max(b.Len(), pad) + 7) &^ 7
	if n > MaxHeader {
		return dst, tooLong(n)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	dst = append(dst, b.String()...)
	return append(dst, strings.Repeat(" ", n-b.Len())...), nil
}
