package trace

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// benchTrace writes a recorded trace of one request of the given length, with a quarter of
// Llama-3.1-8B's layers: larger than what a reader holds in memory.
func benchTrace(b *testing.B, tokens int) *Trace {
	b.Helper()
	dir := b.TempDir()
	meta := recordedMeta()
	meta.Shape = kv.Shape{Layers: 8, KVHeads: 8, Group: 4, HeadSize: 128}
	meta.DType = dtype.F16
	w, err := Create(dir, meta)
	if err != nil {
		b.Fatal(err)
	}
	rw, err := w.Begin("a")
	if err != nil {
		b.Fatal(err)
	}
	s := meta.Shape
	q, k := make([]float32, s.Layers*Q.row(s)), make([]float32, s.Layers*K.row(s))
	for i := range q {
		q[i] = float32(i%100) / 8
	}
	copy(k, q)
	for range tokens {
		if err := rw.Append(q, k, k); err != nil {
			b.Fatal(err)
		}
	}
	if err := rw.Finish(Request{ID: "a", PromptTokens: tokens, OutputTokens: 1}); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	tr, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	return tr
}

// BenchmarkRead opens a file and reads all of it, as a prefill does (layer by
// layer) and as decodes do (token by token).
func BenchmarkRead(b *testing.B) {
	for _, tokens := range []int{500, 2000} {
		tr := benchTrace(b, tokens)
		s := tr.Meta.Shape
		size := int64(tokens * s.Layers * (Q.row(s) + 2*K.row(s)) * 2)
		dst := make([]float32, tokens*Q.row(s))
		for _, n := range []int{tokens, 1} {
			b.Run(fmt.Sprintf("tokens=%d/at_a_time=%d", tokens, n), func(b *testing.B) {
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					x, err := tr.Tensors(0)
					if err != nil {
						b.Fatal(err)
					}
					for from := 0; from < tokens; from += n {
						for layer := range s.Layers {
							for t := Q; t <= V; t++ {
								if err := x.Read(dst[:n*t.row(s)], t, layer, from, n); err != nil {
									b.Fatal(err)
								}
							}
						}
					}
					x.Close()
				}
			})
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	tr := benchTrace(b, 2000)
	info, err := tr.Info(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.DiskBytes)
	for b.Loop() {
		for err := range Check(context.Background(), tr.fsys, "", nil) {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanRequests(b *testing.B) {
	var text bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&text, `{"id":"%d","arrival_ns":%d,"prompt_tokens":%d,"output_tokens":12,"prefix_hashes":[1,2,3,4]}`+"\n", i, i*1000, i+1)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range ScanRequests(bytes.NewReader(text.Bytes()), "") {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkAppend writes tokens of Llama-3.1-8B's shape.
func BenchmarkAppend(b *testing.B) {
	meta := recordedMeta()
	meta.Shape = kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}
	w, err := Create(b.TempDir(), meta)
	if err != nil {
		b.Fatal(err)
	}
	rw, err := w.Begin("a")
	if err != nil {
		b.Fatal(err)
	}
	defer rw.Abort()
	s := meta.Shape
	q, k := make([]float32, s.Layers*Q.row(s)), make([]float32, s.Layers*K.row(s))
	b.SetBytes(int64(2 * (len(q) + 2*len(k))))
	for b.Loop() {
		if err := rw.Append(q, k, k); err != nil {
			b.Fatal(err)
		}
		if rw.tokens%1000 == 0 { // do not fill the disk
			for _, part := range rw.parts {
				if _, err := part.f.Seek(0, 0); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
