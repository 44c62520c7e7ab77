package ptx_test

import (
	"encoding/binary"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/conform"
	"kvcompress/kernels/ptx"
)

// TestConformance compares the machine with the manual, with and without checkers, and in shuffled orders: for
// every form of every instruction in the full size, and else for every form with the checkers, or with -short for
// a part of the forms in each run.
func TestConformance(t *testing.T) {
	var programs ptx.Cache
	for _, c := range []struct {
		name  string
		opt   ptx.Options
		every int // one form in this many is run
	}{
		{"plain", ptx.Options{Cache: &programs}, testsize.Of(16, 4, 1)},
		{"checked", ptx.Options{Cache: &programs, Checks: ptx.AllChecks()}, testsize.Of(8, 1, 1)},
		{"shuffled", ptx.Options{Cache: &programs, Shuffle: 12345}, testsize.Of(16, 4, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var ops []*conform.Op
			for i, o := range conform.Ops() {
				if i%c.every == 0 {
					ops = append(ops, o)
				}
			}
			dev := ptx.New(c.opt)
			res, err := conform.Run(dev, ops)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range res.Failures {
				t.Error(f)
			}
			t.Logf("%d forms, %d rows, %d values; %d forms failed", res.Ops, res.Rows, res.Values, res.Failed)
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// FuzzOps tries other random operands, and then arbitrary ones, for each instruction without interaction
// between threads.
func FuzzOps(f *testing.F) {
	var ops []*conform.Op
	for _, o := range conform.Ops() {
		// The loops of "flow" iterate as often as their operands say.
		if o.Alone() && o.Chapter != "flow" {
			ops = append(ops, o)
		}
	}
	for i := 0; i < len(ops); i += 97 {
		var operands []byte
		for _, row := range ops[i].Rows()[:3] {
			for _, v := range row {
				operands = binary.LittleEndian.AppendUint64(operands, v)
			}
		}
		f.Add(uint16(i), uint64(i), operands)
	}
	f.Fuzz(func(t *testing.T, i uint16, seed uint64, operands []byte) {
		op := ops[int(i)%len(ops)]
		all := op.Draw(seed)
		rows := make([][]uint64, min(len(all), 200))
		for k := range rows {
			rows[k] = all[k*len(all)/len(rows)]
		}
		for n := 0; n < 64 && len(operands) >= 8*op.Inputs(); n++ {
			row := make([]uint64, op.Inputs())
			for k := range row {
				row[k] = binary.LittleEndian.Uint64(operands)
				operands = operands[8:]
			}
			rows = append(rows, row)
		}
		dev := ptx.New(ptx.Options{Checks: ptx.AllChecks(), Budget: 1 << 24})
		defer dev.Close()
		fails, err := op.Try(dev, rows)
		if err != nil {
			t.Fatal(err)
		}
		for _, fail := range fails {
			t.Error(fail)
		}
	})
}
