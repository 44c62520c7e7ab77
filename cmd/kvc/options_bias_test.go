package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/npy"
	"kvcompress/ref"
	"kvcompress/safetensors"
)

// little returns numbers as little-endian bytes.
func little(t testing.TB, numbers any) []byte {
	t.Helper()
	data, err := binary.Append(nil, binary.LittleEndian, numbers)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// npzFile makes an npz file of arrays: type, shape and bytes by name.
func npzFile(t testing.TB, arrays map[string]npy.Header, data map[string][]byte) []byte {
	t.Helper()
	var file bytes.Buffer
	z := zip.NewWriter(&file)
	for name, h := range arrays {
		w, err := z.Create(name + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		content, err := npy.AppendHeader(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(append(content, data[name]...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// The three formats of a file of head biases give the same biases.
func TestHeadBiasFiles(t *testing.T) {
	want := &ref.HeadBias{Bins: []int32{0, 16}, Bias: [][][]float32{{{0, 0.5}, {1, -1}}, {{2, 0.25}, {3, 4}}}}
	values := []float32{0, 0.5, 1, -1, 2, 0.25, 3, 4}
	header, err := safetensors.AppendHeader(nil, []safetensors.Info{
		{Name: "bias", DType: safetensors.F32, Shape: []int64{2, 2, 2}},
		{Name: "pos_bins", DType: safetensors.I64, Shape: []int64{2}},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	bias, bins := npy.Header{Type: "<f8", Shape: []int64{2, 2, 2}}, npy.Header{Type: "<i8", Shape: []int64{2}}
	double := []float64{0, 0.5, 1, -1, 2, 0.25, 3, 4}
	for name, c := range map[string]struct {
		data []byte
		err  string
	}{
		"json":        {[]byte(`{"bins": [0, 16], "bias": [[[0, 0.5], [1, -1]], [[2, 0.25], [3, 4]]]}`), ""},
		"safetensors": {append(append(header, little(t, values)...), little(t, []int64{0, 16})...), ""},
		"npz": {npzFile(t, map[string]npy.Header{"bias": bias, "pos_bins": bins},
			map[string][]byte{"bias": little(t, double), "pos_bins": little(t, []int64{0, 16})}), ""},
		"one array": {npzFile(t, map[string]npy.Header{"bias": bias}, map[string][]byte{"bias": little(t, double)}), "pos_bins: the file has no such array"},
		"flat": {npzFile(t, map[string]npy.Header{"bias": {Type: "<f8", Shape: []int64{8}}, "pos_bins": bins},
			map[string][]byte{"bias": little(t, double), "pos_bins": little(t, []int64{0, 16})}), "want [layers, KV heads, bins]"},
		"short": {npzFile(t, map[string]npy.Header{"bias": bias, "pos_bins": bins},
			map[string][]byte{"bias": little(t, double)[1:], "pos_bins": little(t, []int64{0, 16})}), "do not fit"},
		"of words": {npzFile(t, map[string]npy.Header{"bias": {Type: "<U3", Shape: []int64{2, 2, 2}}, "pos_bins": bins},
			map[string][]byte{"bias": nil, "pos_bins": nil}), "its element type is not supported"},
		"no zip": {[]byte("PK\x03\x04 and nothing"), "zip: not a valid zip file"},
	} {
		path := filepath.Join(t.TempDir(), "bias")
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readHeadBias(path)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want something with %q", name, err, c.err)
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.err == "" && cmp.Diff(want, got) != "":
			t.Errorf("%s: %s", name, cmp.Diff(want, got))
		}
	}
}

func FuzzHeadBias(f *testing.F) {
	f.Add([]byte(`{"bins": [0], "bias": [[[1]]]}`))
	f.Add(npzFile(f, map[string]npy.Header{"bias": {Type: "<f4", Shape: []int64{1, 1, 1}}, "pos_bins": {Type: "<i4", Shape: []int64{1}}},
		map[string][]byte{"bias": little(f, []float32{1}), "pos_bins": little(f, []int32{0})}))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "bias")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = readHeadBias(path) // neither a panic nor a hang
	})
}
