package kernels

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

var errInjected = errors.New("injected")

// failing is a device that fails in one operation, and then no more.
type failing struct {
	device.Device
	left int // operations before that; −1: it never does, or it has
}

func (f *failing) fails() error {
	if f.left--; f.left == -1 {
		return errInjected
	}
	f.left = max(f.left, -1)
	return nil
}

func (f *failing) Alloc(name string, size int64) (device.Ptr, error) {
	if err := f.fails(); err != nil {
		return 0, err
	}
	return f.Device.Alloc(name, size)
}

func (f *failing) Write(to device.Ptr, from []byte) error {
	return unless(f.fails, func() error { return f.Device.Write(to, from) })
}

func (f *failing) Read(to []byte, from device.Ptr) error {
	return unless(f.fails, func() error { return f.Device.Read(to, from) })
}

func (f *failing) Copy(to, from device.Ptr, n int64) error {
	return unless(f.fails, func() error { return f.Device.Copy(to, from, n) })
}

func (f *failing) Fill(p device.Ptr, value byte, n int64) error {
	return unless(f.fails, func() error { return f.Device.Fill(p, value, n) })
}

func (f *failing) Load(name string, text []byte) (device.Module, error) {
	m, err := f.Device.Load(name, text)
	return failingModule{m, f}, err
}

type failingModule struct {
	device.Module
	device *failing
}

func (m failingModule) Kernel(entry string) (device.Kernel, error) {
	k, err := m.Module.Kernel(entry)
	return failingKernel{k, m.device}, err
}

type failingKernel struct {
	device.Kernel
	device *failing
}

func (k failingKernel) Launch(ctx context.Context, grid, block device.Dim, shared int, args ...device.Arg) error {
	return unless(k.device.fails, func() error { return k.Kernel.Launch(ctx, grid, block, shared, args...) })
}

// unless makes the second call, unless the first returns an error.
func unless(first, second func() error) error {
	if err := first(); err != nil {
		return err
	}
	return second()
}

// pipelineEngine is what the two engines have in common.
type pipelineEngine interface {
	Prefill(kv.SeqID, int) error
	Decode([]kv.SeqID) error
	Compress(kv.SeqID) (ref.Compressed, error)
	Release(kv.SeqID) error
	Free() int
}

// steps are operations in which rows and tables grow and blocks are freed.
var steps = []func(pipelineEngine) error{
	func(e pipelineEngine) error { return e.Prefill(0, 5) },
	func(e pipelineEngine) error { return e.Prefill(1, 9) },
	func(e pipelineEngine) error { return e.Decode([]kv.SeqID{1, 0}) },
	func(e pipelineEngine) error { _, err := e.Compress(1); return err },
	func(e pipelineEngine) error { return e.Release(0) },
	func(e pipelineEngine) error { return e.Prefill(2, 20) },
	func(e pipelineEngine) error { return e.Decode([]kv.SeqID{2, 1}) },
}

// TestDeviceFails makes operations of the device fail, one in each run. The engine operation
// that needs it returns the error, later operations do too, and with a restored cache the engine
// continues as if nothing had failed.
func TestDeviceFails(t *testing.T) {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8}
	cfg.BlockSize, cfg.Blocks, cfg.DType = 2, 80, dtype.F16
	cfg.Compression = ref.Compression{Rate: 0.5}
	t.Run(ref.KVCompress, func(t *testing.T) { deviceFails(t, cfg, 3) })
	cfg.Compression = ref.Compression{}
	if err := setting(&cfg, "minicache", map[string]any{"append": "threshold", "gamma": 0.3}); err != nil {
		t.Fatal(err)
	}
	t.Run("minicache", func(t *testing.T) { deviceFails(t, cfg, 7) })
	cfg.Shape.Layers, cfg.Blocks = 3, 120
	if err := setting(&cfg, "minicache+kivi", map[string]any{"append": "threshold", "gamma": 0.3, "group": 2, "residual": 2}); err != nil {
		t.Fatal(err)
	}
	t.Run("minicache+kivi", func(t *testing.T) { deviceFails(t, cfg, 7) })
}

// deviceFails makes the n-th operation of the device fail, for n = 0, stride, 2·stride, ….
func deviceFails(t *testing.T, cfg ref.Config, stride int) {
	open := func(id kv.SeqID) (trace.Tensors, error) { return tokens(8 * (id + 2)), nil }

	stride *= testsize.Of(9, 2, 1)
	failed := map[int]bool{} // steps in which the device has
	for n := 0; ; n += stride {
		dev := &failing{checked(t, 0), n}
		if e, err := New(dev, cfg, open, nil, Options{}); err == nil {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
		dev.left = -1
		e, err := New(dev, cfg, open, func(ref.Event) {}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		reference, err := ref.NewEngine(cfg, open, nil)
		if err != nil {
			t.Fatal(err)
		}
		dev.left = n
		for i, step := range steps {
			err := step(e)
			if errors.Is(err, errInjected) {
				failed[i] = true
				for j, next := range steps {
					if err := next(e); err == nil || !strings.Contains(err.Error(), "undefined") {
						t.Fatalf("operation %d of the device fails in step %d, and step %d after it: %v", n, i, j, err)
					}
				}
				if err := e.Restore(reference.Cache()); err != nil {
					t.Fatal(err)
				}
				err = step(e)
			}
			if err := errors.Join(err, step(reference)); err != nil {
				t.Fatalf("operation %d of the device fails: step %d: %v", n, i, err)
			}
			left := dev.left
			dev.left = -1
			cache, err := e.Cache()
			dev.left = left
			if err != nil {
				t.Fatal(err)
			}
			got, want := cache.Snapshot(), reference.Cache().Snapshot()
			if !reflect.DeepEqual(got.Owners, want.Owners) || !reflect.DeepEqual(got.Free, want.Free) || !reflect.DeepEqual(got.Sequences, want.Sequences) || e.Free() != reference.Free() {
				t.Fatalf("operation %d of the device fails: after step %d the caches differ", n, i)
			}
		}
		done := dev.left >= 0
		if err := errors.Join(e.Close(), reference.Close()); err != nil {
			t.Error(err)
		}
		if done {
			break
		}
	}
	if len(failed) != len(steps) && !testing.Short() {
		t.Errorf("the device has failed in steps %v alone", failed)
	}
}

// TestTables looks at how much memory block tables take: no more than for the blocks
// that there are, however long a sequence may become; and at what is not taken at all.
func TestTables(t *testing.T) {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8}
	cfg.BlockSize, cfg.Blocks = 1, 50
	e, err := New(checked(t, 0), cfg, func(kv.SeqID) (trace.Tensors, error) { return tokens(maxKVs + 1), nil }, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := e.Prefill(0, 3); err != nil {
		t.Fatal(err)
	}
	if e.state.maxBlocks != 50 {
		t.Errorf("tables of %d blocks", e.state.maxBlocks)
	}
	e.cfg.Blocks = maxKVs + 1
	if err := e.Prefill(1, 3); err == nil || !strings.Contains(err.Error(), "at most 8388480") {
		t.Errorf("a head may hold more than %d KVs: %v", maxKVs, err)
	}
	if err := e.Decode(nil); err == nil || !strings.Contains(err.Error(), "no sequences") {
		t.Errorf("a decode of nothing: %v", err)
	}
	if err := e.Decode([]kv.SeqID{0}); err != nil {
		t.Error(err)
	}
}

// smallEngine returns an engine of two heads and 50 blocks of two KVs, which is closed at the end of the test.
func smallEngine(t *testing.T) *Engine {
	t.Helper()
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8}
	cfg.BlockSize, cfg.Blocks = 2, 50
	e, err := New(checked(t, 0), cfg, func(kv.SeqID) (trace.Tensors, error) { return tokens(12), nil }, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestPoison: an entry past a table's end that is not −1 is an error when the cache is read, and Poison sets it to −1.
func TestPoison(t *testing.T) {
	e := smallEngine(t)
	s := e.state
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(e.Prefill(0, 3))
	must(s.dev.Write(s.tables+8, encode([]int32{7}))) // as a kernel may leave it
	if _, err := e.Cache(); err == nil || !strings.Contains(err.Error(), "head 0 of L·H: entry 2 of its block table is 7") {
		t.Errorf("a block after a table's end: %v", err)
	}
	must(e.Poison())
	tables, err := download[int32](s, s.tables, 2*s.maxBlocks)
	must(err)
	want := []int32{0, 1, -1, -1, -1, -1, 2, 3, -1, -1, -1, -1}
	if !reflect.DeepEqual(tables, want) {
		t.Errorf("%v, want %v", tables, want)
	}
}

// TestFreeOwner: the owner of a free block is −1 in all four numbers, also after Restore; a kernel that writes only some of
// them is seen.
func TestFreeOwner(t *testing.T) {
	e := smallEngine(t)
	free := kv.Owner{Seq: kv.NoSeq}
	cache := func() *kv.Cache {
		t.Helper()
		c, err := e.Cache()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := cache()
	if err := e.Restore(before); err != nil {
		t.Fatal(err)
	}
	if got := cache().Owners[49]; got != free {
		t.Errorf("after Restore, the owner of a free block is %+v", got)
	}
	if err := e.state.dev.Write(e.state.owners+16*49, encode([]int32{-1, -1, 7, 7})); err != nil {
		t.Fatal(err)
	}
	if got := cache().Owners[49]; got == free {
		t.Error("an owner that was freed in part is that of a free block")
	}
}

// TestPlace: a cache that is placed after unused blocks and rows holds the same as one at the
// beginning, with the same block numbers, and continues from a copy.
func TestPlace(t *testing.T) {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 256}
	cfg.BlockSize, cfg.Blocks, cfg.Compression.MaxCacheTokens = 32, 50, 1
	var caches [2]*kv.Cache
	for i, before := range [][2]int{{0, 0}, {1<<17 + 32, 1 << 25}} {
		e, err := New(checked(t, 0), cfg, func(kv.SeqID) (trace.Tensors, error) { return tokens(120), nil }, nil, Options{FreshBuffers: true})
		if err != nil {
			t.Fatal(err)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(e.Place(before[0], before[1]))
		must(e.Prefill(0, 100))
		must(e.Poison())
		must(e.Decode([]kv.SeqID{0}))
		if _, err := e.Compress(0); err != nil {
			t.Fatal(err)
		}
		caches[i], err = e.Cache()
		must(err)
		must(e.Restore(caches[i]))
		must(e.Decode([]kv.SeqID{0}))
		caches[i], err = e.Cache()
		must(err)
		if err := e.Place(32, 0); err == nil {
			t.Error("a cache is placed elsewhere that is not empty")
		}
		must(e.Close())
	}
	if a, b := caches[0].Snapshot(), caches[1].Snapshot(); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v\nwant\n%+v", b, a)
	}
}
