package trace

import (
	"os/exec"
	"testing"
)

// writeWithPython makes a trace as docs/trace-format.md does, with the bytes that
// safetensors.numpy.save_file gives written by hand, for want of NumPy.
const writeWithPython = `
import json, os, struct, sys
tokens, L, H, G, D = 9, 2, 3, 2, 8
dir = sys.argv[1]
value = lambda t, i: (i % 251 - 125) / 8 + t
tensors = {"q": [tokens, L, H * G, D], "k": [tokens, L, H, D], "v": [tokens, L, H, D]}
header, data = {}, b""
for t, name in enumerate(sorted(tensors)):  # save_file sorts: k, q, v
    shape = tensors[name]
    n = shape[0] * shape[1] * shape[2] * shape[3]
    raw = struct.pack("<%de" % n, *(value(t, i) for i in range(n)))
    header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
with open(os.path.join(dir, "r1.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
with open(os.path.join(dir, "trace.json"), "w") as f:
    json.dump({"format_version": 1, "shape": {"layers": L, "kv_heads": H, "group": G, "head_size": D},
               "dtype": "f16", "source": {"kind": "recorded"}}, f)
with open(os.path.join(dir, "requests.jsonl"), "w") as f:
    print(json.dumps({"id": "r1", "arrival_ns": 0, "prompt_tokens": 6, "output_tokens": 4}), file=f)
`

// TestPython reads a trace that was written without this package.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	dir := t.TempDir()
	if out, err := exec.Command(python, "-c", writeWithPython, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tr, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	x, err := tr.Tensors(0)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s := tr.Meta.Shape
	for at, name := range []Tensor{K, Q, V} {
		for layer := range s.Layers {
			row := name.row(s)
			dst := make([]float32, 9*row)
			if err := x.Read(dst, name, layer, 0, 9); err != nil {
				t.Fatal(err)
			}
			for i, got := range dst {
				element := (i/row*s.Layers+layer)*row + i%row
				if want := float32(element%251-125)/8 + float32(at); got != want {
					t.Fatalf("%v, layer %d, element %d: %g, want %g", name, layer, i, got, want)
				}
			}
		}
	}
}
