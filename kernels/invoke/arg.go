// Package invoke launches a kernel with arguments given as text, such as "in=x.npy" or "f32=1.5". Input
// buffers are read from NumPy or safetensors files; output buffers are written to files or compared with
// them. A [Script] has several launches that share buffers.
package invoke

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"kvcompress/dtype"
	"kvcompress/kernels/device"
	"kvcompress/npy"
	"kvcompress/safetensors"
)

// Arg is an argument of a kernel: a scalar, the address of a buffer, or a struct.
type Arg struct {
	text   string
	kind   string     // the text before the =
	scalar device.Arg // of a scalar
	buffer *buffer    // nil unless the argument is the address of a new buffer
	named  *named     // nil unless the argument is the address of a script's buffer
	value  *structure // nil unless the argument is a struct
}

// buffer is the memory that an argument points to.
type buffer struct {
	from   string // file with the initial contents; "" for a new buffer
	to     string // file that it is written to; "" for none
	zeroed bool   // a new buffer that is filled with zeros

	typ   safetensors.DType // of a new buffer
	shape []int64
}

// String returns the text from which the argument was parsed.
func (a Arg) String() string { return a.text }

// ParseArg parses an argument:
//
//	i32=-5  u64=0x10  f32=1.5  …   a scalar: i8 to i64 or s8 to s64, u8 to u64, f16, bf16,
//	                               f32, f64, fp8_e4m3, fp8_e5m2; b8 to b64: bits
//	ptr=0                          an address, used as given
//	in=x.npy                       a buffer with the array of a file
//	in=x.safetensors#name          … or with a tensor of a file
//	out=f32[8,128]:y.npy           a new buffer, written to a file
//	zeros=u32[256]:y.npy           the same, initially zero
//	inout=x.npy:y.npy              a buffer from a file, written to a file
//	tmp=f32[4096]                  a new buffer, not written to a file
//	struct=u32=7,in@8=x.npy        a struct by value: fields, each at an offset or at the
//	                               next multiple of its size
//	struct=p.bin, struct=p.hex     … or the bytes of a file, raw or as hexadecimal text
//	buf=x, buf=x+64                in a script: a buffer's address, plus a number of bytes
//
// File names end in .npy, or in .safetensors followed by # and the name of a tensor. ParseArg does not open
// files.
func ParseArg(text string) (Arg, error) {
	kind, value, ok := strings.Cut(text, "=")
	if !ok {
		return Arg{}, fmt.Errorf("argument %q: want KIND=VALUE, such as in=x.npy or u32=7", text)
	}
	a := Arg{text: text, kind: kind}
	var err error
	switch kind {
	case "struct":
		a.value, err = parseStruct(value)
	case "buf":
		a.named, err = parseNamed(value)
	case "in":
		a.buffer = &buffer{from: value}
		_, _, err = splitFile(value)
	case "inout":
		a.buffer = &buffer{}
		a.buffer.from, a.buffer.to, err = cutFiles(value)
	case "out", "zeros":
		a.buffer, err = parseNew(value)
		if err == nil && a.buffer.to == "" {
			err = errors.New("want TYPE[SHAPE]:FILE, such as f32[1024]:y.npy; tmp= has no file")
		}
		if err == nil {
			a.buffer.zeroed = kind == "zeros"
		}
	case "tmp":
		a.buffer, err = parseNew(value)
		if err == nil && a.buffer.to != "" {
			err = errors.New("want TYPE[SHAPE], such as f32[1024]; out= is written to a file")
		}
	default:
		a.scalar, err = parseScalar(kind, value)
	}
	if err != nil {
		return Arg{}, fmt.Errorf("argument %q: %w", text, err)
	}
	return a, nil
}

// cutFiles splits FILE:FILE.
func cutFiles(text string) (from, to string, err error) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return "", "", errors.New("want FILE:FILE, what is read and what is written")
	}
	from, to = text[:at], text[at+1:]
	if _, _, err = splitFile(from); err == nil {
		_, _, err = splitFile(to)
	}
	return from, to, err
}

// splitFile splits the name of a file from that of the tensor in it.
func splitFile(text string) (path, tensor string, err error) {
	path = text
	if before, after, ok := strings.Cut(text, ".safetensors#"); ok { // a # elsewhere is of the name
		path, tensor = before+".safetensors", after
	}
	switch {
	case strings.HasSuffix(path, ".npy"):
		return path, "", nil
	case strings.HasSuffix(path, ".safetensors") && tensor != "":
		return path, tensor, nil
	case strings.HasSuffix(path, ".safetensors"):
		return "", "", fmt.Errorf("%s: name the tensor: %s#NAME", path, path)
	}
	return "", "", fmt.Errorf("%q is neither a .npy file nor a tensor of a .safetensors file", text)
}

// parseNew reads TYPE[N,M,…], and a file after a colon.
func parseNew(text string) (*buffer, error) {
	name, rest, ok := strings.Cut(text, "[")
	list, file, closed := strings.Cut(rest, "]")
	if !ok || !closed || file != "" && (file[0] != ':' || file == ":") {
		return nil, errors.New("want TYPE[SHAPE] and then :FILE, such as f32[8,128]:y.npy")
	}
	b := &buffer{to: strings.TrimPrefix(file, ":"), shape: []int64{}}
	if b.typ, ok = typeNamed(name); !ok {
		return nil, fmt.Errorf("unknown type %q: want one of %s", name, typeNames())
	}
	for d := range strings.SplitSeq(list, ",") {
		if list == "" {
			break // a scalar
		}
		n, err := strconv.ParseInt(strings.TrimSpace(d), 0, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%q is not a dimension", d)
		}
		b.shape = append(b.shape, n)
	}
	if b.to != "" {
		if _, _, err := fileHeader(b.to, b.typ, b.shape); err != nil {
			return nil, err
		}
	}
	_, err := byteSize(b.typ, b.shape)
	return b, err
}

// byteSize returns the bytes of a buffer.
func byteSize(t safetensors.DType, shape []int64) (int64, error) {
	n, ok := npy.Header{Shape: shape}.Count()
	if size := int64(t.Bits() / 8); ok && n <= math.MaxInt64/size {
		return n * size, nil
	}
	return 0, fmt.Errorf("shape %s is too large", ShapeText(shape))
}

// parseScalar parses a number of a type into the low bytes of an argument.
func parseScalar(kind, value string) (device.Arg, error) {
	t, ok := scalarTypes[kind]
	if !ok {
		return 0, fmt.Errorf("unknown kind %q: want in, out, zeros, inout, tmp, ptr, struct or a type, %s; s8 to s64, b8 to b64", kind, typeNames())
	}
	wrong := func(err error) error {
		if errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%s is out of the range of %s", value, kind)
		}
		return fmt.Errorf("%q is not a valid %s", value, kind)
	}
	if f, ok := t.Float(); ok || t == safetensors.F64 {
		bits := 32
		if t == safetensors.F64 {
			bits = 64
		}
		v, err := strconv.ParseFloat(value, bits)
		switch {
		case err != nil:
			return 0, wrong(err)
		case t == safetensors.F64:
			return device.F64(v), nil
		}
		var raw [4]byte
		f.Encode(raw[:f.Size()], []float32{float32(v)})
		return device.Arg(uint64(raw[0]) | uint64(raw[1])<<8 | uint64(raw[2])<<16 | uint64(raw[3])<<24), nil
	}
	if unsigned := kind[0] == 'u' || kind == "ptr" || kind[0] == 'b' && !strings.HasPrefix(value, "-"); unsigned {
		v, err := strconv.ParseUint(value, 0, t.Bits())
		if err != nil {
			return 0, wrong(err)
		}
		return device.Arg(v), nil
	}
	v, err := strconv.ParseInt(value, 0, t.Bits())
	if err != nil {
		return 0, wrong(err)
	}
	return device.Arg(uint64(v) << (64 - t.Bits()) >> (64 - t.Bits())), nil
}

// types are the types of buffers and scalars, by name.
var types = map[string]safetensors.DType{
	"bool": safetensors.Bool,
	"i8":   safetensors.I8, "i16": safetensors.I16, "i32": safetensors.I32, "i64": safetensors.I64,
	"u8": safetensors.U8, "u16": safetensors.U16, "u32": safetensors.U32, "u64": safetensors.U64,
	"f16": safetensors.F16, "bf16": safetensors.BF16, "f32": safetensors.F32, "f64": safetensors.F64,
	dtype.E4M3.String(): safetensors.F8E4M3, dtype.E5M2.String(): safetensors.F8E5M2,
}

// typeNamed returns the type with a name, which may be PTX's: s32 is i32.
func typeNamed(name string) (safetensors.DType, bool) {
	t, ok := types[name]
	if bits, signed := strings.CutPrefix(name, "s"); !ok && signed {
		t, ok = types["i"+bits]
	}
	return t, ok
}

func typeNames() string {
	return "i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64 fp8_e4m3 fp8_e5m2 bool"
}

// nameOf returns the name in types of a type.
func nameOf(t safetensors.DType) string {
	for name, typ := range types {
		if typ == t {
			return name
		}
	}
	return strings.ToLower(string(t))
}

// typeText writes a type and shape as an argument has them: f32[4,256].
func typeText(t safetensors.DType, shape []int64) string { return nameOf(t) + ShapeText(shape) }

// ShapeText writes a shape as an argument has it: [4,256].
func ShapeText(shape []int64) string {
	dims := make([]string, len(shape))
	for i, n := range shape {
		dims[i] = strconv.FormatInt(n, 10)
	}
	return "[" + strings.Join(dims, ",") + "]"
}
