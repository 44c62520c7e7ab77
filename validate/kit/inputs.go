package kit

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"

	"kvcompress/kv"
	"kvcompress/npy"
	"kvcompress/safetensors"
	"kvcompress/trace"
)

// inputTokens is the number of tokens whose inputs are read at a time.
const inputTokens = 256

// writeInputs writes Q, K and V of a sequence, for the tokens that enter the cache.
func writeInputs(ctx context.Context, dir string, m *Manifest, in *Inputs, open func(kv.SeqID) (trace.Tensors, error)) (err error) {
	tensors, err := open(in.Sequence)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tensors.Close()) }()
	order := []trace.Tensor{trace.Q, trace.K, trace.V}
	if m.Arrays == Safetensors {
		infos := make([]safetensors.Info, len(in.Parts))
		for i := range in.Parts {
			infos[i] = safetensors.Info{Name: in.Parts[i].Name, DType: safetensors.F32, Shape: in.Parts[i].shape()}
		}
		header, err := safetensors.AppendHeader(nil, infos, 0)
		if err != nil {
			return err
		}
		return writeTensors(ctx, filepath.Join(dir, filepath.FromSlash(in.Parts[0].File)), header, m.Shape, in.Tokens, tensors, order...)
	}
	for i, t := range order {
		header, err := npy.AppendHeader(nil, npy.Header{Type: "<f4", Shape: in.Parts[i].shape()})
		if err != nil {
			return err
		}
		if err := writeTensors(ctx, filepath.Join(dir, filepath.FromSlash(in.Parts[i].File)), header, m.Shape, in.Tokens, tensors, t); err != nil {
			return err
		}
	}
	return nil
}

// writeTensors writes a file: a header, then each tensor, [tokens, L, heads, D] F32.
func writeTensors(ctx context.Context, path string, header []byte, shape kv.Shape, tokens int, from trace.Tensors, order ...trace.Tensor) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 256<<10)
	w.Write(header) // Flush returns an error of this
	for _, t := range order {
		row := t.Heads(shape) * shape.HeadSize
		layers := make([][]float32, shape.Layers)
		for first := 0; first < tokens; first += inputTokens {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(inputTokens, tokens-first)
			for l := range layers {
				layers[l] = append(layers[l][:0], make([]float32, n*row)...)
				if err := from.Read(layers[l], t, l, first, n); err != nil {
					return err
				}
			}
			var buf []byte
			for i := range n {
				for l := range layers {
					buf = appendFloats(buf[:0], layers[l][i*row:][:row]...)
					w.Write(buf)
				}
			}
		}
	}
	return w.Flush()
}
