package cost

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"kvcompress/internal/docstest"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

var update = flag.Bool("update", false, "rewrite the table of throughput in docs/methods/minicache.md")

// The load at which MiniCache's speed-up of about 5 at a batch of 300 is published, as far as it is known: Llama-2-7B on an A100 of
// 80 GB, prompts of 161 tokens and answers of 338.
const loadPrompt, loadAnswer, loadBatch = 161, 338, 300

// held is the memory of a sequence of that load, from the ledger's counts.
type held struct {
	last int64 // bytes of pages at its last token
	read int64 // bytes that its decode steps read of keys and values, on average
}

// sequenceOf serves one sequence on a ledger of the deployment's method, compressed before every step.
func sequenceOf(t *testing.T, d *Deployment) held {
	t.Helper()
	cfg := d.Config()
	cfg.Blocks = 1 << 20
	ledger, err := sim.NewLedger(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	const id = kv.SeqID(1)
	if err := ledger.Prefill(id, loadPrompt); err != nil {
		t.Fatal(err)
	}
	var h held
	for range loadAnswer {
		if cfg.Compresses() {
			if _, err := ledger.Compress(id); err != nil {
				t.Fatal(err)
			}
		}
		kvs, _ := ledger.ReadAll(1)
		h.read += kvs*int64(d.attentionBytes()) + ledger.ReadQuantized(1)
		if err := ledger.DecodeAll(1); err != nil {
			t.Fatal(err)
		}
	}
	h.read /= loadAnswer
	h.last = int64(ledger.Held(id)) * int64(cfg.PageBytes())
	return h
}

// bound returns the tokens a second of a batch that reads the weights and its keys and values at the card's peak, and does
// nothing else.
func (h held) bound(d *Deployment, batch int) float64 {
	bytes := float64(d.Model.StepBytes(d.Weights)) + float64(batch)*float64(h.read)
	return float64(batch) / bytes * d.Card.Read
}

// TestMiniCacheThroughput compares the published speed-up with the bounds from memory and bytes read, and these with
// the table in docs/methods/minicache.md.
func TestMiniCacheThroughput(t *testing.T) {
	d := deployment(t, "llama-2-7b", "a100-80gb")
	with := func(method string, set ref.Settings) *Deployment {
		m := d
		m.Method = ref.Config{Method: method, Set: set}
		return &m
	}
	memory, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	room := memory.KV
	full := sequenceOf(t, &d)
	batch := int(room / full.last)
	best := full.bound(&d, batch)

	var table strings.Builder
	table.WriteString("| cache | GB of a sequence at its end | of f16 | GB read a step | of f16 | batch that fits | tokens/s, at most | of f16 | at a batch of 300 | of f16 at its largest |\n|---|---|---|---|---|---|---|---|---|---|\n")
	row := func(name string, h held) (most, at300 float64) {
		fits := int(room / h.last)
		most, at300 = h.bound(&d, fits), h.bound(&d, loadBatch)
		batch300 := fmt.Sprintf("%.0f | %.2f", at300, at300/best)
		if fits < loadBatch {
			batch300 = "does not fit |"
		}
		fmt.Fprintf(&table, "| %s | %.3f | %.2f | %.3f | %.2f | %d | %.0f | %.2f | %s |\n", name, float64(h.last)/1e9, float64(h.last)/float64(full.last),
			float64(h.read)/1e9, float64(h.read)/float64(full.read), fits, most, most/best, batch300)
		return most, at300
	}
	row("f16", full)
	half, eighth := sequenceOf(t, with("minicache", nil)), sequenceOf(t, with("minicache", ref.Settings{"from": []byte("8")}))
	row("minicache, S = 16", half)
	row("minicache, S = 8", eighth)
	row("flexgen, 4 bits", sequenceOf(t, with("flexgen", nil)))
	row("minicache+kivi, 4 bits, S = 16", sequenceOf(t, with("minicache+kivi", nil)))
	_, at300 := row("minicache+kivi, 4 bits, S = 8", sequenceOf(t, with("minicache+kivi", ref.Settings{"from": []byte("8")})))
	row("minicache+kivi, 4 bits, S = 8, residual 32", sequenceOf(t, with("minicache+kivi", ref.Settings{"from": []byte("8"), "residual": []byte("32")})))

	// The throughput that a cache of f16 would need to have for the published factor.
	baseline := batch
	for baseline > 1 && full.bound(&d, baseline) > at300/5 {
		baseline--
	}
	fmt.Fprintf(&table, "\nA factor of 5 over f16 at a batch of 300 and S = 8 takes an f16 cache that runs at a batch of %d, where %d fit.\n", baseline, batch)

	// Merging saves memory and no reading: by these bounds it gives no factor near 5.
	if half.last >= full.last || eighth.last >= half.last || half.read <= full.read || eighth.read <= half.read {
		t.Errorf("f16 holds %d and reads %d bytes; merged from layer 16 on %d and %d, from 8 on %d and %d", full.last, full.read, half.last, half.read, eighth.last, eighth.read)
	}
	if f := eighth.bound(&d, int(room/eighth.last)) / best; f > 1.2 {
		t.Errorf("merging alone gives a factor of %.2f", f)
	}
	if f := at300 / best; f > 3 {
		t.Errorf("with 4 bits a batch of %d gives a factor of %.2f", loadBatch, f)
	}

	const path, begin, end = "../../docs/methods/minicache.md", "-run MiniCacheThroughput -update writes it -->\n", "<!-- end of throughput -->"
	docstest.Between(t, path, begin, end, table.String(), *update, "go test ./sim/cost -run MiniCacheThroughput -update")
}
