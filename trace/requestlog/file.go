package requestlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"

	"kvcompress/trace/regular"
)

// headSize is the number of bytes at the beginning of a file from which its format is
// detected.
const headSize = 64 << 10

// file is an open log as a stream of decompressed text.
type file struct {
	*bufio.Reader
	path  string
	f     *os.File
	meter *meter
}

func (f *file) Close() error { return f.f.Close() }

// head returns the beginning of the text without consuming it.
func (f *file) head() []byte {
	head, _ := f.Peek(headSize) // an error is returned again by the next read
	return head
}

func openFile(ctx context.Context, path string, progress func(done, total int64)) (*file, error) {
	f, err := regular.OpenFile(path)
	if err != nil {
		return nil, inFile(path, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, inFile(path, regular.Short(err))
	}
	m := &meter{ctx: ctx, r: f, total: info.Size(), progress: progress}
	text, err := decode(m)
	if err != nil {
		f.Close()
		return nil, inFile(path, err)
	}
	return &file{Reader: text, path: path, f: f, meter: m}, nil
}

// decode returns the text of r: decompressed, as UTF-8 and without byte order marks.
func decode(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, headSize)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = bufio.NewReaderSize(z, headSize)
	}
	in, err := asUTF8(in)
	if err != nil {
		return nil, err
	}
	head, err := in.Peek(headSize)
	switch {
	case len(bytes.TrimSpace(head)) > 0:
		return in, nil
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	return nil, errors.New("the file is empty")
}

// meter is a reader that reports its progress and stops when its context is done.
type meter struct {
	ctx         context.Context
	r           io.Reader
	done, total int64
	progress    func(done, total int64)
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.done += int64(n)
	if m.progress != nil {
		m.progress(m.done, m.total)
	}
	return n, regular.Short(err)
}
