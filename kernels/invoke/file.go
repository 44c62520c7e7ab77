package invoke

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"kvcompress/npy"
	"kvcompress/safetensors"
	"kvcompress/trace/regular"
)

// source is an array in a file.
type source struct {
	typ   safetensors.DType
	shape []int64
	size  int64 // bytes

	file *os.File
	at   io.Reader // its bytes, row-major
}

// npyTypes are NumPy's names of the types. It has none for bfloat16 and the fp8 formats; package ml_dtypes
// saves them as untyped bytes.
var npyTypes = map[safetensors.DType]string{
	safetensors.Bool: "|b1",
	safetensors.I8:   "|i1", safetensors.I16: "<i2", safetensors.I32: "<i4", safetensors.I64: "<i8",
	safetensors.U8: "|u1", safetensors.U16: "<u2", safetensors.U32: "<u4", safetensors.U64: "<u8",
	safetensors.F16: "<f2", safetensors.F32: "<f4", safetensors.F64: "<f8",
}

// openSource opens the array named by FILE.npy or FILE.safetensors#TENSOR.
func openSource(text string) (*source, error) {
	path, tensor, err := splitFile(text)
	if err != nil {
		return nil, err
	}
	f, err := regular.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	info, err := f.Stat()
	if err == nil {
		var s *source
		if tensor == "" {
			s, err = npySource(f, info.Size())
		} else {
			s, err = tensorSource(f, info.Size(), filepath.Base(path), tensor)
		}
		if err == nil {
			s.file = f
			return s, nil
		}
	}
	_ = f.Close() // opened only for reading
	return nil, fmt.Errorf("%s: %w", path, regular.Short(err))
}

func npySource(f *os.File, size int64) (*source, error) {
	h, err := npy.ReadHeader(f)
	if err != nil {
		return nil, err
	}
	s := &source{shape: h.Shape, at: bufio.NewReaderSize(f, int(min(size, chunk)))}
	for t, name := range npyTypes {
		if name == h.Type {
			s.typ = t
		}
	}
	if s.typ == "" {
		return nil, fmt.Errorf("unsupported element type %q: want little-endian integers, floats or bools", h.Type)
	}
	begin, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if s.size, err = byteSize(s.typ, s.shape); err != nil {
		return nil, err
	}
	if size-begin != s.size {
		return nil, fmt.Errorf("its header is followed by %d bytes, but %s has %d", size-begin, typeText(s.typ, s.shape), s.size)
	}
	return s, nil
}

func tensorSource(f *os.File, size int64, name, tensor string) (*source, error) {
	st, err := safetensors.Open(f, size, name)
	if err != nil {
		return nil, err
	}
	info, ok := st.Tensor(tensor)
	if !ok {
		return nil, fmt.Errorf("it has no tensor %q", tensor)
	}
	if _, ok := types[nameOf(info.DType)]; !ok {
		return nil, fmt.Errorf("tensor %q has the unsupported type %s", tensor, info.DType)
	}
	return &source{typ: info.DType, shape: info.Shape, size: info.Bytes(), at: io.NewSectionReader(f, info.Begin, info.Bytes())}, nil
}

// fileHeader returns the bytes that precede an array in the file named by text.
func fileHeader(text string, t safetensors.DType, shape []int64) (path string, header []byte, err error) {
	path, tensor, err := splitFile(text)
	if err != nil {
		return "", nil, err
	}
	if tensor != "" {
		header, err = safetensors.AppendHeader(nil, []safetensors.Info{{Name: tensor, DType: t, Shape: shape}}, 0)
		return path, header, err
	}
	name, ok := npyTypes[t]
	if !ok {
		return "", nil, fmt.Errorf("%s: NumPy has no type %s: write it as a tensor, to FILE.safetensors#NAME", path, nameOf(t))
	}
	header, err = npy.AppendHeader(nil, npy.Header{Type: name, Shape: shape})
	return path, header, err
}
