package cost

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"kvcompress/internal/words"
	"kvcompress/sim"
)

// ServerChoice is the server that was chosen for rows that do not name theirs, and their error with each
// server that was tried.
type ServerChoice struct {
	Server sim.Scheduler
	Tried  []ServerTried
	Rows   int
}

// ServerTried is a server that was tried, and the error of the rows projected with its rules and fit.
type ServerTried struct {
	Server sim.Scheduler
	Off    float64 // mean absolute error, as a part, of the rows that vLLM V1 can serve; NaN if this server cannot serve all of these
}

// nearer is the factor by which a server's mean error must be below that of vLLM V1 to be chosen. As vLLM
// V1 rows of vLLM V0 are off by two to eight times as much as with the fit to V0, for all models of
// docs/cost-model.md's table but one.
const nearer = 2

// fewRows is the number of rows below which no server is chosen by them.
const fewRows = 4

// unnamed returns the servers that may have measured a run, vLLM V1 first; nil if the file names its
// server. vLLM without a version may be V1 or V0.
func (s *Serving) unnamed() []sim.Scheduler {
	switch {
	case s.Version != "":
	case s.Backend == "":
		return Servers()
	case strings.EqualFold(s.Backend, "vllm"):
		return vllms()
	}
	return nil
}

// vllms returns the servers that rows of vLLM without a version may be of.
func vllms() []sim.Scheduler { return []sim.Scheduler{sim.VLLMV1, VLLMV0} }

// NewServingCases is [NewServingCases], after it has chosen the server of rows that do not name theirs. It
// projects them as each server that it may be, and sets [Serving.Chosen] where another than vLLM V1 suits
// them: where its mean error, on the rows with even and on those with odd indices, is less than half of that
// as vLLM V1 and the least of all. There must be at least four such rows.
func (p *Profile) NewServingCases(ctx context.Context, list []Serving) ([]*ServingCase, []ServerChoice, error) {
	cases := make([]*ServingCase, len(list))
	var choices []ServerChoice
	for _, servers := range [][]sim.Scheduler{Servers(), vllms()} {
		var rows []int
		for i := range list {
			if slices.Equal(list[i].unnamed(), servers) {
				rows = append(rows, i)
			}
		}
		if len(rows) < fewRows {
			continue
		}
		tried, errs := make([][]*ServingCase, len(servers)), make([][]float64, len(servers))
		for k, server := range servers {
			as := make([]Serving, len(rows))
			for j, i := range rows {
				as[j] = list[i]
				as[j].Chosen = server
			}
			var err error
			if tried[k], err = NewServingCases(ctx, as); err != nil {
				return nil, nil, err
			}
			errs[k] = p.errorsOf(tried[k])
		}
		best := nearest(errs)
		for j, i := range rows {
			if cases[i] = tried[best][j]; best == 0 {
				cases[i].Chosen = ""
			}
		}
		if !slices.ContainsFunc(errs[0], func(off float64) bool { return !math.IsNaN(off) }) {
			continue // each row is refused, with its reason
		}
		c := ServerChoice{Server: servers[best], Rows: len(rows)}
		for k, server := range servers {
			c.Tried = append(c.Tried, ServerTried{server, meanOf(errs[k], errs[0], 0, 1)})
		}
		choices = append(choices, c)
	}
	var named []int
	var rest []Serving
	for i := range list {
		if cases[i] == nil {
			named, rest = append(named, i), append(rest, list[i])
		}
	}
	others, err := NewServingCases(ctx, rest)
	for j, c := range others {
		cases[named[j]] = c
	}
	return cases, choices, err
}

// errorsOf returns the absolute error of each run's throughput, or of its TPOT or TTFT if that is all
// that was measured; NaN for a run that cannot be projected.
func (p *Profile) errorsOf(cases []*ServingCase) []float64 {
	errs := make([]float64, len(cases))
	for i, c := range cases {
		errs[i] = math.NaN()
		if c.Error != "" {
			continue
		}
		fit := p.For(&c.Deployment.Card, c.Rules.Server)
		if err := c.Predict(&fit); err != nil {
			continue
		}
		if off := cmp.Or(c.TokensOff, c.TPOTOff, c.TTFTOff); off != nil {
			errs[i] = math.Abs(*off)
		}
	}
	return errs
}

// meanOf returns the mean of the errors with the indices from, from + step and so on, of the rows that the
// first server can serve; NaN if one of them is not known, or if there is none.
func meanOf(errs, first []float64, from, step int) float64 {
	sum, n := 0.0, 0
	for i := from; i < len(errs); i += step {
		if !math.IsNaN(first[i]) {
			sum += errs[i]
			n++
		}
	}
	return sum / float64(n)
}

// nearest returns the index of the server that suits the rows, by the errors [server][row]; 0 is the one
// to which the others are compared.
func nearest(errs [][]float64) int {
	chosen := [2]int{}
	for half := range chosen {
		first := meanOf(errs[0], errs[0], half, 2)
		least := first / nearer
		for k := 1; k < len(errs); k++ {
			if m := meanOf(errs[k], errs[0], half, 2); m < least {
				chosen[half], least = k, m
			}
		}
	}
	if chosen[0] != chosen[1] {
		return 0
	}
	return chosen[0]
}

// Note returns the choice in words.
func (c *ServerChoice) Note() string {
	var off, cannot []string
	for _, t := range c.Tried {
		if math.IsNaN(t.Off) {
			cannot = append(cannot, string(t.Server))
		} else {
			off = append(off, fmt.Sprintf("%.1f %% as %s", 100*t.Off, t.Server))
		}
	}
	text := fmt.Sprintf("%s do not say which server measured them. They are off on average by %s", words.Count(c.Rows, "row"), strings.Join(off, ", "))
	if len(cannot) > 0 {
		text += fmt.Sprintf("; not all of them can be served as %s", strings.Join(cannot, " or "))
	}
	if c.Server == sim.VLLMV1 {
		return text + ". They are taken for vllm-v1, since no other is less than half as far off. --profile SERVER names the server."
	}
	return text + fmt.Sprintf(". They are taken for %s, which is less than half as far off as vllm-v1 on each half of the rows. --profile SERVER names the server.", c.Server)
}
