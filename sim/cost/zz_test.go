package cost

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"kvcompress/sim/catalog"
)

func TestZZ(t *testing.T) {
	byFile := map[string][]measuredRun{}
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
	for _, l := range []struct{ file, card string }{{"open-loop-RTX4090_Llama-3.1-8B-vllm.csv", "rtx-4090"}, {"open-loop-RTXPRO6000_Llama-3.1-8B-vllm.csv", "rtx-pro-6000"}} {
		file, _ := os.Open("/work/shared/data/serving/" + l.file)
		list, err := ReadRequestLog(file, l.file)
		if err != nil {
			t.Fatal(err)
		}
		model, _ := catalog.FindModel("llama-3.1-8b")
		card, err := catalog.FindCard(l.card)
		if err != nil {
			t.Fatal(err)
		}
		d := New(model, card)
		d.Engine, d.MaxTokens, d.MaxSeqs = VLLMV1, 2048, 256
		limits := ServingLimits(card)
		limits.MaxNumBatchedTokens = 2048
		limits.MaxNumSeqs, _ = strconv.Atoi(os.Getenv("ZN"))
		if l.card == "rtx-4090" {
			d.BlocksGiven = 2588 * 256
		}
		c, err := NewLogCase(context.Background(), d, limits, list)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, l.file)
		byFile[l.file] = append(byFile[l.file], c)
	}
	for _, set := range strings.Split(os.Getenv("ZZ"), ",") {
		var cases []measuredRun
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
				if l, ok := c.(*LogCase); ok {
					p, err := l.outcomes(fit)
					if err != nil {
						t.Fatal(err)
					}
					m := l.measured()
					fmt.Printf(" %s: ttft %.4f / %.4f, tpot %.4f / %.4f, total %.2f / %.2f\n", f, p[0].ttft, m[0].ttft, p[0].tpot, m[0].tpot, p[0].total, m[0].total)
					continue
				}
				c := c.(*ServingCase)
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
