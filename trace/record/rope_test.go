package record

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/trace"
	"kvcompress/trace/llama"
)

// sharedModel loads a model from shared/data/model, beside the repository and not part of it.
func sharedModel(t *testing.T, name string) *llama.Model {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", "model", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s in shared/data/model beside the repository", name)
	}
	m, err := llama.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// turn turns the key x as Rope says, by the angle of a position and, where sign is
// -1, back.
func turn(r trace.Rope, x []float32, position int, sign float32) []float32 {
	out := slices.Clone(x)
	step, partner := r.Strides()
	for i, f := range r.InverseFrequencies() {
		s, c := math.Sincos(float64(float32(position) * f))
		sin, cos := sign*float32(s), float32(c)
		a, b := x[i*step], x[i*step+partner]
		out[i*step] = float32(a*cos) - float32(b*sin)
		out[i*step+partner] = float32(a*sin) + float32(b*cos)
	}
	return out
}

// distance returns how far apart the pairs of two keys are at most, in units of 2⁻²⁴
// times the pair's length.
func distance(r trace.Rope, x, y []float32) float64 {
	most := 0.0
	step, partner := r.Strides()
	for i := range r.RotarySize / 2 {
		a, b := i*step, i*step+partner
		apart := math.Hypot(float64(x[a])-float64(y[a]), float64(x[b])-float64(y[b]))
		if length := math.Hypot(float64(x[a]), float64(x[b])); apart > 0 {
			most = max(most, apart/length*0x1p24)
		}
	}
	return most
}

// turnError bounds what one turn in binary32 does to a pair (a, b) of length r, in
// units u = 2⁻²⁴ of r. The sine and the cosine are rounded, each off by u/2 at most,
// which moves an element by (|a| + |b|)·u/2 ≤ u·r/√2. Its two products are rounded,
// by (|a·cos| + |b·sin|)·u ≤ u·r together, and so is their sum, by u·r. Two elements
// that are each off by (1/√2 + 2)·u·r are √2 times as far, (1 + 2√2)·u·r = 3.83 u·r.
// The terms in u² that this leaves out are far less than what is rounded up.
const turnError = 3.84

// TestRopeOfRecordedKeys turns recorded keys back to what they were before the rotary
// embedding and on to another position. In the first layer a token's key depends on
// the token and its position only, so that this must give the key that the model
// computed for the same token there. A trace that said another embedding would not.
func TestRopeOfRecordedKeys(t *testing.T) {
	for _, tc := range []struct {
		name     string
		model    func(*testing.T) *llama.Model
		pairing  trace.Pairing
		distance int // between occurrences of the token
	}{
		{"random", func(t *testing.T) *llama.Model { return randomModel(t) }, trace.Interleaved, 13},
		{"stories260K.bin", func(t *testing.T) *llama.Model { return sharedModel(t, "stories260K.bin") }, trace.Interleaved, 101},
		{"recall", func(t *testing.T) *llama.Model { return sharedModel(t, "recall") }, trace.Half, 150},
	} {
		t.Run(tc.name, func(t *testing.T) {
			model, dir := tc.model(t), filepath.Join(t.TempDir(), "trace")
			const token = 9
			tokens := make([]int, 2*tc.distance+1)
			for i := range tokens {
				tokens[i] = 10 + i%7
				if i%tc.distance == 0 {
					tokens[i] = token
				}
			}
			prompt := Prompt{ID: "a", Tokens: tokens, MaxOutput: 1}
			if err := Record(t.Context(), dir, model, []Prompt{prompt}, Options{DType: dtype.F32}); err != nil {
				t.Fatal(err)
			}
			tr, err := trace.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			rope := tr.Meta.Rope
			if rope == nil || rope.Pairing != tc.pairing || rope.RotarySize != tr.Meta.Shape.HeadSize {
				t.Fatalf("the trace says %+v", rope)
			}
			x, err := tr.Tensors(0)
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			keys := make([]float32, len(tokens)*tr.Meta.Shape.KVHeads*rope.RotarySize)
			if err := x.Read(keys, trace.K, 0, 0, len(tokens)); err != nil {
				t.Fatal(err)
			}
			checkKeys(t, *rope, keys, tr.Meta.Shape.KVHeads, tc.distance)
		})
	}
}

// checkKeys checks keys, [tokens, heads, RotarySize] with the same token at 0, every
// and 2·every.
func checkKeys(t *testing.T, rope trace.Rope, keys []float32, heads, every int) {
	t.Helper()
	key := func(position, head int) []float32 {
		return keys[(position*heads+head)*rope.RotarySize:][:rope.RotarySize]
	}
	wrong := rope
	wrong.Pairing = trace.Half
	if rope.Pairing == trace.Half {
		wrong.Pairing = trace.Interleaved
	}
	for head := range heads {
		if first := key(0, head); !slices.Equal(turn(rope, first, 0, -1), first) {
			t.Errorf("head %d: turning the key of position 0 back changes it", head)
		}
		for _, from := range []int{0, every, 2 * every} {
			back := turn(rope, key(from, head), from, -1)
			if d := distance(rope, key(from, head), turn(rope, back, from, 1)); d > 2*turnError {
				t.Errorf("head %d, position %d: there and back is off by %.2f, want at most %.2f", head, from, d, 2*turnError)
			}
			for _, to := range []int{0, every, 2 * every} {
				// The recorded keys have been rotated once, and this one twice more.
				if d := distance(rope, key(to, head), turn(rope, back, to, 1)); d > 4*turnError {
					t.Errorf("head %d: from position %d to %d is off by %.2f, want at most %.2f", head, from, to, d, 4*turnError)
				}
				other := turn(wrong, turn(wrong, key(from, head), from, -1), to, 1)
				if d := distance(rope, key(to, head), other); from != to && d < 1000*turnError {
					t.Errorf("head %d: from position %d to %d, the wrong pairing is off by %.2f only", head, from, to, d)
				}
			}
		}
	}
}
