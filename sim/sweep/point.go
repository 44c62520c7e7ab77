package sweep

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// Point is the input of one projection of a sweep: a model, cards, memory, compression, batch limit
// and load.
type Point struct {
	Model       string      `json:"model"`
	Card        string      `json:"gpu"`                // its name in the catalogue, or its file
	Named       string      `json:"gpu_name,omitempty"` // the card's name, if the file says another than its own
	TP          int         `json:"tensor_parallel"`    // cards
	Budget      Budget      `json:"memory_budget"`
	Compression Compression `json:"compression"`
	MaxNumSeqs  int         `json:"max_num_seqs"` // most sequences that run at a time
	Load        float64     `json:"load"`         // arrival rate as a multiple of the recorded one

	Concurrency int `json:"concurrency,omitempty"` // clients of a closed loop; 0: requests arrive at their recorded times
	Replicas    int `json:"replicas,omitempty"`    // equal servers behind a router; 0 is 1

	// Prefill and Decode are the numbers of prefill and decode servers, in place of Replicas; 0 if
	// all servers do both.
	Prefill int `json:"prefill_replicas,omitempty"`
	Decode  int `json:"decode_replicas,omitempty"`
}

// Disaggregated reports whether some servers prefill and others decode.
func (p *Point) Disaggregated() bool { return p.Prefill > 0 || p.Decode > 0 }

// Servers returns the number of servers of all kinds.
func (p *Point) Servers() int {
	if p.Disaggregated() {
		return p.Prefill + p.Decode
	}
	return max(1, p.Replicas)
}

// Replicated names several servers, such as "2 replicas of " followed by the name of one.
func (p *Point) Replicated(one string) string {
	switch n := p.Servers(); {
	case p.Disaggregated():
		return fmt.Sprintf("%d prefill + %d decode replicas of %s", p.Prefill, p.Decode, one)
	case n > 1:
		return fmt.Sprintf("%d replicas of %s", n, one)
	}
	return one
}

// CardName returns the name of the card: of one that a file describes, the name that it states, or else the
// file's without folder and extension.
func (p *Point) CardName() string {
	return cmp.Or(p.Named, strings.TrimSuffix(filepath.Base(p.Card), ".json"))
}

// String describes the point in one line.
func (p *Point) String() string {
	load := fmt.Sprintf("load × %.4g", p.Load)
	if p.Concurrency > 0 {
		load = fmt.Sprintf("%d clients", p.Concurrency)
		if p.Concurrency == 1 {
			load = "1 client"
		}
	}
	return fmt.Sprintf("%s on %s, memory %s, compression %s, batch limit %d, %s",
		p.Model, p.Replicated(fmt.Sprintf("%d × %s", p.TP, p.CardName())), p.Budget, p.Compression, p.MaxNumSeqs, load)
}

// Axes are the lists of values that a sweep combines.
type Axes struct {
	Models       []string
	Cards        []string
	TP           []int
	Budgets      []Budget
	Compressions []Compression
	MaxNumSeqs   []int
	Loads        []float64
	Concurrency  []int // clients; empty or 0 is an open loop
	Replicas     []int // empty is 1, or none if there are Prefill and Decode
	Prefill      []int // numbers of prefill servers, each combined with each number of decode servers
	Decode       []int
}

// servers returns points with the numbers of servers set: first replicas, then prefill and decode
// servers.
func (a *Axes) servers() []Point {
	var list []Point
	for _, n := range a.Replicas {
		list = append(list, Point{Replicas: n})
	}
	for _, prefill := range a.Prefill {
		for _, decode := range a.Decode {
			list = append(list, Point{Prefill: prefill, Decode: decode})
		}
	}
	if len(list) == 0 {
		list = []Point{{}}
	}
	return list
}

// MaxPoints bounds a sweep.
const MaxPoints = 1_000_000

// Points returns every combination once; the last axis varies fastest. Models and cards are named
// as in the catalogue, or as given if the catalogue has none that is equal.
func (a *Axes) Points() ([]Point, error) {
	concurrency := a.Concurrency
	if len(concurrency) == 0 {
		concurrency = []int{0}
	}
	if (len(a.Prefill) > 0) != (len(a.Decode) > 0) {
		return nil, errors.New("sweep: prefill servers and decode servers need each other: want numbers of both")
	}
	if len(a.Prefill) > MaxPoints || len(a.Decode) > MaxPoints/max(1, len(a.Prefill)) {
		return nil, fmt.Errorf("sweep: more than %d points", MaxPoints)
	}
	servers := a.servers()
	n := 1
	for _, axis := range []struct {
		name string
		n    int
	}{
		{"model", len(a.Models)}, {"card", len(a.Cards)}, {"tensor parallelism", len(a.TP)}, {"memory budget", len(a.Budgets)},
		{"compression", len(a.Compressions)}, {"batch limit", len(a.MaxNumSeqs)}, {"load", len(a.Loads)}, {"concurrency", len(concurrency)}, {"replicas", len(servers)},
	} {
		if axis.n == 0 {
			return nil, fmt.Errorf("sweep: no %s", axis.name)
		}
		if n *= axis.n; n > MaxPoints {
			return nil, fmt.Errorf("sweep: more than %d points", MaxPoints)
		}
	}
	var errs []error
	models, cards := slices.Clone(a.Models), slices.Clone(a.Cards)
	for i, name := range models {
		m, err := catalog.FindModel(name)
		if err != nil { // it lists all models, so one such error is enough
			return nil, err
		}
		if again, otherErr := catalog.FindModel(m.Name); otherErr == nil && reflect.DeepEqual(again, m) {
			models[i] = m.Name
		}
	}
	names := make([]string, len(cards))
	for i, name := range cards {
		c, err := catalog.FindCard(name)
		if err != nil {
			return nil, err
		}
		if again, otherErr := catalog.FindCard(c.Name); otherErr == nil && reflect.DeepEqual(again, c) {
			cards[i] = c.Name
		}
		names[i] = c.Name
	}
	for i, card := range cards {
		if j := slices.Index(names[:i], names[i]); j >= 0 && cards[j] != card {
			errs = append(errs, fmt.Errorf("sweep: the cards %s and %s would have the same name in tables, %s: give one another name in its file", cards[j], card, names[i]))
		}
	}
	for _, load := range a.Loads {
		if !(load >= MinLoad && load <= MaxLoad) {
			errs = append(errs, fmt.Errorf("sweep: load %v: want a multiple of the recorded rate from 2⁻²⁰ to 2²⁰, such as 0.5 or 2", load))
		}
	}
	for _, n := range concurrency {
		if n < 0 || n > math.MaxInt32 {
			errs = append(errs, fmt.Errorf("sweep: %d clients: want 1 to %d", n, math.MaxInt32))
		}
	}
	for i := range servers {
		switch p := &servers[i]; {
		case p.Replicas < 0 || p.Replicas > sim.MaxReplicas:
			errs = append(errs, fmt.Errorf("sweep: %d replicas: want 1 to %d", p.Replicas, sim.MaxReplicas))
		case len(a.Prefill) > 0 && p.Replicas == 0 && (min(p.Prefill, p.Decode) < 1 || max(p.Prefill, p.Decode) > sim.MaxReplicas):
			errs = append(errs, fmt.Errorf("sweep: %d prefill and %d decode servers: want 1 to %d of each", p.Prefill, p.Decode, sim.MaxReplicas))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	named := map[string]string{}
	for i, card := range cards {
		if p := (Point{Card: card}); p.CardName() != names[i] {
			named[card] = names[i]
		}
	}
	points := make([]Point, 0, n)
	seen := make(map[Point]bool, n)
	for _, model := range models {
		for _, card := range cards {
			for _, tp := range a.TP {
				for _, budget := range a.Budgets {
					for _, compression := range a.Compressions {
						for _, seqs := range a.MaxNumSeqs {
							for _, load := range a.Loads {
								for _, clients := range concurrency {
									for _, s := range servers {
										q := Point{
											Model: model, Card: card, Named: named[card], TP: tp, Budget: budget, Compression: compression, MaxNumSeqs: seqs, Load: load, Concurrency: clients,
											Replicas: s.Replicas, Prefill: s.Prefill, Decode: s.Decode,
										}
										if !seen[q] { // a value may be given twice
											seen[q] = true
											points = append(points, q)
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
	return points, nil
}

// The bounds of a load.
const (
	MinLoad = 1.0 / (1 << 20)
	MaxLoad = 1.0 * (1 << 20)
)

// Budget is the memory that a server may use. One of the fields is set.
type Budget struct {
	Utilization float64 // fraction of each card's memory
	Bytes       int64   // bytes of each card's memory
	Tokens      int64   // uncompressed tokens of the KV cache, whatever the card's memory
}

// ParseBudget reads 0.9, 90%, 20GB, 18.5GiB or 300000tokens.
func ParseBudget(s string) (Budget, error) {
	bad := fmt.Errorf("memory %q: want a fraction of each card such as 0.9, bytes of each card such as 20GB or 18.5GiB, or a cache such as 300000tokens", s)
	for _, unit := range []struct {
		suffix string
		factor float64
	}{{"tokens", 0}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"%", 0.01}, {"", 1}} {
		number, ok := strings.CutSuffix(s, unit.suffix)
		if !ok {
			continue
		}
		if unit.suffix == "tokens" {
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 1 || n > 1<<40 {
				return Budget{}, bad
			}
			return Budget{Tokens: n}, nil
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || !(v > 0) {
			return Budget{}, bad
		}
		if v *= unit.factor; unit.factor > 1 {
			if v > 1<<50 || v < 1 {
				return Budget{}, bad
			}
			return Budget{Bytes: int64(v)}, nil
		}
		if v > 1 {
			return Budget{}, bad
		}
		return Budget{Utilization: v}, nil
	}
	return Budget{}, bad
}

// String writes the budget so that ParseBudget reads it.
func (b Budget) String() string {
	switch {
	case b.Tokens > 0:
		return fmt.Sprintf("%dtokens", b.Tokens)
	case b.Bytes > 0 && b.Bytes%1e6 == 0:
		return strconv.FormatFloat(float64(b.Bytes)/1e9, 'f', -1, 64) + "GB"
	case b.Bytes > 0:
		return strconv.FormatFloat(float64(b.Bytes)/(1<<30), 'f', -1, 64) + "GiB"
	}
	return strconv.FormatFloat(b.Utilization, 'f', -1, 64)
}

// MarshalText implements encoding.TextMarshaler.
func (b Budget) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Budget) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBudget(string(text))
	return err
}
