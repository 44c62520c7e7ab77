package sim

import (
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
)

func smallConfig() ref.Config {
	cfg := ref.Default()
	cfg.Shape, cfg.BlockSize, cfg.Blocks = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, 1, 100
	return cfg
}

// TestLedgerDecodesOnce checks that a batch with the same sequence twice changes nothing.
func TestLedgerDecodesOnce(t *testing.T) {
	cfg := smallConfig()
	l, err := NewLedger(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id := range kv.SeqID(2) {
		if err := l.Prefill(id, 4); err != nil {
			t.Fatal(err)
		}
	}
	before := l.Usage()
	for _, batch := range [][]kv.SeqID{{0, 0}, {1, 0, 1}} {
		if err := l.Decode(batch); err == nil || !strings.Contains(err.Error(), "twice") || l.Usage() != before {
			t.Errorf("%v: %v, %+v", batch, err, l.Usage())
		}
	}
	if err := l.Decode([]kv.SeqID{1, 0}); err != nil || l.Usage().KVs != before.KVs+2 {
		t.Errorf("%v, %+v", err, l.Usage())
	}
}

// TestServerOfAnotherCache checks that a server with another configuration than its cache is refused.
func TestServerOfAnotherCache(t *testing.T) {
	cfg := smallConfig()
	ledger, err := NewLedger(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*ref.Config){
		"blocks":     func(c *ref.Config) { c.Blocks++ },
		"block size": func(c *ref.Config) { c.BlockSize = 16 },
		"shape":      func(c *ref.Config) { c.Shape.Layers = 1 << 62 },
		"rate":       func(c *ref.Config) { c.Compression.Rate = 0.5 },
		"method":     func(c *ref.Config) { c.UseMethod("tova") },
	} {
		other := cfg
		edit(&other)
		for _, cache := range []Cache{ledger, engine} {
			if _, err := NewServer(cache, &other, Schedule{}, DefaultLimits(), nil, nil); err == nil || !strings.Contains(err.Error(), "its cache's is") {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := NewServer(cache, &cfg, Schedule{}, DefaultLimits(), nil, nil); err != nil {
				t.Error(err)
			}
		}
	}
}
