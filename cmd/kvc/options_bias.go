package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"kvcompress/dtype"
	"kvcompress/internal/words"
	"kvcompress/npy"
	"kvcompress/ref"
	"kvcompress/safetensors"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// maxBiasBytes bounds a file of head biases, and each array in it: 128 layers, 128 heads and
// 64 bins fit.
const maxBiasBytes = 32 << 20

// The names of a file's arrays in the published implementation.
const (
	biasArray = "bias"     // [L, H, bins]
	binsArray = "pos_bins" // [bins]: the first position of each bin
)

// readHeadBias reads a file of head biases. It is JSON in the form of an options file's
// head_bias, or a safetensors or npz file of two arrays, as IsaacRe/vllm-kvcompress reads.
func readHeadBias(path string) (*ref.HeadBias, error) {
	data, err := regular.ReadFile(path, maxBiasBytes)
	if err != nil {
		return nil, err
	}
	switch {
	case len(data) > 8 && data[8] == '{' && binary.LittleEndian.Uint64(data) < uint64(len(data)):
		return biasOfArrays(tensorArrays(data))
	case bytes.HasPrefix(data, []byte("PK")):
		return biasOfArrays(npzArrays(data))
	default:
		bias := new(ref.HeadBias)
		return bias, strictjson.Unmarshal(data, bias)
	}
}

// array is an array of numbers, the last dimension contiguous.
type array struct {
	shape  []int64
	values []float64
}

// biasOfArrays makes head biases of a file's two arrays. read returns an array by its name.
func biasOfArrays(read func(name string) (array, error)) (*ref.HeadBias, error) {
	bias, err := read(biasArray)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", biasArray, err)
	}
	bins, err := read(binsArray)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", binsArray, err)
	}
	if len(bins.shape) != 1 || len(bias.shape) != 3 || bias.shape[2] != bins.shape[0] || len(bins.values) == 0 {
		return nil, fmt.Errorf("%s has shape %v and %s %v: want [layers, KV heads, bins] and [bins]", biasArray, bias.shape, binsArray, bins.shape)
	}
	b := &ref.HeadBias{}
	for i, v := range bins.values {
		if !(v >= 0 && v <= math.MaxInt32) {
			return nil, fmt.Errorf("%s: [%d] is %g: want a position", binsArray, i, v)
		}
		b.Bins = append(b.Bins, int32(v))
	}
	n, heads := len(b.Bins), int(bias.shape[1])
	for at := 0; at < len(bias.values); at += heads * n {
		var layer [][]float32
		for h := range heads {
			values := make([]float32, n)
			for i := range values {
				values[i] = float32(bias.values[at+h*n+i])
			}
			layer = append(layer, values)
		}
		b.Bias = append(b.Bias, layer)
	}
	return b, nil
}

// npzArrays reads arrays of an npz file, which is a zip of npy files.
func npzArrays(data []byte) func(name string) (array, error) {
	return func(name string) (array, error) {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return array{}, err
		}
		f, err := z.Open(name + ".npy")
		if err != nil {
			return array{}, fmt.Errorf("the file has no such array")
		}
		defer f.Close()
		r := io.LimitReader(f, maxBiasBytes)
		h, err := npy.ReadHeader(r)
		if err != nil {
			return array{}, err
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			return array{}, err
		}
		return decodeArray(h.Type, h.Shape, raw)
	}
}

// tensorArrays reads tensors of a safetensors file.
func tensorArrays(data []byte) func(name string) (array, error) {
	return func(name string) (array, error) {
		f, err := safetensors.Open(bytes.NewReader(data), int64(len(data)), "head bias")
		if err != nil {
			return array{}, err
		}
		t, ok := f.Tensor(name)
		if !ok {
			return array{}, fmt.Errorf("the file has no such tensor")
		}
		raw := make([]byte, t.Bytes())
		if err := f.ReadBytes(raw, name, 0); err != nil {
			return array{}, err
		}
		kinds := map[safetensors.DType]string{
			safetensors.F16: "<f2", safetensors.BF16: "bf16", safetensors.F32: "<f4", safetensors.F64: "<f8",
			safetensors.I16: "<i2", safetensors.I32: "<i4", safetensors.I64: "<i8",
		}
		return decodeArray(kinds[t.DType], t.Shape, raw)
	}
}

// decodeArray reads the numbers of an array of one of NumPy's types, or of bf16.
func decodeArray(kind string, shape []int64, raw []byte) (array, error) {
	of := binary.LittleEndian
	half := func(format dtype.DType) func([]byte) float64 {
		return func(b []byte) float64 {
			var x [1]float32
			format.Decode(x[:], b)
			return float64(x[0])
		}
	}
	types := map[string]struct {
		size  int
		value func([]byte) float64
	}{
		"<f2": {2, half(dtype.F16)}, "bf16": {2, half(dtype.BF16)},
		"<f4": {4, func(b []byte) float64 { return float64(math.Float32frombits(of.Uint32(b))) }},
		"<f8": {8, func(b []byte) float64 { return math.Float64frombits(of.Uint64(b)) }},
		"<i2": {2, func(b []byte) float64 { return float64(int16(of.Uint16(b))) }},
		"<i4": {4, func(b []byte) float64 { return float64(int32(of.Uint32(b))) }},
		"<i8": {8, func(b []byte) float64 { return float64(int64(of.Uint64(b))) }},
	}
	t, ok := types[kind]
	if !ok {
		return array{}, fmt.Errorf("its element type is not supported: want float16, bfloat16, float32, float64, int16, int32 or int64, little-endian")
	}
	n, ok := npy.Header{Shape: shape}.Count()
	if !ok || n != int64(len(raw)/t.size) || len(raw)%t.size != 0 {
		return array{}, fmt.Errorf("shape %v and %s do not fit", shape, words.Count(len(raw), "byte"))
	}
	a := array{shape: shape}
	for ; len(raw) > 0; raw = raw[t.size:] {
		a.values = append(a.values, t.value(raw))
	}
	return a, nil
}
