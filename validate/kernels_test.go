package validate_test

import (
	"context"
	"errors"
	"flag"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels"
	"kvcompress/kernels/device"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
	"kvcompress/traces"
	"kvcompress/validate"
)

var (
	deviceName = flag.String("device", devices.PTX, "`device` that the CUDA engine runs on: auto, ptx or cuda")
	shuffle    = flag.Uint64("shuffle", 0, "seed of the order in which the PTX machine runs blocks and warps")
	pipelines  = flag.Int("pipelines", 0, "random pipelines that TestRandom runs, instead of 1 with -short and else 4")
	firstSeed  = flag.Uint64("seed", 1, "seed of the first of them")
)

// engine is a CUDA engine with a device of its own.
type engine struct {
	*kernels.Engine
	device device.Device
}

func (e *engine) Close() error { return errors.Join(e.Engine.Close(), e.device.Close()) }

// parsed is shared by all devices, which load the same modules.
var parsed ptx.Cache

func newEngine(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
	dev, err := devices.Open(*deviceName, ptx.Options{Checks: ptx.AllChecks(), Shuffle: *shuffle, Cache: &parsed})
	if err != nil {
		return nil, err
	}
	e, err := kernels.New(dev, cfg, open, observe, kernels.Options{})
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &engine{e, dev}, nil
}

// TestRandom runs random pipelines on the CUDA engine. There is no larger size: .ci/run has kvc validate run 200, from the
// same seed on. For a thousand of them: go test ./validate -run TestRandom -pipelines 1000.
func TestRandom(t *testing.T) {
	t.Parallel()
	n := *pipelines
	if n == 0 {
		n = testsize.Of(1, 4, 4)
	}
	methods, _, err := draw.Methods()
	if err != nil {
		t.Fatal(err)
	}
	r, err := validate.Random(context.Background(), *firstSeed, n, methods, validate.Run{Engine: newEngine}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed != nil {
		t.Error(r.Failed)
	}
	t.Logf("%d pipelines, %d operations, %d values: %+v", r.Pipelines, r.Operations, r.Values, r.Methods)
}

// TestEngine replays the smaller of the bundled traces on the CUDA engine. .ci/run has kvc validate replay all.
func TestEngine(t *testing.T) {
	names := []string{"block-size-1", "story", "random-fp8"}
	for _, name := range names[:testsize.Of(1, len(names), len(names))] {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := traces.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := validate.Trace(context.Background(), b.Name, b.Trace, b.Options, validate.Run{Engine: newEngine})
			if err != nil {
				t.Fatal(err)
			}
			if r.Divergence != nil {
				t.Error(r.Divergence)
			}
		})
	}
}
