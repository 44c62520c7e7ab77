package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"kvcompress/internal/words"
	"kvcompress/ref"
	"kvcompress/sim"
)

// summary describes the totals in sentences.
func (p *printer) summary(r *sim.Report, ledger []entry) {
	p.section("Summary", "")
	if Partial(r) {
		p.sentences("PARTIAL: the replay was stopped before its last request had finished; all of this is as far as it came.")
	}
	p.sentences(served(r))
	if r.Options.Compresses() {
		p.sentences(lost(r))
		p.sentences(freed(r))
	}
	p.sentences(memory(r, ledger))
}

// served says how many requests finished, were refused or did not finish.
func served(r *sim.Report) string {
	t := &r.Totals
	var b strings.Builder
	fmt.Fprintf(&b, "Of %s, %s finished", words.Count(len(r.Requests), "request"), words.Number(t.Finished))
	if t.Refused > 0 {
		fmt.Fprintf(&b, " and %s could not be served", words.Number(t.Refused))
	}
	fmt.Fprintf(&b, ", in %s and %s.", words.Count(t.Prefills, "prefill step"), words.Count(t.Decodes, "decode step"))
	if t.Preemptions > 0 {
		again := 0
		for i := range r.Requests {
			again += r.Requests[i].Recomputed
		}
		fmt.Fprintf(&b, " %s made it compute %s again.", words.Count(t.Preemptions, "preemption"), words.Count(again, "token"))
	}
	return b.String()
}

// lost says how many KVs the heads lost, and which lost the most and the fewest.
func lost(r *sim.Report) string {
	type head struct {
		layer, head int
		evicted     int64
	}
	var heads []head
	var entered, evicted int64
	for l, row := range r.Heads.Evicted {
		for h, n := range row {
			heads = append(heads, head{l, h, n})
			evicted += n
			entered += r.Heads.Entered[l][h]
		}
	}
	if evicted == 0 && r.Totals.MaxHidden > 0 {
		return hidden(r)
	}
	if evicted == 0 && r.Totals.Quantized > 0 && r.Totals.Merged > 0 {
		return "No KV was evicted: every token is kept, in some layers with a direction in common, in the others the oldest quantized."
	}
	if evicted == 0 && r.Totals.Quantized > 0 {
		return "No KV was evicted: every token is kept, the oldest quantized."
	}
	if evicted == 0 && r.Totals.Merged > 0 {
		return "No KV was evicted: every token is kept, in some layers with a direction in common."
	}
	if evicted == 0 && r.Totals.Compressions == 0 && packs(r) {
		return "No KV was evicted, and nothing was packed: packing takes free blocks before it frees any, and there were never enough. --blocks makes the cache larger."
	}
	if evicted == 0 {
		return "No KV was evicted: no sequence grew beyond what compression was to leave it."
	}
	slices.SortStableFunc(heads, func(a, b head) int { return cmp.Compare(a.evicted, b.evicted) })
	least, most := heads[0], heads[len(heads)-1]
	middle := heads[(len(heads)-1)/2]
	return fmt.Sprintf("Of %s that entered, %s (%s) were evicted: %s from the head that lost least (layer %d, head %d), %s from the median head, %s from the one that lost most (layer %d, head %d).",
		words.Count(entered, "KV"), words.Number(evicted), percent(float64(evicted)/float64(entered)),
		words.Number(least.evicted), least.layer, least.head, words.Number(middle.evicted), words.Number(most.evicted), most.layer, most.head)
}

// packs reports whether the method keeps every KV and packs them.
func packs(r *sim.Report) bool {
	m, err := r.Options.NewMethod()
	return err == nil && ref.KeepsAll(m)
}

// hidden says how many KVs a method has hidden that evicts none.
func hidden(r *sim.Report) string {
	first := 0 // the request with the most hidden KVs
	for i := range r.Steps {
		for _, c := range r.Steps[i].Compression {
			if c.Hidden == r.Totals.MaxHidden {
				first = int(c.Seq)
			}
		}
	}
	q := &r.Requests[first]
	held := (q.PromptTokens + q.OutputTokens - 1) * r.Shape.Heads() // the last token has no KV yet
	return fmt.Sprintf("No KV was evicted: those that queries are not to read are hidden and stay in the cache. At most %s of one sequence were hidden at a time, of request %s, which had %s in the end.",
		words.Count(r.Totals.MaxHidden, "KV"), q.ID, words.Count(held, "KV"))
}

// Packed says how many keys and values were quantized, and how many merged, as in "quantized 12 and merged 30"; "" for none.
func Packed(t *sim.Totals) string {
	var did []string
	if t.Quantized > 0 {
		did = append(did, "quantized "+words.Number(t.Quantized))
	}
	if t.Merged > 0 {
		did = append(did, "merged "+words.Number(t.Merged))
	}
	return strings.Join(did, " and ")
}

// freed says how many blocks compression freed, and how many it could not free.
func freed(r *sim.Report) string {
	t := &r.Totals
	if t.Compressions == 0 {
		return "No compression ran."
	}
	s := fmt.Sprintf("%s freed %s and moved %s (%s) into the blocks that stayed.",
		words.Count(t.Compressions, "compression"), words.Count(t.BlocksFreed, "block"), words.Count(t.KVsMoved, "KV"), size(t.BytesMoved))
	if did := Packed(t); did != "" {
		return fmt.Sprintf("%s %s keys and values, took %s for them and freed %s.",
			words.Count(t.Compressions, "compression"), did, words.Count(t.BlocksTaken, "block"), words.Count(t.BlocksFreed, "block"))
	}
	short, worst := 0, 0
	for i := range r.Steps {
		for _, c := range r.Steps[i].Compression {
			if c.Short > 0 {
				short++
				worst = max(worst, c.Short)
			}
		}
	}
	if short == 0 && r.Options.CountsBlocks() {
		return s + " All blocks that were to be freed were freed."
	}
	if short == 0 && t.MaxHidden > 0 {
		return s + " All KVs that were to be hidden were hidden."
	}
	if short == 0 {
		return s + " All KVs that were to be evicted were evicted."
	}
	return s + fmt.Sprintf(" Shortfall: %s of them came up to %s short of what was asked, because too few KVs may be evicted.",
		words.Number(short), words.Count(worst, unit(r)))
}

// memory compares the peak of the cache with that of an uncompressed one.
func memory(r *sim.Report, ledger []entry) string {
	block := blockBytes(r)
	meanUsed, meanDense := 0.0, 0.0
	for i := range ledger {
		e := &ledger[i]
		meanUsed += float64(e.Usage.Allocated) / float64(len(ledger))
		meanDense += float64(e.Usage.DenseBlocks) / float64(len(ledger))
	}
	t := &r.Totals
	dense := t.PeakDenseBlocks
	used, uncompressed := int64(t.PeakBlocks)*block, int64(dense)*block
	s := fmt.Sprintf("At its peak the cache held %s, %s of keys and values.", words.Count(t.PeakBlocks, "block"), size(used))
	switch {
	case t.Merged > 0 && t.PeakPayload > 0:
		s += fmt.Sprintf(" The payload was at most %s: directions, norms, retained tokens and what is not merged.", size(t.PeakPayload))
	case t.PeakPayload > 0:
		s += fmt.Sprintf(" While some KVs were quantized, keys and values took at most %s in their formats: codes, scales and minima, and what stays in full precision.", size(t.PeakPayload))
	}
	if t.BlocksFreed == 0 || used == 0 {
		return s
	}
	s += fmt.Sprintf(" The same sequences uncompressed would have needed %s, %s: %.2f times as much",
		words.Count(dense, "block"), size(uncompressed), float64(uncompressed)/float64(used))
	if dense > r.Options.Blocks {
		s += fmt.Sprintf(", and more than the %s there are", words.Count(r.Options.Blocks, "block"))
	}
	s += fmt.Sprintf(". Over all steps it held %s on average instead of %s. The metadata that compression needs took up to %s more",
		words.Count(int(meanUsed+0.5), "block"), words.Number(int(meanDense+0.5)), size(t.MetadataBytes))
	slots := int64(r.Options.BlockSize)
	if perBlock := r.Options.MetadataBytes(1); meanUsed*float64(block+perBlock) > meanDense*float64(block) {
		s += fmt.Sprintf(", on average more than was saved: at a head size of %d a KV of %s carries %s of it",
			r.Shape.HeadSize, size(block/slots), size(perBlock/slots))
	}
	return s + "."
}
