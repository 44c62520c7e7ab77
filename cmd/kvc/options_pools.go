package main

import (
	"time"

	"github.com/spf13/pflag"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/project"
)

// poolFlags disaggregate servers that prefill from servers that decode.
type poolFlags struct {
	prefill, decode int
	bandwidth       float64
	latency         time.Duration
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
	flags.Float64Var(&f.bandwidth, "kv-link-bandwidth", 0, "`bytes` a second from a card that prefills to one that decodes (default: the card's network)")
	flags.DurationVar(&f.latency, "kv-link-latency", 0, "`time` from when a prompt's last byte is sent until it is there")
}

func (f *poolFlags) set() bool { return f.prefill != 0 || f.decode != 0 }

// parse returns what the flags say; nil where they are not given.
func (f *poolFlags) parse(flags *pflag.FlagSet, card *catalog.Card, c *project.Config, scheduler sim.Scheduler) (*sim.Disaggregation, error) {
	if !f.set() {
		if flags.Changed("kv-link-bandwidth") || flags.Changed("kv-link-latency") {
			return nil, usagef("--kv-link-bandwidth and --kv-link-latency are of --prefill-replicas and --decode-replicas")
		}
		return nil, nil
	}
	switch {
	case f.prefill < 1 || f.decode < 1:
		return nil, usagef("--prefill-replicas and --decode-replicas go together: want at least one of each")
	case c.Replicas > 1:
		return nil, usagef("--replicas does not go with --prefill-replicas and --decode-replicas: these say all servers")
	case c.Concurrency > 0 || c.Turns != sim.TurnsAsRecorded:
		return nil, usagef("--prefill-replicas and --decode-replicas are of requests that arrive by their own times: neither --concurrency nor --turns goes with them")
	case scheduler != sim.VLLMV1:
		return nil, usagef("--prefill-replicas and --decode-replicas are of --engine %s", sim.VLLMV1)
	}
	d := &sim.Disaggregation{Prefill: f.prefill, Decode: f.decode, Link: sim.Link{BytesPerSecond: f.bandwidth, LatencyNS: int64(f.latency)}}
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
