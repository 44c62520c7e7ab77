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
	flags.Float64Var(&f.bandwidth, "kv-link-bandwidth", 0, "`bytes` a second from a card that prefills to one that decodes (default: the card's network)")
	flags.DurationVar(&f.latency, "kv-link-latency", 0, "`time` from when a prompt's last byte is sent until it is there")
}

// check refuses a link that cannot be meant, and one where nothing is sent.
func (f *linkFlags) check(flags *pflag.FlagSet, used bool, by string) error {
	for _, name := range []string{"kv-link-bandwidth", "kv-link-latency"} {
		if flags.Changed(name) && !used {
			return usagef("--%s is of %s", name, by)
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

// poolFlags disaggregate servers that prefill from servers that decode.
type poolFlags struct {
	prefill, decode int
	link            linkFlags
}

// simPools is what poolFlags say, as --json has it.
type simPools struct {
	Prefill        int     `json:"prefill_replicas"`
	Decode         int     `json:"decode_replicas"`
	BytesPerSecond float64 `json:"kv_link_bytes_per_second"`
	LatencyNS      int64   `json:"kv_link_latency_ns"`
}

func (f *poolFlags) add(flags *pflag.FlagSet) {
	flags.IntVar(&f.prefill, "prefill-replicas", 0, "`number` of servers that prefill, and send the KVs to --decode-replicas others")
	flags.IntVar(&f.decode, "decode-replicas", 0, "`number` of servers that decode what --prefill-replicas have computed")
	f.link.add(flags)
}

func (f *poolFlags) set() bool { return f.prefill != 0 || f.decode != 0 }

// parse returns what the flags say; nil where they are not given.
func (f *poolFlags) parse(flags *pflag.FlagSet, card *catalog.Card, c *project.Config, scheduler sim.Scheduler) (*sim.Disaggregation, error) {
	if err := f.link.check(flags, f.set(), poolNames); err != nil || !f.set() {
		return nil, err
	}
	switch {
	case f.prefill < 1 || f.decode < 1:
		return nil, usagef(poolNames + " go together: want at least one of each")
	case c.Replicas > 1:
		return nil, usagef("--replicas does not go with " + poolNames + ": these say all servers")
	case c.Concurrency > 0 || c.Turns != sim.TurnsAsRecorded:
		return nil, usagef(poolNames + " are of requests that arrive by their own times: neither --concurrency nor --turns goes with them")
	case scheduler != sim.VLLMV1:
		return nil, usagef(poolNames+" are of --engine %s", sim.VLLMV1)
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

// inputs returns what was projected.
func (f *poolFlags) inputs(d *sim.Disaggregation) *simPools {
	if d == nil {
		return nil
	}
	return &simPools{d.Prefill, d.Decode, d.Link.BytesPerSecond, d.Link.LatencyNS}
}
