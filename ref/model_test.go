package ref_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/quant"
	"kvcompress/trace"
)

// model is what the heads of a cache must hold, by position. It follows entering tokens and plans, and does
// not know blocks.
type model struct {
	cfg     ref.Config
	cache   *kv.Cache
	masker  ref.Masker // nil if the method hides nothing
	weights int        // column of the weights of stand-ins, or ref.None
	dropped map[kv.SeqID][]int
	heads   map[kv.SeqID][]entries    // [L·H]
	packed  map[kv.SeqID][][3]int     // [L·H] how many of the oldest keys, and values, are quantized or merged
	kept    map[kv.SeqID][][3][]int32 // [L·H] the keys and values that are retained
	changed map[*entry]bool           // entries that the last plan folded KVs into
	refined bool                      // the last plan's ranking refined its quotas
}

// entries are what a head holds, by position.
type entries struct {
	at   []*entry // nil: none
	held int
}

func (e *entries) enter(new *entry) {
	e.at = append(e.at, new)
	e.held++
}

// take removes the element at an index, and returns it.
func (e *entries) take(position int32) *entry {
	taken := e.at[position]
	e.at[position] = nil
	e.held--
	return taken
}

// entry is what a head holds at a position: a KV, or a stand-in for several.
type entry struct {
	weight  int          // number of KVs that it represents
	hidden  bool         // hidden from queries
	sums    [2][]float64 // of a stand-in: sums of the stored keys, and values, folded into it
	columns []float32    // its numbers in all columns at the last decision
}

func newModel(cfg ref.Config, cache *kv.Cache, method ref.Method) model {
	m := model{cfg: cfg, cache: cache, weights: ref.None, heads: map[kv.SeqID][]entries{}, packed: map[kv.SeqID][][3]int{}, kept: map[kv.SeqID][][3][]int32{}, dropped: map[kv.SeqID][]int{}}
	m.masker, _ = method.(ref.Masker)
	if f, ok := method.(ref.Folder); ok {
		m.weights = f.StandIns().Weight
	}
	return m
}

// hidden returns how many KVs of a sequence are hidden.
func (m *model) hidden(id kv.SeqID) int {
	n := 0
	for _, h := range m.heads[id] {
		for _, e := range h.at {
			if e != nil && e.hidden {
				n++
			}
		}
	}
	return n
}

// prefill enters a prompt.
func (m *model) prefill(id kv.SeqID, n int) {
	heads := make([]entries, m.cfg.Shape.Heads())
	for i := range heads {
		for range n {
			heads[i].enter(&entry{weight: 1})
		}
	}
	m.heads[id], m.dropped[id], m.packed[id], m.kept[id] = heads, make([]int, len(heads)), make([][3]int, len(heads)), make([][3][]int32, len(heads))
}

// decode adds one more token, which is already in the cache.
func (m *model) decode(id kv.SeqID) {
	q := m.cache.Sequence(id)
	for i := range m.heads[id] {
		h := &m.heads[id][i]
		h.enter(&entry{weight: 1, hidden: m.masker != nil && m.masker.HidesNew(q.Prompt, h.held)})
	}
}

// plan applies a plan's edits to the model, before the cache changes.
func (m *model) plan(id kv.SeqID, p *ref.Plan) {
	q := m.cache.Sequence(id)
	m.changed = map[*entry]bool{}
	for i := range p.Edits {
		e := &p.Edits[i]
		h, entries := &q.Heads[e.Head], &m.heads[id][e.Head]
		at := func(logical int32) int32 { return m.cache.Positions[m.cache.Slot(h, int(logical))] }
		switch e.Op {
		case ref.Quantize:
			m.packed[id][e.Head][e.Part] += len(e.KVs)
		case ref.Merge:
			m.packed[id][e.Head][e.Part] += len(e.KVs)
			m.kept[id][e.Head][e.Part] = append(m.kept[id][e.Head][e.Part], e.Retained...)
		case ref.Drop:
			for _, k := range e.KVs {
				m.dropped[id][e.Head] += entries.take(at(k)).weight
			}
		case ref.Mask:
			for k := range int32(h.Len) {
				entries.at[at(k)].hidden = slices.Contains(e.KVs, k)
			}
		case ref.StandIn:
			into, kvs := e.Into, e.KVs
			if into == ref.None {
				into = kvs[0]
			}
			s := entries.at[at(into)]
			m.changed[s] = true
			if s.sums[0] == nil { // a new stand-in, made from this KV
				s.sums = [2][]float64{make([]float64, m.cfg.Shape.HeadSize), make([]float64, m.cfg.Shape.HeadSize)}
				m.add(s, m.cache.Slot(h, int(into)))
			}
			for _, k := range kvs {
				if k == into {
					continue
				}
				m.add(s, m.cache.Slot(h, int(k)))
				s.weight += entries.take(at(k)).weight
			}
		}
	}
}

// add adds the key and the value in a slot to the sums of a stand-in.
func (m *model) add(e *entry, slot int) {
	row := make([]float32, m.cfg.Shape.HeadSize)
	for i, stored := range [2][]byte{m.cache.Key(slot), m.cache.Value(slot)} {
		m.read(row, stored, m.scale(i, int(m.cache.Owners[slot/m.cfg.BlockSize].Layer)))
		for j, x := range row {
			e.sums[i][j] += float64(x)
		}
	}
}

// scale returns the scale of keys (part 0) or values (part 1) in a layer.
func (m *model) scale(part, layer int) float32 {
	k, v := m.cfg.KVScale.Of(layer)
	return [2]float32{k, v}[part]
}

// read decodes stored numbers with the cache's format and a scale; store encodes them.
func (m *model) read(row []float32, stored []byte, scale float32) {
	m.cfg.DType.Decode(row, stored)
	for i := range row {
		row[i] *= scale
	}
}

func (m *model) store(stored []byte, row []float32, scale float32) {
	quotients := slices.Clone(row)
	for i := range quotients {
		quotients[i] /= scale
	}
	m.cfg.DType.Encode(stored, quotients)
}

// largest bounds stored values for inputs up to 2. With scales, rounding up subnormals can double a value.
// Merging changes directions.
func (s *scenario) largest() float64 {
	if s.cfg.KVScale != nil {
		return 4
	}
	if _, ok := s.plain.(ref.Merger); ok { // one element may get the whole norm
		return 2.1 * math.Sqrt(float64(s.cfg.Shape.HeadSize))
	}
	return 2
}

// remember records the columns of everything a sequence holds.
func (m *model) remember(id kv.SeqID) {
	m.each(id, func(head int, position int32, slot int) {
		m.heads[id][head].at[position].columns = m.columns(slot)
	})
}

// columns returns the numbers of a slot in all columns except that of hidden KVs.
func (m *model) columns(slot int) []float32 {
	var all []float32
	for i, c := range m.cache.Columns() {
		if m.masker == nil || i != m.masker.Hidden() {
			all = append(all, m.cache.Data[i][slot*c.Width:][:c.Width]...)
		}
	}
	return all
}

// at returns what a head of a sequence must hold at a position, or nil.
func (m *model) at(id kv.SeqID, head int, position int32) *entry {
	if h := &m.heads[id][head]; position >= 0 && int(position) < len(h.at) {
		return h.at[position]
	}
	return nil
}

func (m *model) each(id kv.SeqID, f func(head int, position int32, slot int)) {
	q := m.cache.Sequence(id)
	for i := range q.Heads {
		for k := range q.Heads[i].Len {
			slot := m.cache.Slot(&q.Heads[i], q.Heads[i].First+k)
			f(i, m.cache.Positions[slot], slot)
		}
	}
}

// observe checks what is visible only between two stages.
func (s *scenario) observe(e ref.Event) {
	cache := s.engine.Cache()
	note := func(err error) { s.broken = errors.Join(s.broken, err) }
	switch e.Stage {
	case ref.StagePrefill:
		s.model.prefill(e.Seqs[0], cache.Sequence(e.Seqs[0]).Len)
	case ref.StageDecode:
		for _, id := range e.Seqs {
			s.model.decode(id)
		}
		for _, o := range e.Parts[0].Floats {
			if !(math.Abs(float64(o)) <= s.largest()) {
				note(fmt.Errorf("an attention output is %g: an unused slot was read", o))
				break
			}
		}
	case ref.StageDecide:
		s.model.remember(e.Seqs[0])
		if err := s.decided(e.Seqs[0], e.Plan); err != nil {
			note(err)
			break // the model cannot apply such a plan
		}
		s.model.plan(e.Seqs[0], e.Plan)
	case ref.StageMove:
		s.model.each(e.Seqs[0], func(head int, position int32, slot int) {
			was, now := s.model.at(e.Seqs[0], head, position), s.model.columns(slot)
			if was != nil && !s.model.changed[was] && !slices.EqualFunc(was.columns, now, sameBits) {
				note(fmt.Errorf("sequence %d, head %d: the KV at position %d has %g in its columns, before it had %g", e.Seqs[0], head, position, now, was.columns))
			}
		})
	case ref.StageRelease:
		delete(s.model.heads, e.Seqs[0])
		delete(s.model.dropped, e.Seqs[0])
		delete(s.model.packed, e.Seqs[0])
		delete(s.model.kept, e.Seqs[0])
	}
	if s.damage != nil {
		s.damage(cache, e)
	}
}

func sameBits(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }

// decided checks a plan before it is carried out: it equals its specification; it asks for what Asks returns;
// its edits are of existing KVs that are not protected; and their number is what the method's counts say.
func (s *scenario) decided(id kv.SeqID, p *ref.Plan) error {
	view := s.view(id)
	if spec := s.method.Spec(view); !reflect.DeepEqual(spec, *p) {
		return fmt.Errorf("the plan is %+v, its specification says %+v", *p, spec)
	}
	if err := s.wellFormed(view, p); err != nil || p.Asked == 0 {
		return err
	}
	counts := view.Counts()
	sinks, newest := 0, 0
	switch m := s.plain.(type) {
	case ref.Dropper:
		r := m.Rank(counts)
		sinks, newest = r.Sinks, r.Window
		s.model.refined = r.Refine != nil
		if err := s.ranked(view, r, p); err != nil {
			return err
		}
	case ref.Protector:
		sinks, newest = m.Protects(counts)
	default:
		return fmt.Errorf("method %s does not say what it protects: it is neither a ref.Dropper nor a ref.Protector", m.Name())
	}
	switch m := s.plain.(type) {
	case ref.Folder:
		if want := folded(view, m.Folding(counts)); !reflect.DeepEqual(want, *p) {
			return fmt.Errorf("the plan is %+v, its Folding walked gives %+v", *p, want)
		}
	case ref.Masker:
		if want := hidden(view, m.Asks(counts), m.Hiding(counts), m.Hidden()); !reflect.DeepEqual(want, *p) {
			return fmt.Errorf("the plan is %+v, its Hiding walked gives %+v", *p, want)
		}
	}
	for _, e := range p.Edits {
		for _, k := range e.KVs {
			position := int(view.Cache.Positions[view.Cache.Slot(&view.Sequence.Heads[e.Head], int(k))])
			if position < sinks || position >= counts.Tokens-newest {
				return fmt.Errorf("head %d: position %d of %d is in an edit: %d sinks and the newest %d are protected", e.Head, position, counts.Tokens, sinks, newest)
			}
		}
	}
	if c, ok := s.plain.(ref.Counter); ok {
		for i, gone := range p.Gone(len(counts.Heads)) {
			if want := c.Evicts(counts)[i]; len(gone) != want {
				return fmt.Errorf("head %d loses %d KVs, its count says %d", i, len(gone), want)
			}
		}
	}
	if ref.KeepsAll(s.plain) && p.Quantized()+p.Merged() != s.plain.Asks(counts) {
		return fmt.Errorf("%d keys and values are quantized and %d merged, its count says %d", p.Quantized(), p.Merged(), s.plain.Asks(counts))
	}
	if m, ok := s.plain.(ref.Merger); ok {
		return retainedByCount(m, p, counts)
	}
	if m, ok := s.plain.(ref.Masker); ok && p.Hidden() != m.Asks(counts) {
		return fmt.Errorf("%d KVs are hidden, its count says %d", p.Hidden(), m.Asks(counts))
	}
	return nil
}

// wellFormed checks that the KVs of edits ascend and exist.
func (s *scenario) wellFormed(v ref.View, p *ref.Plan) error {
	if p.Asked == 0 && (p.Hidden() > 0 || p.KVs() > 0) {
		return fmt.Errorf("nothing is asked for, and the plan is %+v", *p)
	}
	for i, e := range p.Edits {
		if i > 0 && p.Edits[i-1].Head > e.Head || e.Head < 0 || e.Head >= len(v.Sequence.Heads) {
			return fmt.Errorf("edit %d is of head %d", i, e.Head)
		}
		h := &v.Sequence.Heads[e.Head]
		held := int32(h.KVs())
		if e.Op == ref.StandIn && (e.Into < ref.None || e.Into >= held) {
			return fmt.Errorf("head %d, which holds %d KVs, folds KVs into %d", e.Head, held, e.Into)
		}
		if len(e.KVs) == 0 {
			return fmt.Errorf("an edit of head %d has no KVs", e.Head)
		}
		if from := h.End(e.Part); packs(&e) && (int(e.KVs[0]) != from || int(e.KVs[len(e.KVs)-1]) != from+len(e.KVs)-1) {
			return fmt.Errorf("head %d, of which %d of %v are quantized, is to have %v quantized or merged", e.Head, from, e.Part, e.KVs)
		}
		for j, k := range e.KVs {
			if k < 0 || k >= held || j > 0 && e.KVs[j-1] >= k || e.Op == ref.StandIn && k == e.Into {
				return fmt.Errorf("the edit of head %d, which holds %d KVs, into %d, is of %v", e.Head, held, e.Into, e.KVs)
			}
		}
	}
	return nil
}

// ranked checks that a plan equals Walk on the ranking, and that each quota is met as far as its candidates
// fill whole units.
func (s *scenario) ranked(v ref.View, r ref.Ranking, p *ref.Plan) error {
	walked := ref.Walk(r.Problem(v.Cache, v.Sequence))
	if plan := walked.Plan(); !reflect.DeepEqual(plan, *p) {
		return fmt.Errorf("the plan is %+v, its ranking walked gives %+v", *p, plan)
	}
	if r.Refine != nil {
		first := r
		first.Refine = nil
		d := ref.Walk(first.Problem(v.Cache, v.Sequence))
		lost := make([]int, len(d.Heads))
		for i := range lost {
			lost[i] = d.Heads[i].Units
		}
		r.Quotas = r.Refine(lost)
	}
	inQuota := make([]bool, len(walked.Heads))
	for _, q := range r.Quotas {
		lost, can := 0, 0
		for i := q.First; i < q.First+q.Heads; i++ {
			inQuota[i] = true
			lost += walked.Heads[i].Units
			can += s.units(v, r, i)
		}
		if lost != min(q.Units, can) {
			return fmt.Errorf("heads %d to %d lose %d units of %d asked for, and could %d", q.First, q.First+q.Heads-1, lost, q.Units, can)
		}
	}
	for i, h := range walked.Heads {
		last := 0
		if h.Units > 0 {
			last = (v.Sequence.Heads[i].Len-1)%r.Unit + 1 + (h.Units-1)*r.Unit
		}
		if len(h.KVs) != last || h.Units > 0 && !inQuota[i] {
			return fmt.Errorf("head %d loses %d units and %d KVs, in a quota: %t", i, h.Units, len(h.KVs), inQuota[i])
		}
	}
	return nil
}

// folded returns the plan of a Folding: Walk on its ranking.
func folded(v ref.View, f ref.Folding) ref.Plan {
	d := ref.Walk(f.Problem(v.Cache, v.Sequence))
	p := ref.Plan{Asked: d.Asked}
	for head, lost := range d.Heads {
		if len(lost.KVs) > 0 {
			p.Edits = append(p.Edits, f.Edit(head, lost.KVs))
		}
	}
	return p
}

// hidden returns the plan of a Hiding that asks for asks hidden KVs: Walk on its ranking, where KVs that stay
// hidden, by the column, cost less than any score.
func hidden(v ref.View, asks int, h ref.Hiding, column int) ref.Plan {
	problem := h.Problem(v.Cache, v.Sequence)
	problem.Scores = slices.Clone(problem.Scores)
	for slot, is := range v.Cache.Data[column] {
		if is != 0 && int(v.Cache.Positions[slot]) < h.Stay {
			problem.Scores[slot] = -1
		}
	}
	p := ref.Plan{Asked: asks}
	for head, lost := range ref.Walk(problem).Heads {
		if e := h.Edit(head, v.Sequence.Heads[head].Len, lost.KVs); len(e.KVs) > 0 {
			p.Edits = append(p.Edits, e)
		}
	}
	return p
}

// units returns how many units the candidates of a head fill.
func (s *scenario) units(v ref.View, r ref.Ranking, head int) int {
	h := &v.Sequence.Heads[head]
	candidates := 0
	for logical := range h.Len {
		if p := int(v.Cache.Positions[v.Cache.Slot(h, logical)]); p >= r.Sinks && p < v.Sequence.Len-r.Window {
			candidates++
		}
	}
	candidates = min(candidates, max(0, h.Len-r.Keep))
	last := (h.Len-1)%r.Unit + 1
	if h.Len == 0 || candidates < last {
		return 0
	}
	return 1 + (candidates-last)/r.Unit
}

// check checks the whole cache.
func (s *scenario) check() error {
	cache := s.engine.Cache()
	if got := cache.Sequences(); len(got) != len(s.model.heads) {
		return fmt.Errorf("sequences %v are in the cache, %d should be", got, len(s.model.heads))
	}
	owned := make([]bool, cache.Blocks())
	usage := kv.Usage{Free: cache.Free(), Allocated: cache.Blocks() - cache.Free()}
	byHead := make([]int, s.cfg.Shape.Heads())
	for _, id := range cache.Sequences() {
		q := cache.Sequence(id)
		held := 0
		for i := range q.Heads {
			if err := s.checkHead(q, i, owned); err != nil {
				return fmt.Errorf("sequence %d, layer %d, head %d: %w", id, i/s.cfg.Shape.KVHeads, i%s.cfg.Shape.KVHeads, err)
			}
			n := s.model.heads[id][i].held
			usage.KVs += n
			byHead[i] += n
			pages, payload := s.pages(id, i)
			held += pages
			usage.Payload += payload
			usage.Wasted += len(q.Heads[i].Table)*s.cfg.BlockSize - q.Heads[i].Len
		}
		usage.DenseKVs += q.Len * len(q.Heads)
		usage.DenseBlocks += ceil.Div(q.Len, s.cfg.BlockSize) * len(q.Heads)
		if got := s.engine.Held(id); got != held {
			return fmt.Errorf("sequence %d holds %d blocks, %d are reported", id, held, got)
		}
	}
	if !s.quantized() {
		usage.Payload = 0
	}
	if got := s.engine.Usage(); got != usage {
		return fmt.Errorf("the cache's usage is %+v, %+v is reported", usage, got)
	}
	if got := slices.Concat(s.engine.HeadUsage().KVs...); !slices.Equal(got, byHead) {
		return fmt.Errorf("the heads hold %v KVs, %v are reported", byHead, got)
	}
	return s.checkFree(owned)
}

func (s *scenario) checkFree(owned []bool) error {
	cache := s.engine.Cache()
	free := 0
	for b, isOwned := range owned {
		isFree := cache.IsFree(b)
		if isFree == isOwned || isFree != (cache.Owners[b].Seq == kv.NoSeq) {
			return fmt.Errorf("block %d: in a block table: %t, on the free list: %t, owner %+v", b, isOwned, isFree, cache.Owners[b])
		}
		if isFree {
			free++
		}
	}
	if free != cache.Free() {
		return fmt.Errorf("%d blocks are free, %d are counted", free, cache.Free())
	}
	return nil
}

// checkHead compares a head with the model, and checks its blocks.
func (s *scenario) checkHead(q *kv.Sequence, i int, owned []bool) error {
	cache, shape := s.engine.Cache(), s.cfg.Shape
	h := &q.Heads[i]
	layer, head := i/shape.KVHeads, i%shape.KVHeads
	if want := s.model.heads[q.ID][i].held; h.KVs() != want {
		return fmt.Errorf("%d KVs are held, %d should be", h.KVs(), want)
	}
	packed := s.model.packed[q.ID][i]
	if first := min(packed[kv.Keys], packed[kv.Values]); h.First != first || len(h.Table) != ceil.Div(h.KVs(), s.cfg.BlockSize)-first/s.cfg.BlockSize {
		return fmt.Errorf("KVs %d to %d in %d plain blocks, of which those before %d should have left", h.First, h.KVs(), len(h.Table), first)
	}
	own := func(b int32, part kv.Part, logical int) error {
		if owned[b] {
			return fmt.Errorf("block %d is owned twice", b)
		}
		owned[b] = true
		if want := (kv.Owner{Seq: q.ID, Layer: int32(layer), Head: int32(head), Logical: int32(logical), Part: part}); cache.Owners[b] != want {
			return fmt.Errorf("block %d has owner %+v, not %+v", b, cache.Owners[b], want)
		}
		return nil
	}
	if m, ok := s.plain.(ref.Merger); ok && s.merges(i) {
		if err := s.checkMerged(q, i, m); err != nil {
			return err
		}
	}
	for k, b := range h.Table {
		if err := own(b, kv.Both, h.First/s.cfg.BlockSize+k); err != nil {
			return err
		}
	}
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		for _, g := range h.List(part) {
			if g.Deep { // its pages belong to the other head
				continue
			}
			for k, b := range g.Table {
				if err := own(b, part, k); err != nil {
					return err
				}
			}
		}
		if s.merges(i) {
			continue
		}
		if err := s.checkQuantized(q, i, part); err != nil {
			return err
		}
	}
	seen := make([]bool, q.Len)
	in := [2][]byte{s.stored(inputs{q.ID, trace.K, layer}), s.stored(inputs{q.ID, trace.V, layer})}
	tokens, visible := s.model.dropped[q.ID][i]+h.First, 0
	for logical := h.First; logical < h.KVs(); logical++ {
		slot := cache.Slot(h, logical)
		position := cache.Positions[slot]
		e := s.model.at(q.ID, i, position)
		if e == nil || seen[position] {
			return fmt.Errorf("logical index %d: position %d is not to be held, or is twice", logical, position)
		}
		seen[position] = true
		tokens += e.weight
		if !e.hidden {
			visible++
		}
		row := s.cfg.RowBytes()
		at := (int(position)*shape.KVHeads + head) * row
		if err := s.checkEntry(slot, e, [2][]byte{in[0][at:][:row], in[1][at:][:row]}); err != nil {
			return fmt.Errorf("position %d: %w", position, err)
		}
	}
	if tokens != q.Len {
		return fmt.Errorf("its entries represent %d tokens, and %d have entered", tokens, q.Len)
	}
	if m := s.model.masker; m != nil && visible == 0 && m.HidesNew(q.Prompt, h.Len) {
		return fmt.Errorf("all %d KVs are hidden, and the next is", h.Len)
	}
	return nil
}

// merges reports whether a head is of a layer that the method merges.
func (s *scenario) merges(head int) bool {
	m, ok := s.plain.(ref.Merger)
	if !ok {
		return false
	}
	merged, _ := m.Merging().Merges(head / s.cfg.Shape.KVHeads)
	return merged
}

// quantizes returns the format and the arithmetic of a quantized part.
func (s *scenario) quantizes(part kv.Part) (kv.Format, quant.Groups) {
	f, values := s.plain.(ref.Quantizer).Formats()
	if part == kv.Values {
		f = values
	}
	return f, quant.Groups{Bits: f.Bits, Size: f.Group, Type: s.cfg.DType}
}

// pages returns how many blocks a head must hold, and the bytes of what is read from it.
func (s *scenario) pages(id kv.SeqID, head int) (blocks int, payload int64) {
	n, packed := s.model.heads[id][head].held, s.model.packed[id][head]
	if m, ok := s.plain.(ref.Merger); ok && s.merges(head) {
		return s.mergedPages(id, head, m)
	}
	blocks = ceil.Div(n, s.cfg.BlockSize) - min(packed[kv.Keys], packed[kv.Values])/s.cfg.BlockSize
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		payload += int64((n - packed[part]) * s.cfg.RowBytes())
		if packed[part] > 0 {
			f, g := s.quantizes(part)
			blocks += ceil.Div(packed[part], s.cfg.Capacity(f))
			perScale := f.Group
			scales := packed[part] * s.cfg.Shape.HeadSize / perScale
			payload += int64(packed[part]*s.cfg.Shape.HeadSize*g.Bits/8 + 2*scales*s.cfg.DType.Size())
		}
	}
	return blocks, payload
}

// quantized reports whether anything in the cache is quantized.
func (s *scenario) quantized() bool {
	for _, heads := range s.model.packed {
		for _, packed := range heads {
			if packed != ([3]int{}) {
				return true
			}
		}
	}
	return false
}

// checkQuantized compares a head's quantized keys or values, as read, with package quant applied to the
// inputs.
func (s *scenario) checkQuantized(q *kv.Sequence, head int, part kv.Part) error {
	h, n, shape := &q.Heads[head], s.model.packed[q.ID][head][part], s.cfg.Shape
	if _, ok := s.plain.(ref.Quantizer); h.End(part) != n || !ok && n > 0 {
		return fmt.Errorf("%d of %v are quantized, %d should be", h.End(part), part, n)
	}
	if n == 0 {
		return nil
	}
	f, g := s.quantizes(part)
	in := inputs{q.ID, trace.K, head / shape.KVHeads}
	if part == kv.Values {
		in.tensor = trace.V
	}
	d, stored := shape.HeadSize, s.stored(in)
	x := make([]float32, n*d)
	for i := range n {
		s.cfg.DType.Decode(x[i*d:][:d], stored[(i*shape.KVHeads+head%shape.KVHeads)*s.cfg.RowBytes():][:s.cfg.RowBytes()])
	}
	a := quant.Keys(1, n, d)
	if f.Kind == kv.PerToken {
		a = quant.Values(1, n, d)
	}
	codes, err := g.Quantize(a, x)
	if err != nil {
		return err
	}
	want, err := g.Dequantize(a, codes)
	if err != nil {
		return err
	}
	got, reader := make([]float32, n*d), kv.Reader{Cache: s.engine.Cache()}
	reader.Read(got, h, part, 0)
	for i := range want {
		if !sameBits(got[i], want[i]) {
			return fmt.Errorf("element %d of %v of token %d is %g, quantized it is %g", i%d, part, i/d, got[i], want[i])
		}
	}
	return nil
}

// checkEntry compares the columns, key and value in a slot with what the model expects there.
func (s *scenario) checkEntry(slot int, e *entry, want [2][]byte) error {
	cache := s.engine.Cache()
	o := s.plain.Observe()
	for i, c := range cache.Columns() {
		for _, x := range cache.Data[i][slot*c.Width:][:c.Width] {
			if x-x != 0 || o != nil && o.Scorer == nil && o.Column == i && x < 0 {
				return fmt.Errorf("its %s is %g", c.Value, x)
			}
		}
	}
	if m := s.model.masker; m != nil && (cache.Data[m.Hidden()][slot] != 0) != e.hidden {
		return fmt.Errorf("it is hidden: %t, by the column %g", e.hidden, cache.Data[m.Hidden()][slot])
	}
	if w := s.model.weights; w != ref.None && cache.Data[w][slot] != float32(e.weight) {
		return fmt.Errorf("it represents %d KVs, by the column for %g", e.weight, cache.Data[w][slot])
	}
	for i, got := range [2][]byte{cache.Key(slot), cache.Value(slot)} {
		name := [2]string{"key", "value"}[i]
		if e.weight == 1 && !bytes.Equal(got, want[i]) {
			return fmt.Errorf("it has a wrong %s", name)
		}
		if e.weight > 1 {
			scale := s.model.scale(i, int(cache.Owners[slot/s.cfg.BlockSize].Layer))
			if err := s.nearMean(got, e.sums[i], e.weight, scale); err != nil {
				return fmt.Errorf("the stand-in's %s: %w", name, err)
			}
		}
	}
	return nil
}

// stored returns the keys or values of a layer's inputs in the cache's format: [MaxTokens, H, D].
func (s *scenario) stored(in inputs) []byte {
	if s.inputs[in] == nil {
		rows := make([]float32, ref.MaxTokens*s.cfg.Shape.KVHeads*s.cfg.Shape.HeadSize)
		stored := make([]byte, len(rows)*s.cfg.DType.Size())
		if err := ref.NewHashed(in.id, s.cfg.Shape).Read(rows, in.tensor, in.layer, 0, ref.MaxTokens); err == nil { // the error becomes visible in another operation
			s.model.store(stored, rows, s.model.scale(int(in.tensor-trace.K), in.layer))
		}
		s.inputs[in] = stored
	}
	return s.inputs[in]
}

// nearMean checks that a stored row is the mean of n rows with the given sums, of numbers up to the bound
// largest. A mean in binary32 has at most 4 roundings per row, of numbers up to n times largest, which are
// then divided by n; storing and reading are monotonic.
func (s *scenario) nearMean(stored []byte, sums []float64, n int, scale float32) error {
	off := 4 * float64(n) * s.largest() * 0x1p-24
	bound := func(sign float64) []float32 {
		row := make([]float32, len(sums))
		for i, sum := range sums {
			row[i] = float32(sum/float64(n) + sign*off)
		}
		b := make([]byte, len(stored))
		s.model.store(b, row, scale)
		s.model.read(row, b, scale)
		return row
	}
	got := make([]float32, len(sums))
	s.model.read(got, stored, scale)
	low, high := bound(-1), bound(1)
	for i, x := range got {
		if !(x >= low[i] && x <= high[i]) {
			return fmt.Errorf("element %d is %g, the mean of %d is %g", i, x, n, sums[i]/float64(n))
		}
	}
	return nil
}
