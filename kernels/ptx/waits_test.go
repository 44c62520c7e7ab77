package ptx_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kernels"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

var waits = regexp.MustCompile(`(?m)^\s*cp\.async\.wait_(group|all)\b.*$`)

// withoutWait loads the attention kernels without one of their waits for asynchronous copies.
type withoutWait struct {
	*ptx.Device
	wait int // -1 for none
}

func (d withoutWait) Load(name string, text []byte) (device.Module, error) {
	if name == "attention.ptx" && d.wait >= 0 {
		at := waits.FindAllIndex(text, -1)[d.wait]
		text = append(text[:at[0]:at[0]], text[at[1]:]...)
	}
	return d.Device.Load(name, text)
}

// TestEveryWait removes each wait for asynchronous copies from the project's attention kernels, one at a
// time: the checkers must report each.
func TestEveryWait(t *testing.T) {
	text, err := kernels.PTX("attention.ptx")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(`\.entry attend_partitions_(\w+)\(`)
	found := waits.FindAllIndex(text, -1)
	if len(found) == 0 {
		t.Fatal("the attention kernels have no asynchronous copies")
	}
	types := map[string]dtype.DType{"f32": dtype.F32, "f16": dtype.F16, "bf16": dtype.BF16, "e4m3": dtype.E4M3, "e5m2": dtype.E5M2}
	var programs ptx.Cache
	newDevice := func(wait int) device.Device {
		return withoutWait{ptx.New(ptx.Options{Checks: ptx.AllChecks(), Cache: &programs}), wait}
	}
	sound := map[dtype.DType]bool{} // formats of which the kernel with all its waits was run
	for wait, at := range found {
		names := entry.FindAllSubmatch(text[:at[0]], -1)
		name := string(names[len(names)-1][1])
		line := strings.Count(string(text[:at[0]]), "\n") + 2
		t.Run(fmt.Sprintf("line %d, %s", line, name), func(t *testing.T) {
			typ, ok := types[name]
			if !ok {
				t.Fatalf("no pages of %s", name)
			}
			if testing.Short() && typ != dtype.F32 && typ != dtype.E4M3 {
				t.Skip("one format of numbers as they are, and one of converted ones, are enough")
			}
			if !sound[typ] {
				sound[typ] = true
				if err := decodeOnce(newDevice(-1), typ); err != nil {
					t.Fatal(err)
				}
			}
			err := decodeOnce(newDevice(wait), typ)
			var r *ptx.Report
			if !errors.As(err, &r) || r.Kind != ptx.NotAwaited {
				t.Errorf("%v, want %s", err, ptx.NotAwaited)
			}
		})
	}
}

// decodeOnce enters a prompt and decodes a token.
func decodeOnce(dev device.Device, typ dtype.DType) error {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 64}
	cfg.Blocks, cfg.DType = 64, typ
	const tokens = 150
	e, err := kernels.New(dev, cfg, func(id kv.SeqID) (trace.Tensors, error) {
		return ones{tokens + 1}, nil
	}, nil, kernels.Options{})
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Prefill(0, tokens); err != nil {
		return err
	}
	return e.Decode([]kv.SeqID{0})
}

// ones is tensors of ones.
type ones struct{ tokens int }

func (o ones) Tokens() int  { return o.tokens }
func (o ones) Close() error { return nil }
func (o ones) Read(dst []float32, _ trace.Tensor, _, _, _ int) error {
	for i := range dst {
		dst[i] = 1
	}
	return nil
}
