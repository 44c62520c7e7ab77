package tokenizer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// binFile returns a tokenizer.bin with the special tokens, the bytes and the given
// tokens. Earlier tokens have higher scores, so they are merged first.
func binFile(tokens ...string) []byte {
	all := []string{"<unk>", "\n<s>\n", "\n</s>\n"}
	for b := range 256 {
		all = append(all, fmt.Sprintf("<0x%02X>", b))
	}
	all = append(all, tokens...)
	var longest int
	for _, t := range all[llama2cSpecials:] {
		longest = max(longest, len(t))
	}
	data := binary.LittleEndian.AppendUint32(nil, uint32(max(longest, 1)))
	for i, t := range all {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(-float32(i)))
		data = binary.LittleEndian.AppendUint32(data, uint32(len(t)))
		data = append(data, t...)
	}
	return data
}

func TestLlama2C(t *testing.T) {
	// 259… in this order.
	tok, err := ParseLlama2C(binFile("he", " t", " the", "in", " ", "t", "h", "e", "i", "n", "é"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want []int
	}{
		{"", []int{1}},
		{"the", []int{1, 261}},                 // " "+t+h+e: he first, then " t", then " the"
		{"he", []int{1, 263, 259}},             // nothing joins " " and "he"
		{"ttin", []int{1, 260, 264, 262}},      // the leftmost of equal pairs
		{"é", []int{1, 263, 269}},              // a character of two bytes
		{"ö", []int{1, 263, 3 + 195, 3 + 182}}, // a character that is not in the vocabulary
		{"\xff", []int{1, 263, 3 + 255}},       // no character
	} {
		got, err := tok.Encode(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("Encode(%q) (-want +got):\n%s", c.text, diff)
		}
		back, err := tok.Decode(got)
		if want := strings.ToValidUTF8(c.text, "\uFFFD"); err != nil || back != want {
			t.Errorf("%q came back as %q, %v", c.text, back, err)
		}
	}
}

func TestLlama2CErrors(t *testing.T) {
	whole := binFile("he")
	change := func(offset int, value int32) []byte {
		data := slices.Clone(whole)
		binary.LittleEndian.PutUint32(data[offset:], uint32(value))
		return data
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "max_token_length"},
		{"negative longest", change(0, -1), "max_token_length: -1"},
		{"absurd longest", change(0, math.MaxInt32), "max_token_length: 2147483647"},
		{"no tokens", whole[:4], "0 tokens"},
		{"few tokens", append(change(0, 1)[:4:4], make([]byte, 80)...), "10 tokens"},
		{"not a number", change(4, 0x7fc00000), "token 0: score"},
		{"negative length", change(8, -5), "token 0: length: -5"},
		{"absurd length", change(8, math.MaxInt32), "token 0: length"},
		{"cut in a token", whole[:len(whole)-1], "token 259: length: 1 bytes are left"},
		{"cut in a length", whole[:len(whole)-5], "token 259: the file ends"},
		{"longer than the longest", change(len(whole)-6, 3), "token 259: length: 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseLlama2C(c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
}

// The tokenizer of stories260K.
func TestTok512(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "data", "model", "tok512.bin")
	if _, err := os.Stat(path); err != nil {
		t.Skip("no tok512.bin in shared/data/model beside the repository")
	}
	tok := load(t, path)
	got, err := tok.Encode("Once upon a time")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 403, 407, 261, 378}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if tok.VocabSize() != 512 {
		t.Errorf("%d tokens, want 512", tok.VocabSize())
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "tokenizer.json") {
		t.Errorf("a folder without tokenizer.json: %v", err)
	}
	big := filepath.Join(dir, "big.json")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFileSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "the file is longer than 64 MiB") {
		t.Errorf("a file that is too large: %v", err)
	}
	if _, err := Load(os.DevNull); err == nil || !strings.Contains(err.Error(), os.DevNull+": not a regular file") {
		t.Errorf("a device: %v", err)
	}
}

func FuzzLlama2C(f *testing.F) {
	f.Add(binFile("he", " t", " the", " "), "the time")
	f.Add([]byte{}, "")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := ParseLlama2C(data)
		if err != nil {
			return
		}
		ids, err := tok.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tok.Decode(ids); err != nil {
			t.Fatal(err)
		}
		if len(ids) > len(text)+2 {
			t.Fatalf("%d tokens of %d bytes", len(ids), len(text))
		}
		// With byte tokens only, every text can be decoded.
		if tok, err = ParseLlama2C(binFile()); err != nil {
			t.Fatal(err)
		}
		if ids, err = tok.Encode(text); err != nil {
			t.Fatal(err)
		}
		back, err := tok.Decode(ids)
		if err != nil || !bytes.Equal([]byte(back), []byte(strings.ToValidUTF8(text, "\uFFFD"))) {
			t.Fatalf("%q came back as %q, %v", text, back, err)
		}
	})
}
