//go:build unix

package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvcompress/internal/testsize"
)

// inputs are the files that commands read: a command line, in which IN is the file or the folder
// that has it, and the file's path in that folder.
var inputs = []struct{ line, folder, file string }{
	{"trace check IN", "story", "trace.json"},
	{"trace check IN", "story", "requests.jsonl"},
	{"trace check IN", "story", "1.safetensors"},
	{"trace info IN", "story", "trace.json"},
	{"trace info IN", "story", "requests.jsonl"},
	{"trace generate --like IN --requests 3 -o out", "story", "requests.jsonl"},
	{"run IN", "story", "trace.json"},
	{"run IN", "story", "requests.jsonl"},
	{"run IN", "story", "1.safetensors"},
	{"run IN", "story", "options.json"},
	{"run IN/razor", "gqa", "methods/razor/options.json"},
	{"validate IN", "story", "options.json"},
	{"golden check IN", "story", "golden.json"},
	{"golden check IN/razor", "gqa", "methods/razor/golden.json"},
	{"run story --options IN", "", "options.json"},
	{"run story --rate 0.5 --head-bias IN", "", "bias.npz"},
	{"run recall --method razor --set map=IN", "", "map.json"},
	{"validate --cases IN", "", "cases.json"},
	{"validate --cases IN", "cases", "cases.json"},
	{"validate --replay IN", "found", "stage.json"},
	{"validate story --kernel attend_combine=IN:attend_combine", "", "mine.ptx"},
	{"golden compare IN --theirs IN", "golden", "manifest.json"},
	{"ptx check IN", "", "mine.ptx"},
	{"ptx run IN --entry a --grid 1 --block 1", "", "mine.ptx"},
	{"ptx run example.ptx --entry saxpy --grid 8 --block 128 --arg u32=1000 --arg f32=2 --arg in=IN --arg zeros=f32[1000]:out.npy", "", "x.npy"},
	{"ptx script IN", "", "steps.txt"},
	{"ptx mutate IN --check test{}", "", "mine.ptx"},
	{"trace import IN -o out", "", "log.csv"},
	{"trace import IN -o out", "", "log.jsonl"},
	{"trace import IN -o out", "", "log.csv.gz"},
	{"trace import IN --fields arrival=a,prompt=p,output=o -o out", "", "log.csv"},
	{"trace import log.json --tokenizer IN -o out", "", "tokenizer.json"},
	{"sim --requests IN --model llama-3.1-8b --gpu l4 --html out.html", "", "log.csv"},
	{"sim --requests good.csv --model IN --gpu l4 --html out.html", "model", "config.json"},
	{"sim --requests good.csv --model llama-3.1-8b --gpu IN --html out.html", "", "card.json"},
	{"sim --requests good.csv --model llama-3.1-8b --gpu l4 --profile IN --html out.html", "", "profile.json"},
	{"sim --requests good.csv --model llama-3.1-8b --gpu l4 --rate 0.5 --spread IN --html out.html", "", "heads.json"},
	{"sim --cases IN", "", "cases.csv"},
	{"plan --requests good.csv --model llama-3.1-8b --gpu l4 --quality IN --min-quality 0.5 --html out.html", "", "bench.json"},
	{"sweep merge IN --csv out.csv", "", "sweep.jsonl"},
	{"bench merge IN --csv out.csv", "", "bench.jsonl"},
	{"bench --models M --tasks IN --length 64 --csv out.csv", "", "tasks.jsonl"},
	{"bench --models M --tasks good.jsonl --template IN --length 64 --csv out.csv", "", "template.json"},
	{"calibrate --measurements IN -o out.json", "", "runs.csv"},
	{"trace record --model IN --token-ids 1,2 -o out", "model", "config.json"},
	{"trace record --model IN --token-ids 1,2 -o out", "model", "model.safetensors"},
	{"trace record --model IN --token-ids 1,2 -o out", "", "model.bin"},
	{"trace record --model M --prompts IN -o out", "", "prompts.txt"},
	{"generate --model recall-0 --token-ids @IN", "", "ids.txt"},
	{"generate --model recall-0 --prompt a --tokenizer IN", "", "tokenizer.json"},
	{"heads find --model IN --period 5 -o out.json", "model", "config.json"},
	{"heads scope IN", "model", "config.json"},
	{"heads show IN --plot out.svg", "", "map.json"},
	{"heads import IN --ratio 0.5 -o out.json", "", "scores.tsv"},
}

// strange lists the objects that take the place of an input file.
var strange = map[string]func(path string) error{
	"pipe":        func(path string) error { return syscall.Mkfifo(path, 0o600) },
	"folder":      func(path string) error { return os.Mkdir(path, 0o700) },
	"endless":     func(path string) error { return os.Symlink("/dev/zero", path) },
	"loop":        func(path string) error { return os.Symlink(filepath.Base(path), path) },
	"broken link": func(path string) error { return os.Symlink("nowhere", path) },
	"empty":       func(path string) error { return os.WriteFile(path, nil, 0o600) },
	"zeros":       func(path string) error { return os.WriteFile(path, make([]byte, 1000), 0o600) },
	"deep":        func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("[", 100_000)), 0o600) },
	"cut": func(path string) error {
		return os.WriteFile(path, []byte(`{"format":{},"steps":7,"cells":[],"cases":[{"a":1`), 0o600)
	},
	"other types": func(path string) error {
		return os.WriteFile(path, []byte(`{"format":{},"steps":7,"cells":[],"cases":[1],"plan":7,"model_type":[],"layers":"x"}`), 0o600)
	},
	"sparse": func(path string) error { return sparse(path, testsize.Of[int64](10<<20, 10<<20, 100<<20)) },
}

// sparse makes a file of zeros that takes no room.
func sparse(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// raw matches texts of errors of Go's packages, which no message of kvc should contain.
var raw = regexp.MustCompile(`strconv|unmarshal|unexpected (EOF|end of JSON)|Go (struct|value)|[^.]json: |\b(stat|lstat|open) \S+: `)

// TestStrangeInputs replaces each input file of a command with something else, such as a
// directory or a pipe: the command fails soon, with an error that names the file or its folder,
// and writes nothing. Unless KVC_TESTS=full, each input is replaced by some kinds of file, and each kind replaces
// some inputs.
func TestStrangeInputs(t *testing.T) {
	bundled, err := filepath.Abs("../../traces")
	if err != nil {
		t.Fatal(err)
	}
	model := randomFolder(t, "smollm")
	example(t)
	for _, name := range []string{"story", "gqa"} {
		if err := os.CopyFS(filepath.Join("bundled", name), os.DirFS(filepath.Join(bundled, name))); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"good.csv":   "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,100,10\n",
		"log.json":   `[{"id":"a","conversations":[{"from":"human","value":"hello"},{"from":"gpt","value":"hi"}]}]`,
		"good.jsonl": `{"input":"What?","context":"The sky is blue.","answers":["blue"],"dataset":"hotpotqa","_id":"1","all_classes":null,"length":8,"language":"en"}` + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kinds := slices.Sorted(maps.Keys(strange))
	each := testsize.Of(8, 2, 1) // one in this many pairs of an input and a kind is run
	for i, in := range inputs {
		for j, kind := range kinds {
			if (i+j)%each > 0 {
				continue
			}
			if in.file == "prompts.txt" && (kind == "zeros" || kind == "deep" || kind == "cut" || kind == "other types") {
				continue // any text is a prompt
			}
			dir := filepath.Join("in", strings.ReplaceAll(kind, " ", "-"), string(rune('a'+i/26))+string(rune('a'+i%26)))
			path := filepath.Join(dir, in.file)
			what := path
			switch in.folder {
			case "":
			case "story", "gqa":
				if err := linkAll(filepath.Join("bundled", in.folder), dir); err != nil {
					t.Fatal(err)
				}
				what = dir
			case "model":
				if err := linkAll(model, dir); err != nil {
					t.Fatal(err)
				}
				what = dir
			default:
				what = dir
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := strange[kind](path); err != nil {
				t.Fatal(err)
			}
			line := strings.NewReplacer("IN", what, " M ", " "+model+" ").Replace(in.line)
			type ended struct {
				code           int
				stdout, stderr string
			}
			done := make(chan ended, 1)
			go func() {
				code, stdout, stderr := kvc(strings.Fields(line)...)
				done <- ended{code, stdout, stderr}
			}()
			select {
			case e := <-done:
				said := e.stderr
				if strings.HasPrefix(line, "trace check") {
					said = e.stdout
				}
				if e.code != exitUsage && e.code != exitFailed || len(said) > 3000 || strings.Contains(said, "internal error") || raw.MatchString(said) ||
					!strings.Contains(said, filepath.Base(path)) && !strings.Contains(said, dir) {
					t.Errorf("%s: kvc %s: exit code %d: %s", kind, in.line, e.code, said)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: kvc %s hangs", kind, in.line)
			}
			if left, err := filepath.Glob("out*"); err != nil || len(left) > 0 {
				t.Fatalf("%s: kvc %s leaves %v, %v", kind, in.line, left, err)
			}
		}
	}
}

// linkAll makes a folder like another, with hard links to its files: hundreds of copies would take long.
func linkAll(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		return os.Link(path, filepath.Join(to, name))
	})
}
