package conform

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
)

func TestOpsAreSound(t *testing.T) {
	seen := map[string]string{}
	each := testsize.Of(4, 1, 1) // the results of one form in this many are computed
	for i, o := range Ops() {
		if other, ok := seen[o.Chapter+o.Target+o.entry()]; ok {
			t.Errorf("%q and %q are one kernel, %s", o.Name, other, o.entry())
		}
		seen[o.Chapter+o.Target+o.entry()] = o.Name
		rows := o.Rows()
		if len(rows) == 0 || len(rows)%o.group != 0 {
			t.Fatalf("%s: %d rows in groups of %d", o.Name, len(rows), o.group)
		}
		for i, row := range rows {
			if len(row) != o.Inputs() {
				t.Fatalf("%s: row %d has %d operands, not %d", o.Name, i, len(row), o.Inputs())
			}
			for k, v := range row {
				if v&^mask(regBits(o.in[k])) != 0 {
					t.Fatalf("%s: row %d: operand %d, %#x, is wider than its register", o.Name, i, k, v)
				}
			}
		}
		if i%each > 0 {
			continue
		}
		wants := o.want(rows)
		if len(wants) != len(rows) {
			t.Fatalf("%s: results of %d rows for %d", o.Name, len(wants), len(rows))
		}
		open := 0
		for i, w := range wants {
			if len(w) != len(o.out) {
				t.Fatalf("%s: row %d has %d results, not %d", o.Name, i, len(w), len(o.out))
			}
			if w[0].like == anything {
				open++
			}
		}
		if open*2 > len(rows) {
			t.Errorf("%s: %d of %d rows have an open result", o.Name, open, len(rows))
		}
	}
}

func TestRowsAreAlwaysTheSame(t *testing.T) {
	for _, o := range Ops() {
		if o.Chapter != "float" {
			continue
		}
		if first, second := o.Rows(), o.Rows(); !slices.EqualFunc(first, second, slices.Equal) {
			t.Errorf("%s: other rows the second time", o.Name)
		}
	}
}

func TestMet(t *testing.T) {
	for _, c := range []struct {
		w    want
		got  uint64
		bits int
		exp  bool
	}{
		{want{bits: 5}, 5, 32, true},
		{want{bits: 5}, 1<<32 | 5, 32, true},
		{want{bits: 5}, 1<<32 | 5, 64, false},
		{want{0, anything}, 9, 32, true},
		{want{0, eitherZero}, 1 << 31, 32, true},
		{want{0, eitherZero}, 1 << 31, 64, false},
		{want{1, eitherZero}, 1 << 31, 32, false},
		{want{0x7fffffff, likeF32}, 0xff800001, 32, true},
		{want{0x7fffffff, likeF32}, 0xff800000, 32, false},
		{want{0x7fffffff, exactly}, 0x7fc00000, 32, false},
		{want{0x7fff_3c00, likeF16x2}, 0x7e00_3c00, 32, true},
		{want{0x7fff_3c00, likeF16x2}, 0x7e00_7e00, 32, false},
		{want{0x7f80_7fff, likeBF16x2}, 0x7f80_ffff, 32, true},
		{want{0x7f01, likeE4M3x2}, 0xff01, 16, true},
		{want{0x7f01, likeE5M2x2}, 0x7d01, 16, true},
		{want{0x7f01, likeE5M2x2}, 0x7c01, 16, false},
	} {
		if got := c.w.met(c.got, c.bits); got != c.exp {
			t.Errorf("%+v met by %#x of %d bits: %v", c.w, c.got, c.bits, got)
		}
	}
}

// A broken device runs no kernel: reads return what memory was filled with. It refuses modules that contain
// the word in refuse, and launches of kernels whose name contains fail.
type broken struct {
	refuse, fail string
	live         int
	filled       byte
}

var errBroken = errors.New("broken")

func (*broken) Name() string { return "broken" }
func (b *broken) Load(_ string, ptx []byte) (device.Module, error) {
	if b.refuse != "" && strings.Contains(string(ptx), b.refuse) {
		return nil, errBroken
	}
	return b, nil
}
func (b *broken) Kernel(entry string) (device.Kernel, error) { return kernelOf{b, entry}, nil }
func (b *broken) Alloc(string, int64) (device.Ptr, error)    { b.live++; return 256, nil }
func (b *broken) Free(device.Ptr) error                      { b.live--; return nil }
func (*broken) Write(device.Ptr, []byte) error               { return nil }
func (*broken) Copy(device.Ptr, device.Ptr, int64) error     { return nil }
func (b *broken) Fill(_ device.Ptr, v byte, _ int64) error   { b.filled = v; return nil }
func (b *broken) Read(to []byte, _ device.Ptr) error {
	for i := range to {
		to[i] = b.filled
	}
	return nil
}
func (*broken) Sync() error                                { return nil }
func (*broken) Time(f func() error) (time.Duration, error) { return 0, f() }
func (*broken) Close() error                               { return nil }

type kernelOf struct {
	b     *broken
	entry string
}

func (k kernelOf) Launch(context.Context, device.Dim, device.Dim, int, ...device.Arg) error {
	if k.b.fail != "" && strings.Contains(k.entry, k.b.fail) {
		return errBroken
	}
	return nil
}

func chapter(name string) (ops []*Op) {
	for _, o := range Ops() {
		if o.Chapter == name {
			ops = append(ops, o)
		}
	}
	return ops
}

// TestRunNotices: on a device that does nothing, every form fails. Refused modules and
// failed launches are reported differently from wrong results.
func TestRunNotices(t *testing.T) {
	ops := slices.Concat(chapter("integer"), chapter("bits"))
	dev := &broken{refuse: "popc.b64", fail: "op_clz_b32"}
	res, err := Run(dev, ops)
	if err != nil {
		t.Fatal(err)
	}
	if dev.live != 0 {
		t.Errorf("%d allocations were not freed", dev.live)
	}
	if res.Ops != len(ops) {
		t.Errorf("ran %d forms of %d", res.Ops, len(ops))
	}
	failed := map[string]error{}
	for _, f := range res.Failures {
		failed[f.Op] = f.Err
	}
	if len(failed) != res.Failed {
		t.Errorf("failures of %d forms, %d counted", len(failed), res.Failed)
	}
	for _, o := range ops {
		err, ok := failed[o.Name]
		if want := strings.HasPrefix(o.Name, "popc.b64") || strings.HasPrefix(o.Name, "clz.b32"); !ok || errors.Is(err, errBroken) != want {
			t.Errorf("%s: failed %v with %v", o.Name, ok, err)
		}
	}
}

func TestFailureString(t *testing.T) {
	var op *Op
	for _, o := range chapter("float") {
		if o.Name == "add.rn.f32" {
			op = o
		}
	}
	fails, err := op.Try(&broken{}, [][]uint64{{0x3f800000, 0x40000000}})
	if err != nil || len(fails) != 1 {
		t.Fatalf("%v, %v", fails, err)
	}
	const exp = "add.rn.f32: row 0 (0x3f800000 = 1, 0x40000000 = 2): result 0 is 0xcccccccc = -1.0737418e+08, not 0x40400000 = 3"
	if got := fails[0].String(); got != exp {
		t.Errorf("got  %s\nwant %s", got, exp)
	}
}
