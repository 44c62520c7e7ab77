package cost

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

func TestZZ(t *testing.T) {
	byFile := map[string][]*ServingCase{}
	names := []string{"closed-loop-qwen3-32b-h100-vllm.csv", "closed-loop-qwen3-32b-h100-sglang.csv", "closed-loop-llama-3.1-8b-h100-trtllm.csv", "static-batch-a100-vllm.csv"}
	for _, f := range names {
		file, err := os.Open("/work/shared/data/serving/" + f)
		if err != nil {
			t.Fatal(err)
		}
		list, err := ReadServing(file, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if strings.HasPrefix(f, "static") {
				s.GPU = "a100-40gb"
			}
			c, err := NewServingCase(context.Background(), s)
			if err != nil {
				fmt.Println(s.Line, s.Model, s.TP, s.ISL, err)
				continue
			}
			byFile[f] = append(byFile[f], c)
		}
	}
	for _, set := range strings.Split(os.Getenv("ZZ"), ",") {
		var cases []*ServingCase
		for i, f := range names {
			if strings.Contains(set, fmt.Sprint(i)) {
				cases = append(cases, byFile[f]...)
			}
		}
		fit, err := fitServing(cases, "x", set, ServerFactors())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("==== fit to", set)
		for _, id := range fit.Fitted {
			fmt.Printf("  %s %.4g", id, fit.Factors[id])
		}
		fmt.Println("\n bound", fit.AtBound, "undetermined", fit.Undetermined)
		for _, f := range names {
			var a, b, d, n, sb, sd float64
			for _, c := range byFile[f] {
				c.Predict(fit)
				a += math.Abs(c.TTFTOff)
				b += math.Abs(c.TPOTOff)
				d += math.Abs(c.TokensOff)
				sb += c.TPOTOff
				sd += c.TokensOff
				n++
			}
			fmt.Printf(" %s ttft %.3f tpot %.3f (%+.3f) tokens %.3f (%+.3f)\n", f, a/n, b/n, sb/n, d/n, sd/n)
		}
	}
}
