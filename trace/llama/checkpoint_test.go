package llama_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/trace/llama"
	"kvcompress/trace/tokenizer"
)

// opening is the greedy continuation by stories260K of "Once upon a time".
const opening = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball."

func TestStories260K(t *testing.T) {
	m := load(t, sharedModel(t, "stories260K.bin"))
	tok, err := tokenizer.Load(sharedModel(t, "tok512.bin"))
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := tok.Encode("Once upon a time")
	if err != nil {
		t.Fatal(err)
	}
	text, err := tok.Decode(append(prompt, greedy(t, m, prompt, 70)...))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text, opening) {
		t.Errorf("it says %q", text)
	}
}

// A separate classifier that equals the embedding does not change the results; another does.
func TestOwnClassifier(t *testing.T) {
	c := randomCheckpoint(1)
	logits := func() []float32 {
		m, err := llama.ReadCheckpoint(bytes.NewReader(c.file()), int64(len(c.file())), "test.bin")
		if err != nil {
			t.Fatal(err)
		}
		logits, err := m.NewSession().Feed([]int{1, 2, 3}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return logits
	}
	shared := logits()
	c.classifier = slices.Clone(c.embed)
	if !slices.Equal(shared, logits()) {
		t.Error("the embedding as classifier gives other logits")
	}
	slices.Reverse(c.classifier)
	if slices.Equal(shared, logits()) {
		t.Error("another classifier gives the same logits")
	}
}

func TestCheckpointErrors(t *testing.T) {
	whole := randomCheckpoint(1).file()
	change := func(field int, value int32) []byte {
		data := slices.Clone(whole)
		binary.LittleEndian.PutUint32(data[4*field:], uint32(value))
		return data
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "header: the file has 0 bytes"},
		{"short header", whole[:27], "header: the file has 27 bytes"},
		{"header alone", whole[:28], "size: the header calls for"},
		{"cut", whole[:len(whole)-1], "size: the header calls for"},
		{"too long", append(slices.Clone(whole), 0), "size: the header calls for"},
		{"newer format", change(0, 0x616b3432), "header: the magic number ak42"},
		{"no dim", change(0, 0), "header: dim: 0"},
		{"negative dim", change(0, -32), "header: dim: -32"},
		{"dim without heads", change(0, 33), "header: dim: 33 is not a multiple of n_heads"},
		{"huge hidden_dim", change(1, math.MaxInt32), "header: hidden_dim: 2147483647"},
		{"no layers", change(2, 0), "header: n_layers: 0"},
		{"many layers", change(2, 1<<12), "size: the header calls for"},
		{"no heads", change(3, 0), "header: n_heads: 0"},
		{"odd heads", change(3, 32), "header: dim/n_heads: 1 is odd"},
		{"kv heads that do not divide", change(4, 3), "header: n_heads: 4 is not a multiple of n_kv_heads"},
		{"negative kv heads", change(4, -2), "header: n_kv_heads: -2"},
		{"no vocabulary", change(5, 0), "header: vocab_size: 0"},
		{"least vocabulary", change(5, math.MinInt32), "header: vocab_size: 2147483648"},
		{"no positions", change(6, 0), "header: seq_len: 0"},
		{"NaN", change(7+5, 0x7fc00000), "token_embedding_table: row 0, column 5 is not a finite number"},
		{"infinity", change(7+50*32+32, 0x7f800000), "rms_att_weight: layer 1: row 0, column 0 is not a finite number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := llama.ReadCheckpoint(bytes.NewReader(c.data), int64(len(c.data)), "test.bin")
			if err == nil || !strings.HasPrefix(err.Error(), "llama: test.bin: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
}

func FuzzReadCheckpoint(f *testing.F) {
	tiny := &checkpoint{dim: 4, hidden: 2, layers: 1, heads: 2, kvHeads: 1, vocab: 3, positions: 4}
	for _, w := range tiny.tensors() {
		if w.to != nil {
			*w.to = make([]float32, w.len)
		}
	}
	f.Add(tiny.file())
	tiny.classifier = make([]float32, tiny.vocab*tiny.dim)
	f.Add(tiny.file())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := llama.ReadCheckpoint(bytes.NewReader(data), int64(len(data)), "fuzz.bin")
		if err != nil {
			return
		}
		s := m.NewSession()
		for range min(3, m.Config().MaxPositions) {
			if _, err := s.Feed([]int{0}, func(q, k, v []float32) error { return nil }); err != nil {
				return
			}
		}
	})
}
