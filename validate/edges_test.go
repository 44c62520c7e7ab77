package validate

import (
	"reflect"
	"testing"

	"kvcompress/ref"
)

// TestEdgePipelines: a seed always gives the same, all can be run, and the third of a seed
// is now and then of a long head.
func TestEdgePipelines(t *testing.T) {
	methods := allMethods(t)
	long := 0
	for _, seed := range []uint64{1, 2, 3, 16, 48, 200} {
		all, err := EdgePipelines(seed, methods)
		if err != nil || len(all) < 2 {
			t.Fatalf("seed %d: %d, %v", seed, len(all), err)
		}
		if seed < 3 {
			if again, err := EdgePipelines(seed, methods); err != nil || !reflect.DeepEqual(all, again) {
				t.Errorf("seed %d gives two lists", seed)
			}
		}
		for _, p := range all {
			if err := p.check(); err != nil {
				t.Errorf("%s: %v", p, err)
			}
			if p.Inputs.Tokens[0] > 4096 {
				long++
			}
		}
	}
	if long < 2 {
		t.Errorf("%d are of long heads", long)
	}
	if none, err := EdgePipelines(1, nil); err != nil || len(none) > 0 {
		t.Errorf("%d pipelines of no method, %v", len(none), err)
	}
}

// TestEdgesOfBoth: of a method that quantizes and merges, some edge pipelines do both, of different layers, and some of these
// have values halfway between two codes, and tokens of several pages.
func TestEdgesOfBoth(t *testing.T) {
	both, halfway, long := 0, 0, 0
	methods := only(t, "minicache+kivi")
	for seed := range uint64(16) {
		all, err := EdgePipelines(seed, methods)
		if err != nil {
			t.Fatal(seed, err)
		}
		for i := range all {
			p := &all[i]
			merging := p.newMethod().(ref.Merger).Merging()
			if merging.Pairs == 0 || 2*merging.Pairs == p.Shape.Layers {
				continue
			}
			both++
			if p.Inputs.Grid {
				halfway++
			}
			if len(p.Operations) >= 100 {
				long++
			}
		}
	}
	if both < 8 || halfway < 2 || long < 2 {
		t.Errorf("%d pipelines do both, of which %d have values halfway between codes, and %d are long", both, halfway, long)
	}
}

// TestEdgeAxes: the edge pipelines of 163 seeds have every combination of format, head size
// and way of reading.
func TestEdgeAxes(t *testing.T) {
	have := map[[3]int]bool{}
	for i := 2; i < 2*(163+1); i++ { // two of a seed
		format, size, round := edgeAxes(i)
		have[[3]int{format, size, (size + round) % len(edgeReadings)}] = true
	}
	if want := len(edgeFormats) * len(edgeHeadSizes) * len(edgeReadings); len(have) != want {
		t.Errorf("%d of %d combinations", len(have), want)
	}
}
