package cost

import (
	"encoding/json"
	"math"
	"testing"
)

// val is what an error is, NaN where it is absent.
func val(e *float64) float64 {
	if e == nil {
		return math.NaN()
	}
	return *e
}

func TestErrorSum(t *testing.T) {
	var s errorSum
	if s.mape() != nil || s.mean() != nil || s.largest() != nil || s.maxError() != nil {
		t.Errorf("of no errors: %+v", s)
	}
	for _, e := range []float64{0.1, -0.3, 0.3} {
		s.add(e)
	}
	s.addKnown(nil)
	if s.n != 3 || !near(val(s.mape()), 0.7/3) || !near(val(s.mean()), 0.1/3) || val(s.largest()) != -0.3 || val(s.maxError()) != 0.3 {
		t.Errorf("%+v", s)
	}
}

// TestZeroErrors: an error of 0 that was measured is printed, and one that was not is absent.
func TestZeroErrors(t *testing.T) {
	for want, v := range map[string]any{
		`{"rows":1,"batch_rows":0,"batch_exact":0,"batch_max_error":0,"throughput_mape":0,"throughput_max_error":0}`: Summarize([]*Case{{Off: new(0.0)}}),
		`{"rows":1,"batch_rows":0,"batch_exact":0,"batch_max_error":0}`:                                              Summarize([]*Case{{}}),
		`{"mape":0,"max_error":0}`: Quality{MAPE: new(0.0), MaxError: new(0.0)},
		`{"rows":1,"refused_rows":0,"measured_rows":1,"kv_mape":0,"kv_mean_error":0,"kv_max_error":0,"stated_rows":1,"stated_kv_max_error":0}`: SummarizeMemory([]*MemoryCase{{Off: new(0.0), Settings: true}}),
		`{"rows":1,"refused_rows":0,"ttft_rows":1,"ttft_mape":0,"ttft_mean_error":0,"ttft_max_error":0,"tpot_rows":0,"throughput_rows":0}`:     SummarizeServing([]*ServingCase{{TTFTOff: new(0.0)}}),
	} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%s, want %s, %v", got, want, err)
		}
	}
}
