package catalog

import (
	"strings"
	"testing"
)

// TestRotaryBytes compares with sizes worked out by hand: 2 bytes for each position and rotated element.
func TestRotaryBytes(t *testing.T) {
	for _, test := range []struct {
		model string
		want  int64
	}{
		{"llama-3.1-8b", 2 * 131_072 * 128},
		{"mistral-7b-v0.1", 2 * 32_768 * 128},                                               // a window has no table of its own
		{"gemma-2-9b", 2 * 8192 * 256},                                                      // layers of both kinds share a table
		{"gemma-3-1b", 2 * (32_768 + 32_768) * 256},                                         // one table for layers with a window, one for the others
		{"gemma-3-4b", 2 * (8*131_072 + 131_072) * 256},                                     // whose table has 8 times the context
		{"gemma-3-27b", 2 * (8*131_072 + 131_072) * 128},                                    //
		{"deepseek-v3", 2 * 163_840 * 64},                                                   // the part of a key that has positions
		{"qwen3-next-80b-a3b", 2 * 262_144 * 64},                                            // a quarter of 256 elements
		{"qwen3.5-397b-a17b", 2 * 4 * 262_144 * 64},                                         // and four times the positions, for videos
		{"minimax-m2.5", 2 * 196_608 * 64},                                                  // half of 128 elements
		{"kimi-k2.5", 2 * 262_144 * 64},                                                     // the longest context, after the scaling
		{"qwen3-vl-8b", 2 * 4 * 262_144 * 128},                                              // positions of images and videos
		{"glm-4.5-air", 2 * 131_072 * 64},                                                   // half of 128 elements
		{"glm-4.7-flash", 2 * 202_752 * 64},                                                 // the part of a key that has positions
		{"jamba-v0.1", 0}, {"mamba-2.8b", 0}, {"rwkv-5-world-7b", 0}, {"nemotron-h-56b", 0}, // without positions
		{"recurrentgemma-2b", 0}, // its context is unbounded: no table holds it
	} {
		m, err := FindModel(test.model)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.RotaryBytes(); got != test.want {
			t.Errorf("%s: %d bytes, want %d", test.model, got, test.want)
		}
	}
}

const rotaryModel = `"model_type":"llama","num_hidden_layers":2,"hidden_size":512,"num_attention_heads":8,"intermediate_size":64,"vocab_size":64,"max_position_embeddings":1000,`

// TestRotaryEntries checks the table and the context for each form of the entries.
func TestRotaryEntries(t *testing.T) {
	for _, test := range []struct {
		entries         string
		positions, size int // of the table
		context         int
	}{
		{`"rope_theta":500000.0`, 1000, 64, 1000},
		{`"partial_rotary_factor":0.5`, 1000, 32, 1000},
		{`"rope_parameters":{"rope_type":"default","rope_theta":1e6,"partial_rotary_factor":0.25}`, 1000, 16, 1000},
		{`"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"original_max_position_embeddings":100}`, 1000, 64, 1000},
		{`"rope_scaling":{"type":"linear","factor":4}`, 4000, 64, 4000},
		{`"rope_scaling":{"type":"dynamic","factor":2.5}`, 2500, 64, 2500},
		{`"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":300}`, 1200, 64, 1200},
		{`"rope_scaling":{"type":"yarn","factor":4.0}`, 4000, 64, 4000},
		{`"original_max_position_embeddings":200,"rope_scaling":{"type":"longrope","short_factor":[1],"long_factor":[2]}`, 1200, 64, 1000},
		{`"rope_scaling":{"type":"su","original_max_position_embeddings":200}`, 1200, 64, 1000},
		{`"rope_scaling":null`, 1000, 64, 1000},
	} {
		m, err := ParseConfig([]byte("{"+rotaryModel+test.entries+"}"), nil)
		if err != nil {
			t.Errorf("%s: %v", test.entries, err)
			continue
		}
		if want := (RotaryTable{test.positions, test.size}); len(m.Rotary) != 1 || m.Rotary[0] != want || m.MaxLen != test.context {
			t.Errorf("%s: tables %v, context %d, want %v and %d", test.entries, m.Rotary, m.MaxLen, want, test.context)
		}
	}
}

// TestRotaryRefused checks that a scaling that is not known is never taken for another.
func TestRotaryRefused(t *testing.T) {
	for entries, want := range map[string]string{
		`"rope_scaling":{"type":"xyz"}`:                            "rope_scaling.rope_type is \"xyz\", want default",
		`"rope_scaling":{"type":"linear","factor":0}`:              "rope_scaling.factor is 0, want above 0",
		`"rope_scaling":{"type":"linear","factor":"8"}`:            `rope_scaling.factor is "8", want a number`,
		`"rope_scaling":{"type":"linear","factor":2e6}`:            "rope_scaling.factor is 2e+06, want above 0 and at most 1048576",
		`"rope_scaling":"linear"`:                                  "rope_scaling",
		`"partial_rotary_factor":1.5`:                              "partial_rotary_factor is 1.5, want a fraction in (0, 1]",
		`"rope_parameters":{"full_attention":{"rope_type":"xyz"}}`: "rope_parameters.full_attention.rope_type",
		`"rope_scaling":{"original_max_position_embeddings":-1}`:   "rope_scaling.original_max_position_embeddings is -1",
	} {
		if _, err := ParseConfig([]byte("{"+rotaryModel+entries+"}"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entries, err, want)
		}
	}
}

// TestRotaryOfGemma3Refused checks that the embedding of layers with a window is checked as that of the others.
func TestRotaryOfGemma3Refused(t *testing.T) {
	for entry, want := range map[string]string{
		`{"partial_rotary_factor":-0.5}`:  "rope_parameters.sliding_attention.partial_rotary_factor is -0.5, want a fraction",
		`{"partial_rotary_factor":1e300}`: "rope_parameters.sliding_attention.partial_rotary_factor is 1e+300, want a fraction",
		`{"factor":-8}`:                   "rope_parameters.sliding_attention.factor is -8, want above 0",
		`"default"`:                       "rope_parameters.sliding_attention: ",
	} {
		if _, err := ParseConfig([]byte(gemma3Model+`"rope_parameters":{"sliding_attention":`+entry+`}}`), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
	}
}

const gemma3Model = `{"model_type":"gemma3_text","num_hidden_layers":6,"hidden_size":64,"intermediate_size":64,"vocab_size":64,"max_position_embeddings":1000,"sliding_window":10,"head_dim":8,`

// TestRotaryOfGemma3 checks that layers with a window share the table of the others if both are the same.
func TestRotaryOfGemma3(t *testing.T) {
	for _, test := range []struct {
		entries string
		want    []RotaryTable
	}{
		{`"rope_theta":1e6,"rope_local_base_freq":1e4`, []RotaryTable{{1000, 8}, {1000, 8}}},
		{`"rope_theta":1e4,"rope_local_base_freq":1e4`, []RotaryTable{{1000, 8}}},
		{`"rope_parameters":{"full_attention":{"rope_type":"linear","factor":8.0,"rope_theta":1e6},"sliding_attention":{"rope_type":"default","rope_theta":1e4}}`,
			[]RotaryTable{{8000, 8}, {1000, 8}}},
	} {
		m, err := ParseConfig([]byte(gemma3Model+test.entries+"}"), nil)
		if err != nil {
			t.Errorf("%s: %v", test.entries, err)
			continue
		}
		same := len(m.Rotary) == len(test.want)
		for i := 0; same && i < len(test.want); i++ {
			same = m.Rotary[i] == test.want[i]
		}
		if !same || m.MaxLen != 1000 {
			t.Errorf("%s: tables %v, context %d, want %v and 1000", test.entries, m.Rotary, m.MaxLen, test.want)
		}
	}
}
