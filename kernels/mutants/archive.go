package mutants

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// ArchiveFile is the archive of this package's mutants.
const ArchiveFile = "testdata/mutants.tar.zst"

// Archive has the PTX of mutants by the digest of their sources: see [Source.Digest].
type Archive map[string][]byte

// Bounds on reading an archive. An archive has about 10 MB of PTX.
const (
	maxPTX    = 4 << 20
	maxWindow = 64 << 20
)

// ReadArchive reads an archive: a tar file, compressed with Zstandard. Its entries are
// named by digest.
func ReadArchive(name string) (Archive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer z.Close()
	a := Archive{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return a, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		case h.Size > maxPTX:
			return nil, fmt.Errorf("%s: %s has %d bytes; the limit is %d", name, h.Name, h.Size, maxPTX)
		}
		if a[h.Name], err = io.ReadAll(t); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
}

// Bytes returns the contents of the archive file. Equal archives have equal bytes.
func (a Archive) Bytes() ([]byte, error) {
	var file bytes.Buffer
	// The mutants of a module share most of their text, so the window is large enough
	// for all of them.
	z, err := zstd.NewWriter(&file, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(maxWindow))
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	for _, digest := range slices.Sorted(maps.Keys(a)) {
		if err := t.WriteHeader(&tar.Header{Name: digest, Mode: 0o644, Size: int64(len(a[digest]))}); err != nil {
			return nil, err
		}
		if _, err := t.Write(a[digest]); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}
