package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCatalogIsSound(t *testing.T) {
	names := map[string]bool{}
	once := func(name string) {
		if names[key(name)] {
			t.Errorf("%s names two things", name)
		}
		names[key(name)] = true
	}
	for _, name := range ModelNames() {
		m, err := FindModel(name)
		if err != nil || m.Source == "" || !m.Weights.Valid() {
			t.Errorf("%s: %v, source %q, weights %q", m.Name, err, m.Source, m.Weights)
		}
		once(m.Name)
		for _, a := range m.Aliases {
			if key(a) != key(m.Name) {
				once(a)
			}
		}
	}
	for _, c := range Cards() {
		if err := c.Validate(); err != nil || c.Source == "" {
			t.Errorf("%s: %v, source %q", c.Name, err, c.Source)
		}
		once(c.Name)
	}
}

func TestFind(t *testing.T) {
	for name, want := range map[string]string{
		"Llama-3.1-8B-Instruct": "llama-3.1-8b", "Llama-3.1-70B-Instruct-FP8": "llama-3.1-70b-fp8", "qwen 2.5 7B": "qwen2.5-7b",
	} {
		if m, err := FindModel(name); err != nil || m.Name != want {
			t.Errorf("%s: %q, %v", name, m.Name, err)
		}
	}
	for name, want := range map[string]string{"NVIDIA L4": "l4", "NVIDIA H100 80GB": "h100", "RTX 4090": "rtx-4090"} {
		if c, err := FindCard(name); err != nil || c.Name != want {
			t.Errorf("%s: %q, %v", name, c.Name, err)
		}
	}
	if _, err := FindModel("gpt-5"); err == nil || !strings.Contains(err.Error(), "the nearest names are gpt-oss-20b, gpt-oss-120b, ") || len(err.Error()) > 250 {
		t.Errorf("an unknown model: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "card.json")
	if err := os.WriteFile(path, []byte(`{"name":"x","memory_bytes":17179869184,"bytes_per_second":5e11,"flops_16bit":1e14}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if c, err := FindCard(path); err != nil || c.Name != "x" || c.Memory != 16<<30 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := FindCard(dir); err == nil {
		t.Error("a folder is a card")
	}
}
