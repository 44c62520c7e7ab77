package main

import (
	"math"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/sim"
	"kvcompress/sim/stats"
)

// addObjectives adds the flags of latency objectives (SLOs).
func addObjectives(fs *pflag.FlagSet, slo *stats.SLO) {
	fs.DurationVar(&slo.TTFT, "slo-ttft", 0, "objective: `time` to the first token")
	fs.DurationVar(&slo.TPOT, "slo-tpot", 0, "objective: `time` for each output token after the first, on average")
	fs.DurationVar(&slo.E2E, "slo-e2e", 0, "objective: `time` from arrival to the last token")
	fs.Float64Var(&slo.Part, "slo-attainment", stats.DefaultPart, "`fraction` of the requests that must meet the objectives")
	needs(fs, "slo-attainment", "slo-ttft", "slo-tpot", "slo-e2e")
}

// checkObjectives refuses invalid objectives.
func checkObjectives(fs *pflag.FlagSet, slo *stats.SLO) error {
	for name, limit := range map[string]time.Duration{"slo-ttft": slo.TTFT, "slo-tpot": slo.TPOT, "slo-e2e": slo.E2E} {
		if fs.Changed(name) && limit <= 0 {
			return usagef("--%s %v: want a time above 0", name, limit)
		}
	}
	if !(slo.Part > 0 && slo.Part <= 1) {
		return usagef("--slo-attainment %v: want a fraction in (0, 1]", slo.Part)
	}
	return nil
}

// sendFlags say when the turns of a session arrive and which replica gets a request.
type sendFlags struct {
	turns, router string
}

func (f *sendFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.turns, "turns", string(sim.TurnsAsRecorded), "`rule` by which the turns of a session arrive: as-recorded, wait (as recorded, but not before the previous turn has ended) or think (after the end of the previous turn by as much as they were recorded after its arrival)")
	fs.StringVar(&f.router, "router", string(sim.RoundRobin), "`rule` by which a request is sent to a replica: round-robin, least-outstanding (the fewest waiting and running requests) or session-affinity (the one that has the session or at least half of the prompt's prefix hashes, for prefix caching; else least-outstanding)")
	suggest(cmd, "turns", asStrings(sim.AllTurns())...)
	suggest(cmd, "router", asStrings(sim.Routers())...)
}

// parse returns the rules that the flags name.
func (f *sendFlags) parse() (sim.Turns, sim.Router, error) {
	turns, err := sim.ParseTurns(f.turns)
	if err != nil {
		return "", "", usagef("--turns: %w", err)
	}
	router, err := sim.ParseRouter(f.router)
	if err != nil {
		return "", "", usagef("--router: %w", err)
	}
	return turns, router, nil
}

// checkReplicas and checkConcurrency refuse invalid numbers.
func checkReplicas(n int) error {
	if n < 1 || n > sim.MaxReplicas {
		return usagef("--replicas %d: want 1 to %d", n, sim.MaxReplicas)
	}
	return nil
}

func checkConcurrency(fs *pflag.FlagSet, n int) error {
	if fs.Changed("concurrency") && (n < 1 || n > math.MaxInt32) {
		return usagef("--concurrency %d: want 1 to %d clients", n, math.MaxInt32)
	}
	return nil
}

// asStrings returns names as plain strings.
func asStrings[T ~string](names []T) []string {
	var all []string
	for _, n := range names {
		all = append(all, string(n))
	}
	return all
}
