package cost

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// Profile has the factors of the terms, fitted to measurements on one or more cards.
type Profile struct {
	Version int    `json:"version"`         // 1
	File    string `json:"file"`            // the measurements
	Start   string `json:"start,omitempty"` // File of the profile from whose fits these started; "" if there is none
	Fits    []Fit  `json:"fits"`
	All     *Fit   `json:"all,omitempty"` // to the rows of all cards, if there are several
}

// Fit is a fit of the factors to measurements on a card.
type Fit struct {
	Card     string        `json:"card"`              // its name in the catalogue
	Server   sim.Scheduler `json:"server,omitempty"`  // the measured server; "" is unknown
	Models   []string      `json:"models"`            // the measured models
	Formats  []string      `json:"weights,omitempty"` // of their weights; empty is their own
	Experts  []string      `json:"experts,omitempty"` // of the weights of those with experts; empty is not stated
	Unpacked []string      `json:"unpacked"`          // formats of weights that servers unpacked on the cards of the runs; null is not stated
	Of       string        `json:"of"`                // the measurements, in words
	Rows     int           `json:"rows"`              // number of measurements
	Factors  Factors       `json:"factors"`           // by term: a multiple of the time at the card's peak, or µs for an overhead
	Fitted   []string      `json:"fitted"`            // terms that were fitted; the others have their defaults

	Undetermined []string `json:"undetermined,omitempty"` // of the fitted terms, those that the rows determine less than the start of the fit does
	AtBound      []string `json:"at_bound,omitempty"`     // of the fitted terms, those at their physical bound
	Quality      Quality  `json:"quality"`

	// Overlap says that the matrix products of a step and the reading of their weights overlap:
	// together they take the root of the sum of their squares, a soft maximum. Otherwise their times
	// add up.
	Overlap bool `json:"overlap,omitempty"`

	KVOneFactor bool `json:"-"` // the profile that was read has no factor kv8, so it is not known whether its runs had 8-bit caches
}

// Quality is how far a fit is off the measurements, as parts; nil where that was not measured.
type Quality struct {
	MAPE           *float64 `json:"mape,omitempty"`            // mean absolute error
	MaxError       *float64 `json:"max_error,omitempty"`       // absolute
	CrossMAPE      *float64 `json:"cross_mape,omitempty"`      // of rows whose input length was left out of the fit
	CrossMaxError  *float64 `json:"cross_max_error,omitempty"` // likewise
	CompressedMAPE *float64 `json:"compressed_mape,omitempty"`
	VanillaMAPE    *float64 `json:"vanilla_mape,omitempty"`

	// Of fits to serving runs. The errors of other cards are those of fits to all cards but
	// one, on that one: the mean over the cards, and the largest.
	TTFTMAPE         *float64 `json:"ttft_mape,omitempty"`
	TPOTMAPE         *float64 `json:"tpot_mape,omitempty"`
	ThroughputMAPE   *float64 `json:"throughput_mape,omitempty"`
	CrossTPOTMAPE    *float64 `json:"cross_tpot_mape,omitempty"`               // of each half of the rows by a fit to the other
	CrossThroughput  *float64 `json:"cross_throughput_mape,omitempty"`         // likewise
	SourceTPOTMAPE   *float64 `json:"other_sources_tpot_mape,omitempty"`       // of each source by a fit to the others on the card: the mean over the sources
	SourceThroughput *float64 `json:"other_sources_throughput_mape,omitempty"` // likewise
	WorstSourceTPOT  *float64 `json:"worst_source_tpot_mape,omitempty"`        // the largest
	WorstSourceRate  *float64 `json:"worst_source_throughput_mape,omitempty"`  // likewise
	OtherTPOTMAPE    *float64 `json:"other_cards_tpot_mape,omitempty"`
	OtherThroughput  *float64 `json:"other_cards_throughput_mape,omitempty"`
	WorstTPOTMAPE    *float64 `json:"worst_card_tpot_mape,omitempty"`
	WorstThroughput  *float64 `json:"worst_card_throughput_mape,omitempty"`
}

// others sets the errors of other cards to those of another quality.
func (q *Quality) others(of *Quality) {
	q.OtherTPOTMAPE, q.OtherThroughput = of.OtherTPOTMAPE, of.OtherThroughput
	q.WorstTPOTMAPE, q.WorstThroughput = of.WorstTPOTMAPE, of.WorstThroughput
}

// vllmV1 has the fits to measured runs of vLLM V1, which scripts/fit-vllm-v1 writes.
//
//go:embed vllm-v1.json
var vllmV1 []byte

// The fits to measured runs of other servers, which scripts/fit-servers writes.
var (
	//go:embed vllm-v0.json
	vllmV0 []byte
	//go:embed sglang.json
	sglang []byte
	//go:embed trtllm.json
	trtllm []byte
)

// ShippedProfile returns the fits of [DefaultProfile] to one server.
func ShippedProfile(server sim.Scheduler) *Profile {
	p := DefaultProfile()
	p.File = string(server)
	p.Fits = slices.DeleteFunc(p.Fits, func(f Fit) bool { return f.Server != server })
	return p
}

// DefaultProfile returns the profile that is used by default.
//
// For KV-Compress's server and vLLM 0.6.0 on cards of the chip GH100 it has the fit to the rows of the
// H100 in IsaacRe/vllm-kvcompress's throughput benchmark, rounded; on other cards the defaults of
// [Terms], a fit to the L4's rows. For vLLM V1 it has fits to measured serving runs on an A100, an RTX
// 4090, an H100, an H200, a B200 and an RTX PRO 6000, and for other cards the fit to all of them.
// docs/cost-model.md has the sources.
func DefaultProfile() *Profile {
	const source = "the defaults%s, which follow the throughput published for vLLM 0.6.0 in eager mode on an %s (IsaacRe/vllm-kvcompress)"
	hopper := DefaultFactors()
	for id, factor := range map[string]float64{
		"weights": 0.974, "gemm": 3.12, "attention": 4.9, "kv": 6.37, "decode_gemm": 1.14, "compression": 18.5e3, "compressed_sequence": 432,
	} {
		hopper[id] = factor
	}
	hopper.share(func(id string) bool { return id == "weights" || id == "gemm" || id == "kv" })
	l4 := Fit{Card: "l4", Server: sim.KVCompressServer, Of: fmt.Sprintf(source, "", "L4"), Factors: DefaultFactors(), Quality: publishedL4()}
	h100 := Fit{Card: "h100-nvl", Server: sim.KVCompressServer, Of: fmt.Sprintf(source, " of Hopper", "H100"), Factors: hopper, Quality: publishedH100()}
	others := l4
	others.Card = AnyCard
	p := &Profile{Version: profileVersion, Fits: []Fit{l4, h100, others}}
	for _, text := range [][]byte{vllmV1, vllmV0, sglang, trtllm} {
		of, err := ReadProfile(bytes.NewReader(text))
		if err != nil {
			panic("cost: a shipped profile: " + err.Error()) // cannot happen: a test reads the embedded file
		}
		p.Fits = append(p.Fits, of.Fits...)
		if of.All != nil {
			p.Fits = append(p.Fits, *of.All)
		}
	}
	return p
}

// publishedL4 and publishedH100 return the errors of the defaults on the published rows of each card,
// as in the table of docs/cost-model.md. TestPublished checks them.
func publishedL4() Quality   { return Quality{MAPE: new(0.020), MaxError: new(0.074)} }
func publishedH100() Quality { return Quality{MAPE: new(0.013), MaxError: new(0.039)} }

const profileVersion = 1

// For returns the fit to use for a card and a server. A fit to the server is preferred to any other;
// then a fit to the card, to another card of its chip, to several cards, and last to another card.
func (p *Profile) For(card *catalog.Card, server sim.Scheduler) Fit {
	fits := p.Fits
	if p.All != nil {
		fits = append(slices.Clone(fits), *p.All)
	}
	best, least := 0, math.MaxInt
	for i := range fits {
		if n := fits[i].distance(card, server); n < least {
			best, least = i, n
		}
	}
	return fits[best]
}

// AnyCard is the Card of a fit to several cards.
const AnyCard = "any"

// cardsOfFit returns the card of a fit in words.
func cardsOfFit(card string) string {
	if card == AnyCard {
		return "several cards"
	}
	return card
}

// alike reports whether two servers take the same time for the same batches. KV-Compress's server and
// vLLM 0.6.0 do, since only their schedulers differ.
func alike(a, b sim.Scheduler) bool {
	of := func(s sim.Scheduler) sim.Scheduler {
		if s == sim.VLLM06 {
			return sim.KVCompressServer
		}
		return s
	}
	return of(a) == of(b)
}

// nearness is the relation of a fit's card to another card.
type nearness int

const (
	sameCard nearness = iota
	sameChip
	severalCards
	otherCard
)

func (f *Fit) near(card *catalog.Card) nearness {
	if f.Card == card.Name {
		return sameCard
	}
	if f.Card == AnyCard || f.Card == "all" {
		return severalCards
	}
	if of, err := catalog.FindCard(f.Card); err == nil && of.Chip() != "" && of.Chip() == card.Chip() {
		return sameChip
	}
	return otherCard
}

// distance orders fits by how well they suit a card and server; the server counts first.
func (f *Fit) distance(card *catalog.Card, server sim.Scheduler) int {
	n := int(f.near(card))
	switch {
	case f.Server != "" && !alike(f.Server, server):
		n += 20
	case f.Server == "":
		n += 10
	}
	return n
}

// Suits returns in words how the server and card of a fit differ from the given ones, such as "another
// card of the same chip (…)"; "" if they do not.
func (f *Fit) Suits(card *catalog.Card, server sim.Scheduler) string {
	var other []string
	if f.Server != "" && !alike(f.Server, server) {
		other = append(other, fmt.Sprintf("another server (%s, not %s)", f.Server, server))
	}
	switch f.near(card) {
	case sameChip:
		other = append(other, fmt.Sprintf("another card of the same chip (%s, not %s)", f.Card, card.Name))
	case severalCards:
		other = append(other, "other cards than "+card.Name)
	case otherCard:
		other = append(other, fmt.Sprintf("another card (%s, not %s)", f.Card, card.Name))
	}
	return strings.Join(other, " and ")
}

// Expected returns, in words, the error to expect of a projection by this fit on a card and a server.
func (f *Fit) Expected(card *catalog.Card, server sim.Scheduler) string {
	q, near := &f.Quality, f.near(card)
	knownOthers := q.OtherTPOTMAPE != nil || q.OtherThroughput != nil
	part := func(v *float64) string { return fmt.Sprintf("%.1f %%", 100**v) }
	others := listErrors(q.OtherTPOTMAPE, nil, q.OtherThroughput) + " on average"
	if worst := listErrors(q.WorstTPOTMAPE, nil, q.WorstThroughput); worst != "" {
		others += ", at worst " + worst
	}
	others += ", as on each fitted card by a fit to the others"
	var text string
	switch {
	case f.timed() && q.MAPE != nil:
		text = "not known, as no run was measured: the fit is off its timings of single terms by " + part(q.MAPE) + " on average"
		if q.MaxError != nil {
			text += ", by " + part(q.MaxError) + " at most"
		}
		return text
	case f.Server != "" && !alike(f.Server, server):
		return "not known: it is a fit to another server"
	case knownOthers && (near != sameCard || q.TPOTMAPE == nil && q.ThroughputMAPE == nil):
		return others
	case q.TPOTMAPE != nil || q.ThroughputMAPE != nil:
		text = listErrors(q.TPOTMAPE, q.TTFTMAPE, q.ThroughputMAPE) + " on average over its rows"
		cross := listErrors(q.CrossTPOTMAPE, nil, q.CrossThroughput)
		if cross != "" {
			text += ", " + cross + " over rows left out of a fit"
		}
		if unlike := listErrors(q.SourceTPOTMAPE, nil, q.SourceThroughput); unlike != "" {
			text += "; on runs unlike them " + unlike + ", at worst " + listErrors(q.WorstSourceTPOT, nil, q.WorstSourceRate) + ", as on each source by a fit to the others"
		} else if cross == "" && knownOthers {
			text += ", which are too few runs to leave some out: of other runs expect " + others
		}
	case q.MAPE != nil:
		text = "throughput " + part(q.MAPE) + " on average over its rows"
		if q.MaxError != nil {
			text += ", at most " + part(q.MaxError)
		}
	default:
		return "not known"
	}
	if near != sameCard {
		text += "; on this card it is not known, and larger"
	}
	return text
}

// listErrors returns the errors that are known in words.
func listErrors(tpot, ttft, throughput *float64) string {
	var list []string
	for _, e := range []struct {
		of   string
		mape *float64
	}{{"TPOT", tpot}, {"TTFT", ttft}, {"throughput", throughput}} {
		if e.mape != nil {
			list = append(list, fmt.Sprintf("%s %.1f %%", e.of, 100**e.mape))
		}
	}
	if last := len(list) - 1; last > 0 {
		list = append(list[:last-1], list[last-1]+" and "+list[last])
	}
	return strings.Join(list, ", ")
}

// Write writes the profile as JSON. Equal profiles are equal bytes.
func (p *Profile) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(p)
}

const maxProfileBytes = 1 << 20

// ReadProfile reads what Write wrote.
func ReadProfile(r io.Reader) (*Profile, error) {
	text, err := regular.ReadAll(r, maxProfileBytes)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	p := new(Profile)
	if err := strictjson.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if p.Version != profileVersion {
		return nil, fmt.Errorf("profile: version %d, want %d", p.Version, profileVersion)
	}
	if len(p.Fits) == 0 {
		return nil, errors.New("profile: no fits")
	}
	for i := range p.Fits {
		if err := p.Fits[i].complete(); err != nil {
			return nil, fmt.Errorf("profile: fit of %s: %w", p.Fits[i].Card, err)
		}
	}
	if p.All != nil {
		if err := p.All.complete(); err != nil {
			return nil, fmt.Errorf("profile: all: %w", err)
		}
	}
	return p, nil
}

// complete checks and completes the factors of a fit that was read.
func (f *Fit) complete() error {
	_, kv8 := f.Factors["kv8"]
	f.KVOneFactor = !kv8
	return f.Factors.complete()
}

// maxFactor bounds a factor: a millionth of the peak's speed, or a second.
const maxFactor = 1e6

// complete checks the factors, and sets those of terms that the profile does not have to those of their
// other parts, or to their defaults.
func (f *Factors) complete() error {
	known := DefaultFactors()
	var ids []string
	for id := range *f {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	for _, id := range ids {
		v := (*f)[id]
		if _, ok := known[id]; !ok {
			return fmt.Errorf("factor of an unknown term %.40q", id)
		}
		if math.IsNaN(v) || v < 0 || v > maxFactor {
			return fmt.Errorf("factor of %s is %v, want 0 to %g", id, v, float64(maxFactor))
		}
		known[id] = v
	}
	known.share(func(id string) bool { return slices.Contains(ids, id) })
	*f = known
	return nil
}
