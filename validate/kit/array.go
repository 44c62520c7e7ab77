package kit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"kvcompress/npy"
	"kvcompress/safetensors"
	"kvcompress/trace/regular"
)

// array is one array of a file, read in ranges. Its header has been checked against the file's size.
type array struct {
	element
	shape []int64
	name  string // name of its file, and of its tensor
	read  func(p []byte, off int64) error
}

// elements returns the number of elements.
func (a *array) elements() int64 {
	n := int64(1)
	for _, d := range a.shape {
		n *= d
	}
	return n
}

// bytes reads n elements, starting at element first. It uses buf if that is large enough.
func (a *array) bytes(buf []byte, first int64, n int) ([]byte, error) {
	buf = slices.Grow(buf[:0], n*a.size)[:n*a.size]
	if err := a.read(buf, first*int64(a.size)); err != nil {
		return nil, fmt.Errorf("%s: %w", a.name, err)
	}
	return buf, nil
}

// folder has the arrays of a stage, or of a sequence's inputs.
type folder struct {
	files  fs.FS
	at     string // the path of a stage
	st     *safetensors.File
	stErr  error // of st, if the file is there and cannot be read
	opened []io.Closer
}

// openFolder opens the arrays at a path, and PATH.safetensors if it exists. Errors are returned later, by
// array.
func openFolder(files fs.FS, at string) *folder {
	f := &folder{files: files, at: at}
	name := Safetensors.fileOf(at, "")
	r, size, err := f.open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		f.stErr = fmt.Errorf("%s: %w", name, err)
	default:
		f.st, f.stErr = safetensors.Open(r, size, name)
	}
	return f
}

// open opens a file of the folder; close closes it.
func (f *folder) open(name string) (io.ReaderAt, int64, error) {
	file, err := regular.Open(f.files, name)
	if err != nil {
		return nil, 0, err
	}
	f.opened = append(f.opened, file)
	info, err := file.Stat()
	if err != nil {
		return nil, 0, regular.Short(err)
	}
	r, ok := file.(io.ReaderAt)
	if !ok {
		return nil, 0, errors.New("it cannot be read at an offset")
	}
	return r, info.Size(), nil
}

func (f *folder) close() {
	for _, file := range f.opened {
		_ = file.Close() // opened only for reading
	}
	f.opened = nil
}

// array opens an array by name; its elements should have the type want. The error is fs.ErrNotExist if
// neither format has it.
func (f *folder) array(name string, want element) (*array, error) {
	if f.stErr != nil {
		return nil, f.stErr
	}
	file := NPY.fileOf(f.at, name)
	r, size, err := f.open(file)
	inNPY := err == nil || !errors.Is(err, fs.ErrNotExist)
	var info safetensors.Info
	inST := false
	if f.st != nil {
		info, inST = f.st.Tensor(name)
	}
	switch {
	case inNPY && inST:
		return nil, fmt.Errorf("%s: the array is also in %s: remove one", file, Safetensors.fileOf(f.at, name))
	case inST:
		return f.tensor(info, want)
	case !inNPY:
		return nil, fs.ErrNotExist
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	a, err := openNPY(r, size, want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	a.name = file
	return a, nil
}

// tensor is an array of the safetensors file.
func (f *folder) tensor(info safetensors.Info, want element) (*array, error) {
	file := Safetensors.fileOf(f.at, info.Name)
	e, err := fromSafetensors(info.DType, want)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %s: %w", file, info.Name, err)
	}
	return &array{e, info.Shape, file + ", tensor " + info.Name, func(p []byte, off int64) error {
		return f.st.ReadBytes(p, info.Name, off)
	}}, nil
}

// openNPY reads the header of a .npy file and checks it against the file's size.
func openNPY(r io.ReaderAt, size int64, want element) (*array, error) {
	section := io.NewSectionReader(r, 0, size)
	h, err := npy.ReadHeader(section)
	if err != nil {
		return nil, err
	}
	e, err := fromNPY(h.Type, want)
	if err != nil {
		return nil, err
	}
	begin, err := section.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	n, ok := h.Count()
	if rest := size - begin; !ok || n > rest/int64(e.size) || n*int64(e.size) != rest {
		return nil, fmt.Errorf("shape %v of %s does not match the %d bytes after the header", h.Shape, e.name, rest)
	}
	return &array{e, h.Shape, "", func(p []byte, off int64) error {
		if n, err := r.ReadAt(p, begin+off); n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		return nil
	}}, nil
}
