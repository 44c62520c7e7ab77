package kernels

import (
	"cmp"
	"context"
	"encoding/binary"
	cmdline "flag" // flag is a function of the package
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvcompress/kernels/device"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/ptx"
	"kvcompress/npy"
)

var (
	measureOn   = cmdline.String("measure", "", "`device` on which TestMeasure measures the kernels in their real size: cuda")
	measureKeys = cmdline.String("measure-keys", "", "`folder` for the keys that the decisions were measured on, as .npy files")
)

// TestMeasure measures every stage in Llama-3.1-8B's shape and prints a table in
// Markdown, if -measure names a device:
//
//	go test -tags cuda -run 'TestMeasure$' -timeout 30m ./kernels -measure cuda
//
// Otherwise it does the same in a tiny size on the PTX machine, so that it works
// when it is wanted.
func TestMeasure(t *testing.T) {
	name, sizes, out := devices.PTX, tinySizes, io.Discard
	if *measureOn != "" {
		name, sizes, out = *measureOn, realSizes, io.Writer(os.Stdout)
	}
	dev, err := devices.Open(name, ptx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := &measuring{dev: &stopwatch{Device: dev}, repeat: sizes.repeat, keys: *measureKeys}
	if err := m.all(sizes); err != nil {
		t.Fatal(err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	fmt.Fprintf(out, "Device: %s. A copy from device to device moves %.0f GB/s, what is read and what is written added up.\n\n", dev.Name(), m.copyRate/1e9)
	fmt.Fprintln(out, "| stage | size | bytes it cannot do without | median | GB/s | of the copy | scratch for each KV | time by kernel |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|")
	for _, r := range m.results {
		rate := float64(r.bytes) / r.median.Seconds()
		scratch := ""
		if r.scratch > 0 {
			scratch = fmt.Sprintf("%.1f bytes", r.scratch)
		}
		fmt.Fprintf(out, "| %s | %s | %.2f MB | %.3f ms | %.0f | %.0f %% | %s | %s |\n",
			r.stage, r.size, float64(r.bytes)/1e6, 1e3*r.median.Seconds(), rate/1e9, 100*rate/m.copyRate, scratch, r.kernels)
		if r.median <= 0 || r.kernels == "" {
			t.Errorf("%s, %s: nothing was measured: %+v", r.stage, r.size, r)
		}
	}
}

// measuring is a run of measurements on a device.
type measuring struct {
	dev      *stopwatch
	repeat   int
	keys     string  // folder for the decisions' keys; "" for none
	copyRate float64 // bytes a second
	results  []measured
}

// measured is one row of the table.
type measured struct {
	stage, size string
	bytes       int64
	median      time.Duration
	scratch     float64 // bytes for each KV
	kernels     string  // the time by kernel
}

// stage measures run, which asks the device for the stage, after prepare, which is
// not measured and may be nil. bytes are what the stage has to read and write.
func (m *measuring) stage(stage, size string, bytes int64, prepare, run func() error) error {
	var times []time.Duration
	once := func() error {
		if prepare != nil {
			if err := prepare(); err != nil {
				return err
			}
		}
		took, err := m.dev.Time(run)
		times = append(times, took)
		return err
	}
	for range m.repeat + 1 {
		if err := once(); err != nil {
			return fmt.Errorf("%s, %s: %w", stage, size, err)
		}
	}
	times = times[1:] // the first has loaded kernels and grown buffers
	slices.Sort(times)
	r := measured{stage: stage, size: size, bytes: bytes, median: times[len(times)/2]}

	// Once more with each kernel by itself.
	m.dev.spent = map[string]time.Duration{}
	err := once()
	spent := m.dev.spent
	m.dev.spent = nil
	if err != nil {
		return fmt.Errorf("%s, %s: %w", stage, size, err)
	}
	names := slices.SortedFunc(maps.Keys(spent), func(a, b string) int {
		return cmp.Or(cmp.Compare(spent[b], spent[a]), strings.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.3f ms", name, 1e3*spent[name].Seconds())
	}
	r.kernels = strings.Join(names, ", ")
	m.results = append(m.results, r)
	return nil
}

// copies measures a copy on the device, which everything is compared with.
func (m *measuring) copies(bytes int64) error {
	from, err := m.dev.Alloc("from", bytes)
	if err != nil {
		return err
	}
	to, err := m.dev.Alloc("to", bytes)
	if err != nil {
		return err
	}
	if err := m.dev.Fill(from, 1, bytes); err != nil {
		return err
	}
	var times []time.Duration
	for range m.repeat + 1 {
		took, err := m.dev.Time(func() error { return m.dev.Copy(to, from, bytes) })
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	times = times[1:]
	slices.Sort(times)
	m.copyRate = 2 * float64(bytes) / times[len(times)/2].Seconds()
	if err := m.dev.Free(from); err != nil {
		return err
	}
	return m.dev.Free(to)
}

// saveKeys writes a decision's keys [heads, KVs] to a file, for other programs to sort.
func (m *measuring) saveKeys(keys []float32, heads int) error {
	if m.keys == "" {
		return nil
	}
	file, err := npy.AppendHeader(nil, npy.Header{Type: "<f4", Shape: []int64{int64(heads), int64(len(keys) / heads)}})
	if err != nil {
		return err
	}
	if file, err = binary.Append(file, binary.LittleEndian, keys); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.keys, fmt.Sprintf("keys-%d.npy", len(keys))), file, 0o600)
}

// stopwatch is a device that can measure each launch by itself: with spent set, it
// adds up the time of each kernel there, and waits for it.
type stopwatch struct {
	device.Device
	spent map[string]time.Duration
}

func (w *stopwatch) Load(name string, text []byte) (device.Module, error) {
	m, err := w.Device.Load(name, text)
	return watchedModule{m, w}, err
}

type watchedModule struct {
	device.Module
	watch *stopwatch
}

func (m watchedModule) Kernel(entry string) (device.Kernel, error) {
	k, err := m.Module.Kernel(entry)
	return watchedKernel{k, m.watch, entry}, err
}

type watchedKernel struct {
	device.Kernel
	watch *stopwatch
	entry string
}

func (k watchedKernel) Launch(ctx context.Context, grid, block device.Dim, shared int, args ...device.Arg) error {
	launch := func() error { return k.Kernel.Launch(ctx, grid, block, shared, args...) }
	if k.watch.spent == nil {
		return launch()
	}
	took, err := k.watch.Time(launch)
	k.watch.spent[k.entry] += took
	return err
}
