package conform

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
)

// A Failure is a wrong result of a form on a device, or an error of the device.
type Failure struct {
	Op string
	// Err is the device's error if it cannot load or run the form. The other fields are then unset.
	Err error
	// Row is the row of the operands, and Output the index of the wrong result.
	Row, Output int
	// In is that row: the values of the input registers.
	In []uint64
	// Got is the register's value; Want describes the expected one.
	Got  uint64
	Want string
	// Types are the types of the input registers, and Type that of the output.
	Types []string
	Type  string
}

func (f Failure) String() string {
	if f.Err != nil {
		return fmt.Sprintf("%s: %v", f.Op, f.Err)
	}
	var in []string
	for i, v := range f.In {
		in = append(in, showRegister(v, f.Types[i]))
	}
	return fmt.Sprintf("%s: row %d (%s): result %d is %s, not %s",
		f.Op, f.Row, strings.Join(in, ", "), f.Output, showRegister(f.Got, f.Type), f.Want)
}

// showRegister writes a value in hexadecimal and in decimal.
func showRegister(v uint64, t string) string {
	switch bits := regBits(t); {
	case t == "pred":
		return fmt.Sprint(v&1 != 0)
	case t == "f32":
		return fmt.Sprintf("%#08x = %g", uint32(v), math.Float32frombits(uint32(v)))
	case t == "f64":
		return fmt.Sprintf("%#016x = %g", v, math.Float64frombits(v))
	default:
		v &= mask(bits)
		return fmt.Sprintf("%#0*x = %d", bits/4, v, int64(v<<(64-bits))>>(64-bits))
	}
}

// A Result counts the comparisons of a run.
type Result struct {
	Ops, Rows, Values int
	// Failures has at most maxFailures for each form.
	Failures []Failure
	// Failed counts the forms that failed.
	Failed int
}

// maxFailures is how many wrong results of one form are reported.
const maxFailures = 4

// Run runs forms on a device. It returns an error if the whole run cannot continue, for example because
// memory cannot be allocated; errors of single forms are Failures.
func Run(dev device.Device, ops []*Op) (Result, error) {
	var res Result
	for _, m := range Modules(ops) {
		mod, err := dev.Load(m.Name, m.PTX)
		for _, o := range m.ops {
			mod, err := mod, err
			if err != nil {
				// Load the forms one by one, so that one that is refused does not affect the others.
				mod, err = dev.Load(o.entry()+".ptx", moduleText([]*Op{o}))
			}
			if err != nil {
				res.note(o, []Failure{{Op: o.Name, Err: err}}, 0)
				continue
			}
			rows := o.Rows()
			fails, err := o.run(dev, mod, rows)
			if err != nil {
				return res, fmt.Errorf("conform: %s: %w", o.Name, err)
			}
			res.note(o, fails, len(rows))
		}
	}
	return res, nil
}

// note counts a form and its failures.
func (res *Result) note(o *Op, fails []Failure, rows int) {
	res.Ops++
	res.Rows += rows
	res.Values += rows * len(o.out)
	if len(fails) > 0 {
		res.Failed++
	}
	res.Failures = append(res.Failures, fails...)
}

// Try runs one form on the given rows. A row has Inputs values; a register gets the low bits of its value. The
// number of rows must be a multiple of the form's group.
func (o *Op) Try(dev device.Device, rows [][]uint64) ([]Failure, error) {
	if len(rows) == 0 || len(rows)%o.group != 0 {
		return nil, fmt.Errorf("conform: %s: %d rows are no whole groups of %d", o.Name, len(rows), o.group)
	}
	mod, err := dev.Load(o.entry()+".ptx", moduleText([]*Op{o}))
	if err != nil {
		return []Failure{{Op: o.Name, Err: err}}, nil
	}
	held := make([][]uint64, len(rows))
	for i, row := range rows {
		if len(row) != len(o.in) {
			return nil, fmt.Errorf("conform: %s: row %d has %d values, not %d", o.Name, i, len(row), len(o.in))
		}
		for k, v := range row {
			v &= mask(regBits(o.in[k]))
			if o.in[k] == "pred" {
				v = truthOf(v != 0)
			}
			held[i] = append(held[i], v)
		}
	}
	return o.run(dev, mod, held)
}

// run executes the kernel on the rows and compares the results. It returns an error if memory cannot be
// allocated; all other errors are failures of the form.
func (o *Op) run(dev device.Device, mod device.Module, rows [][]uint64) (fails []Failure, err error) {
	in := make([]byte, len(rows)*stride(o.in))
	for i, row := range rows {
		for k, v := range row {
			binary.LittleEndian.PutUint64(in[i*stride(o.in)+k*slot:], v)
		}
	}
	out := make([]byte, len(rows)*stride(o.out))

	pin, err := dev.Alloc("operands", int64(len(in)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dev.Free(pin)) }()
	pout, err := dev.Alloc("results", int64(len(out)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dev.Free(pout)) }()

	if err := o.launch(dev, mod, len(rows), pin, in, pout, out); err != nil {
		return []Failure{{Op: o.Name, Err: err}}, nil
	}
	for i, wants := range o.want(rows) {
		for k, w := range wants {
			got := binary.LittleEndian.Uint64(out[i*stride(o.out)+k*slot:])
			if bits := regBits(o.out[k]); len(fails) < maxFailures && !w.met(got, bits) {
				fails = append(fails, Failure{
					Op: o.Name, Row: i, Output: k, In: rows[i], Got: got & mask(bits), Want: w.show(o.out[k]),
					Types: o.in, Type: o.out[k],
				})
			}
		}
	}
	return fails, nil
}

// untouched is what every byte of the results is before the kernel runs.
const untouched = 0xcc

// launch brings the operands to the device, runs the kernel and brings the results
// back.
func (o *Op) launch(dev device.Device, mod device.Module, n int, pin device.Ptr, in []byte, pout device.Ptr, out []byte) error {
	k, err := mod.Kernel(o.entry())
	if err != nil {
		return err
	}
	if err := dev.Write(pin, in); err != nil {
		return err
	}
	if err := dev.Fill(pout, untouched, int64(len(out))); err != nil {
		return err
	}
	block := o.group
	if o.Alone() {
		block = 128
	}
	grid := device.Dim{X: ceil.Div(n, block), Y: 1, Z: 1}
	if err := k.Launch(context.Background(), grid, device.Dim{X: block, Y: 1, Z: 1}, 0,
		device.Pointer(pin), device.Pointer(pout), device.U32(uint32(n))); err != nil {
		return err
	}
	return dev.Read(out, pout)
}
