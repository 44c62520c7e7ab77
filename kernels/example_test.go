package kernels_test

import (
	"fmt"
	"log"

	"kvcompress/dtype"
	"kvcompress/kernels"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// The CUDA engine prefills a prompt of 48 tokens and keeps half of its KVs. Its PTX runs on
// the CPU, under all checkers.
func ExampleNew() {
	layers, err := trace.ParseLayers("sink,local:16")
	if err != nil {
		log.Fatal(err)
	}
	t, err := trace.New(trace.Meta{
		FormatVersion: trace.FormatVersion,
		Shape:         kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8},
		DType:         dtype.F32,
		Source:        trace.Source{Kind: "synthetic"},
		Synth:         &trace.Recipe{Seed: 7, Layers: layers},
	}, []trace.Request{{ID: "1", PromptTokens: 48, OutputTokens: 1}})
	if err != nil {
		log.Fatal(err)
	}

	cfg := ref.Default()
	cfg.Shape = t.Meta.Shape
	cfg.Blocks, cfg.BlockSize = 16, 16
	cfg.Compression.Rate = 0.5
	cfg.Compression.ProtectedWindow = 8
	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
	defer dev.Close()
	open := func(id kv.SeqID) (trace.Tensors, error) { return t.Tensors(int(id)) }
	stage := func(e ref.Event) { fmt.Println("after", e.Stage) }
	engine, err := kernels.New(dev, cfg, open, stage, kernels.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	if err := engine.Prefill(0, 48); err != nil {
		log.Fatal(err)
	}
	u := engine.Usage()
	fmt.Println(u.KVs, "KVs in", u.Allocated, "blocks")
	if _, err := engine.Compress(0); err != nil {
		log.Fatal(err)
	}
	u = engine.Usage()
	fmt.Println(u.KVs, "KVs in", u.Allocated, "blocks")
	// Output:
	// after prefill
	// 192 KVs in 12 blocks
	// after decide
	// after move
	// 128 KVs in 8 blocks
}
