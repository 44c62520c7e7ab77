package safetensors

import "fmt"

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

func (f *File) errorf(format string, args ...any) error {
	return fmt.Errorf("safetensors: %s: %w", f.name, fmt.Errorf(format, args...))
}
