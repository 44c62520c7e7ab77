package main

import (
	"math"
	"time"

	"github.com/spf13/pflag"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/project"
)

// linkFlags describe the link over which prefill servers send KVs to decode servers.
type linkFlags struct {
	bandwidth float64
	latency   time.Duration
}

func (f *linkFlags) add(flags *pflag.FlagSet) {
	flags.Float64Var(&f.bandwidth, "kv-link-bandwidth", 0, "`bytes` a second of the link from a prefill card to a decode card (default: the card's network)")
	flags.DurationVar(&f.latency, "kv-link-latency", 0, "`time` that the last byte of a prompt's KVs takes over the link")
}

// check refuses invalid values, and flags of a link where nothing is sent.
func (f *linkFlags) check(flags *pflag.FlagSet, used bool, by string) error {
	for _, name := range []string{"kv-link-bandwidth", "kv-link-latency"} {
		if flags.Changed(name) && !used {
			return usagef("--%s needs %s", name, by)
		}
	}
	switch {
	case flags.Changed("kv-link-bandwidth") && !(f.bandwidth > 0 && !math.IsInf(f.bandwidth, 0)):
		return usagef("--kv-link-bandwidth %v: want bytes a second, more than 0, as 5e10", f.bandwidth)
	case f.latency < 0 || f.latency > sim.MaxLinkNS:
		return usagef("--kv-link-latency %v: want 0 to an hour", f.latency)
	}
	return nil
}

// poolNames are the flags that say how many servers there are of each kind.
const poolNames = "--prefill-replicas and --decode-replicas"

// poolFlags are the flags of disaggregated serving: some servers prefill, the others decode.
type poolFlags struct {
	prefill, decode int
	link            linkFlags
}

// simPools is the disaggregation as --json prints it.
type simPools struct {
	Prefill        int     `json:"prefill_replicas"`
	Decode         int     `json:"decode_replicas"`
	BytesPerSecond float64 `json:"kv_link_bytes_per_second"`
	LatencyNS      int64   `json:"kv_link_latency_ns"`
}

func (f *poolFlags) add(flags *pflag.FlagSet) {
	flags.IntVar(&f.prefill, "prefill-replicas", 0, "`number` of servers that prefill and send the KVs to the servers that decode; needs --decode-replicas")
	flags.IntVar(&f.decode, "decode-replicas", 0, "`number` of servers that decode; needs --prefill-replicas")
	f.link.add(flags)
}

func (f *poolFlags) set() bool { return f.prefill != 0 || f.decode != 0 }

// parse returns the disaggregation that the flags describe; nil if they are not given.
func (f *poolFlags) parse(flags *pflag.FlagSet, card *catalog.Card, c *project.Config, scheduler sim.Scheduler) (*sim.Disaggregation, error) {
	if err := f.link.check(flags, f.set(), poolNames); err != nil || !f.set() {
		return nil, err
	}
	switch {
	case f.prefill < 1 || f.decode < 1:
		return nil, usagef(poolNames + " go together: want at least one of each")
	case c.Replicas > 1:
		return nil, usagef("--replicas does not go with " + poolNames + ", which count all servers")
	case c.Concurrency > 0 || c.Turns != sim.TurnsAsRecorded:
		return nil, usagef(poolNames + " need requests that arrive at their recorded times: neither --concurrency nor --turns goes with them")
	case scheduler != sim.VLLMV1:
		return nil, usagef(poolNames+" need --engine %s", sim.VLLMV1)
	}
	d := &sim.Disaggregation{Prefill: f.prefill, Decode: f.decode, Link: sim.Link{BytesPerSecond: f.link.bandwidth, LatencyNS: int64(f.link.latency)}}
	if !flags.Changed("kv-link-bandwidth") {
		if d.Link.BytesPerSecond = card.Network; card.Network == 0 {
			return nil, usagef("--kv-link-bandwidth is missing: the network of %s is not known", card.Name)
		}
	}
	if err := d.Validate(); err != nil {
		return nil, usageError{err}
	}
	return d, nil
}

// inputs returns the disaggregation as --json prints it.
func (f *poolFlags) inputs(d *sim.Disaggregation) *simPools {
	if d == nil {
		return nil
	}
	return &simPools{d.Prefill, d.Decode, d.Link.BytesPerSecond, d.Link.LatencyNS}
}
