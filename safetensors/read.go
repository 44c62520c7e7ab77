package safetensors

import "fmt"

// window is how many bytes ReadFloats reads at a time.
const window = 256 << 10

// ReadBytes fills p with the bytes of the named tensor from off on, which is
// counted from the tensor's own beginning. A range outside the tensor is an error.
func (f *File) ReadBytes(p []byte, name string, off int64) error {
	i, ok := f.index[name]
	if !ok {
		return f.errorf("there is no tensor %q", name)
	}
	t := &f.tensors[i]
	if off < 0 || off > t.Bytes() || int64(len(p)) > t.Bytes()-off {
		return f.errorf("tensor %q: bytes %d to %d of %d", name, off, off+int64(len(p)), t.Bytes())
	}
	if err := readFull(f.r, p, t.Begin+off); err != nil {
		return f.errorf("tensor %q: %w", name, err)
	}
	return nil
}

// ReadFloats fills dst with elements first, first+1, … of the named tensor, in
// row-major order. The tensor's format must be one that DType.Float knows. Values
// are not judged: NaN and infinities come through. Beside dst it allocates at most
// 256 KiB.
func (f *File) ReadFloats(dst []float32, name string, first int64) error {
	i, ok := f.index[name]
	if !ok {
		return f.errorf("there is no tensor %q", name)
	}
	t := &f.tensors[i]
	format, ok := t.DType.Float()
	if !ok {
		return f.errorf("tensor %q: %s is not a floating-point format that can be read", name, t.DType)
	}
	if n := t.Elements(); first < 0 || first > n || int64(len(dst)) > n-first {
		return f.errorf("tensor %q: elements %d to %d of %d", name, first, first+int64(len(dst)), n)
	}
	size := format.Size()
	buf := make([]byte, min(len(dst)*size, window))
	for at := t.Begin + first*int64(size); len(dst) > 0; {
		n := min(len(dst), len(buf)/size)
		if err := readFull(f.r, buf[:n*size], at); err != nil {
			return f.errorf("tensor %q: %w", name, err)
		}
		format.Decode(dst[:n], buf[:n*size])
		dst, at = dst[n:], at+int64(n*size)
	}
	return nil
}

func (f *File) errorf(format string, args ...any) error {
	return fmt.Errorf("safetensors: %s: %w", f.name, fmt.Errorf(format, args...))
}
