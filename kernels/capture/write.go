package capture

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kvcompress/internal/output"
	"kvcompress/kernels/device"
	"kvcompress/kernels/invoke"
	"kvcompress/kernels/ptx"
	"kvcompress/npy"
)

// ScriptName is the file with the script that repeats a recorded launch.
const ScriptName = "launch.txt"

// npyTypes maps PTX types to NumPy's. Types that NumPy does not have, and untyped bits, become integers.
var npyTypes = map[string]string{
	"b8": "|u1", "u8": "|u1", "s8": "|i1", "b16": "<u2", "u16": "<u2", "s16": "<i2", "f16": "<f2", "bf16": "<u2",
	"b32": "<u4", "u32": "<u4", "s32": "<i4", "f32": "<f4", "b64": "<u8", "u64": "<u8", "s64": "<i8", "f64": "<f8",
}

// elementSize returns the bytes of an element of a type; 0 if the type is unknown.
func elementSize(t string) int {
	name := npyTypes[t]
	if name == "" {
		return 0
	}
	return int(name[2] - '0')
}

// Write writes the launch to a new folder: the PTX, all buffers before the launch, the changed buffers after it,
// and the script. It runs the script once to check that it agrees. The folder appears when it is
// complete. says is a line for the script's head.
func (l *Launch) Write(ctx context.Context, dir, says string, opt ptx.Options) error {
	folder, err := output.CreateFolder(dir)
	if err != nil {
		return err
	}
	defer folder.Discard()
	file := filepath.Base(l.File)
	files := map[string][]byte{file: l.Text}
	files[ScriptName], err = l.script(file, says, files)
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(folder.Temp, name), data, 0o644); err != nil {
			return err
		}
	}
	if err := agrees(ctx, folder.Temp, files[ScriptName], opt); err != nil {
		return fmt.Errorf("repeating the recorded launch gives another result: %w", err)
	}
	return folder.Commit()
}

// agrees runs the script.
func agrees(ctx context.Context, dir string, text []byte, opt ptx.Options) error {
	s, err := invoke.ParseScript(ScriptName, text)
	if err != nil {
		return err
	}
	dev := ptx.New(opt)
	r, err := s.Run(ctx, dev, dir)
	if err = errors.Join(err, dev.Close()); err != nil {
		return err
	}
	for i := range r.Expected {
		if !r.Expected[i].Agree {
			return errors.New(r.Expected[i].String())
		}
	}
	return nil
}

// script returns the script, and adds the arrays that it names to files.
func (l *Launch) script(file, says string, files map[string][]byte) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n# Another kernel can stand in its place: another module, and another launch with the same buffers.\n", says)
	fmt.Fprintf(&b, "module %q\n", file)
	for i := range l.Buffers {
		buf := &l.Buffers[i]
		data, mask, err := array(buf.Type, buf.Before)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "buffer %s ", buf.Name)
		if mask != nil && !strings.Contains(string(mask), "\x01") {
			fmt.Fprintf(&b, "tmp=%s[%d]\n", scriptType(buf.Type), len(buf.Before.Data)/elementSize(buf.Type))
			continue
		}
		b.WriteString("in=" + put(files, buf.Name+".npy", data))
		if mask != nil {
			b.WriteString(" mask=" + put(files, buf.Name+".mask.npy", maskFile(mask)))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "launch %q grid=%s block=%s shared=%d", l.Entry, extent(l.Grid), extent(l.Block), l.Shared)
	for i, a := range l.Args {
		b.WriteString(" " + l.argument(a, l.Params[i].Type))
	}
	b.WriteString("\n")
	for i := range l.Buffers {
		buf := &l.Buffers[i]
		if !buf.Changed {
			continue
		}
		data, mask, err := array(buf.Type, buf.After)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "expect %s %s", buf.Name, put(files, buf.Name+".expected.npy", data))
		if mask != nil {
			b.WriteString(" mask=" + put(files, buf.Name+".expected.mask.npy", maskFile(mask)))
		}
		b.WriteString("\n")
	}
	return []byte(b.String()), nil
}

func put(files map[string][]byte, name string, data []byte) string {
	files[name] = data
	return name
}

// scriptType is a type's name in a script.
func scriptType(t string) string {
	if name := npyTypes[t]; name[1] != 'f' {
		return fmt.Sprintf("%c%d", name[1], 8*elementSize(t))
	}
	return t
}

// array returns a buffer as a .npy file, and which of its elements are completely defined; nil if all are.
func array(typ string, s *ptx.Snapshot) (file, mask []byte, err error) {
	size := elementSize(typ)
	n := len(s.Data) / size
	file, err = npy.AppendHeader(nil, npy.Header{Type: npyTypes[typ], Shape: []int64{int64(n)}})
	if err != nil {
		return nil, nil, err
	}
	file = append(file, s.Data...)
	if s.Defined == nil {
		return file, nil, nil
	}
	mask = make([]byte, n)
	for i := range mask {
		mask[i] = 1
		for _, d := range s.Defined[i*size : (i+1)*size] {
			mask[i] &= d
		}
	}
	return file, mask, nil
}

func maskFile(mask []byte) []byte {
	header, err := npy.AppendHeader(nil, npy.Header{Type: "|b1", Shape: []int64{int64(len(mask))}})
	if err != nil {
		panic(err) // impossible: every one-dimensional shape has a header
	}
	return append(header, mask...)
}

// argument returns an argument of a parameter's type in the script's syntax.
func (l *Launch) argument(a device.Arg, typ string) string {
	for i := range l.Buffers {
		b := &l.Buffers[i]
		if off := device.Ptr(a) - b.Before.Base; off <= device.Ptr(len(b.Before.Data)) {
			if off == 0 {
				return "buf=" + b.Name
			}
			return fmt.Sprintf("buf=%s+%d", b.Name, off)
		}
	}
	typ = strings.TrimPrefix(typ, ".")
	switch typ {
	case "f32":
		if f := math.Float32frombits(uint32(a)); f-f == 0 {
			return "f32=" + strconv.FormatFloat(float64(f), 'g', -1, 32)
		}
		typ = "b32"
	case "f64":
		if f := math.Float64frombits(uint64(a)); f-f == 0 {
			return "f64=" + strconv.FormatFloat(f, 'g', -1, 64)
		}
		typ = "b64"
	case "s32":
		return fmt.Sprintf("s32=%d", int32(a))
	case "u8", "u16", "u32", "u64":
		return fmt.Sprintf("%s=%d", typ, uint64(a))
	}
	return fmt.Sprintf("b%d=%#x", 8*elementSize(typ), uint64(a))
}

func extent(d device.Dim) string { return fmt.Sprintf("%d,%d,%d", d.X, d.Y, d.Z) }
