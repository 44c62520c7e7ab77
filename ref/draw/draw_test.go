package draw

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// TestEveryOption draws many configurations of every method: each must be valid, and each option must take
// several values, including its default.
func TestEveryOption(t *testing.T) {
	methods, cannot, err := Methods()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cannot {
		t.Logf("skipped: %v", c.Why)
	}
	if len(methods)+len(cannot) != len(ref.Methods()) {
		t.Fatalf("%d methods can run and %d cannot, of %d", len(methods), len(cannot), len(ref.Methods()))
	}
	for _, m := range methods {
		t.Run(m.Name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 0))
			values := map[string]map[string]int{}
			for range 200 {
				base := ref.Default()
				base.Shape = kv.Shape{Layers: 1 + r.IntN(3), KVHeads: 1 + r.IntN(3), Group: 1 + r.IntN(3), HeadSize: pick(r, 8, 32, 64)}
				base.Blocks = 100
				if r.IntN(2) == 0 {
					base.Rope = &trace.Rope{Base: 100, RotarySize: 4, Pairing: trace.Interleaved}
				}
				cfg, err := m.Config(r, base)
				if err != nil {
					t.Fatal(err)
				}
				if err := cfg.Validate(); err != nil {
					t.Fatalf("%s: %v", cfg, err)
				}
				for _, o := range m.Options() {
					if values[o.Key] == nil {
						values[o.Key] = map[string]int{}
					}
					values[o.Key][string(cfg.Set[o.Key])]++
				}
			}
			for _, o := range m.Options() {
				if n := len(values[o.Key]); n < 3 || values[o.Key][""] == 0 && o.Default != "null" {
					t.Errorf("option %s, whose default is %s, took only %v", o.Key, o.Default, values[o.Key])
				}
			}
		})
	}
}

// TestEnumerations reads values of options that are words from their help texts.
func TestEnumerations(t *testing.T) {
	entry, err := ref.FindMethod("pyramidkv")
	if err != nil {
		t.Fatal(err)
	}
	m := &Method{Entry: entry}
	for _, o := range entry.Options() {
		want := map[string][]string{
			"pooling": {"avg", "max"}, "group": {"sum", "mean", "max"}, "order": {"before", "after"},
			"budgets": {"published", "exact", "kvpress"},
		}[o.Key]
		if want == nil {
			continue
		}
		if got, err := m.enumeration(o.Key, o.Help); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v; want %v", o.Key, got, err, want)
		}
	}
	if _, err := m.enumeration("pooling", "avg or nothing"); err == nil || !strings.Contains(err.Error(), "fewer than two") {
		t.Errorf("a help with one value: %v", err)
	}
}

// TestRefusals: a method that refuses every draw is an error, and a method that is only planned cannot run.
func TestRefusals(t *testing.T) {
	m := &Method{Entry: ref.Entry{Name: "no such method"}}
	if _, err := m.Config(rand.New(rand.NewPCG(0, 0)), probe("")); err == nil || !strings.Contains(err.Error(), "1000 configurations in a row") {
		t.Errorf("%v", err)
	}
	_, err := newMethod(ref.Entry{Name: "odd", Defaults: func() any {
		return &struct {
			Channel chan int `json:"channel"`
		}{}
	}})
	if err == nil || !strings.Contains(err.Error(), "option channel: values of type chan int") {
		t.Errorf("%v", err)
	}
	_, cannot, err := Methods()
	if err != nil || len(cannot) == 0 || cannot[0].Method != "infllm" {
		t.Errorf("%v, %v", cannot, err)
	}
}
