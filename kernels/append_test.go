package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// TestAppendRounds compares the rounding of keys and values with package dtype: at every exponent, and at and
// next to the ties of every format; for fp8 formats also with scales.
func TestAppendRounds(t *testing.T) {
	const d, block = 256, 8
	type test struct {
		format dtype.DType
		scale  *kv.Scale
	}
	var tests []test
	for format := range dtype.E5M2 + 1 {
		tests = append(tests, test{format, nil})
	}
	for _, k := range []float32{1, 0.37, 3, 1000, kv.MinScale, kv.MaxScale} {
		for _, format := range []dtype.DType{dtype.E4M3, dtype.E5M2} {
			tests = append(tests, test{format, &kv.Scale{K: []float32{k}, V: []float32{0.021}}})
		}
	}
	for _, tt := range tests {
		name, format := tt.format.String(), tt.format
		if tt.scale != nil {
			name += fmt.Sprintf("/%g", tt.scale.K[0])
		}
		t.Run(name, func(t *testing.T) {
			x := hardToRound(format)
			n := ceil.Div(len(x), d)
			x = append(x, make([]float32, n*d-len(x))...)
			cfg := ref.Config{Config: kv.Config{Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: d}, DType: format, BlockSize: block, Blocks: ceil.Div(n, block), KVScale: tt.scale}}
			s, err := stateFor(checked(t, 1), cfg, 1, n)
			must := func(err error) {
				if t.Helper(); err != nil {
					t.Fatal(err)
				}
			}
			must(err)
			defer func() { must(s.close()) }()
			negative := slices.Clone(x)
			for i := range negative {
				negative[i] = -x[i]
			}
			must(s.allocatePrompt(0, 0, n))
			k, err := upload(s, "k", x)
			must(err)
			v, err := upload(s, "v", negative)
			must(err)
			must(s.storePrompt(0, 0, n, k, v))

			// Blocks are allocated in order, so slots are positions.
			size := format.Size()
			got, want := make([]byte, n*d*size), make([]byte, n*d*size)
			kScale, vScale := tt.scale.Of(0)
			for _, c := range []struct {
				from  device.Ptr
				x     []float32
				scale float32
			}{{s.keys, x, kScale}, {s.values, negative, vScale}} {
				must(s.dev.Read(got, c.from))
				quotients := slices.Clone(c.x)
				for i := range quotients {
					quotients[i] /= c.scale
				}
				format.Encode(want, quotients)
				for i, x := range c.x {
					if g, w := got[i*size:][:size], want[i*size:][:size]; !slices.Equal(g, w) {
						t.Fatalf("%x is % x, not % x", x, g, w)
					}
				}
			}
		})
	}
}

// hardToRound returns ties and the numbers next to them, for every width and every exponent that a trace
// may have, except numbers that the format cannot represent: the host refuses them.
func hardToRound(format dtype.DType) []float32 {
	rng := rand.New(rand.NewPCG(1, uint64(format)))
	var x []float32
	for exponent := range uint32(127 + 57) {
		mantissas := []uint32{0, 0x7fffff}
		for bit := range uint32(23) {
			tie := rng.Uint32()&^(1<<(bit+1)-1) | 1<<bit
			mantissas = append(mantissas, tie-1, tie, tie+1)
		}
		for _, m := range mantissas {
			v := math.Float32frombits(exponent<<23 | m&0x7fffff)
			if format != dtype.F16 || v <= format.Max() {
				x = append(x, v)
			}
		}
	}
	return x
}
