package requestlog

import (
	"bufio"
	"bytes"
	"errors"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// byteOrderMark is U+FEFF in UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// asUTF8 returns the text of in as UTF-8, without leading byte order marks. UTF-16 is
// recognized by its byte order mark, or by the zero bytes of its first two characters.
func asUTF8(in *bufio.Reader) (*bufio.Reader, error) {
	head, _ := in.Peek(4) // an error is returned again by the next read
	starts := func(s string) bool { return bytes.HasPrefix(head, []byte(s)) }
	ascii := func(i int) bool { return len(head) == 4 && head[i] > 0 && head[i] < 0x80 }
	zero := func(i int) bool { return len(head) == 4 && head[i] == 0 }
	switch {
	case starts("\xff\xfe\x00\x00") || starts("\x00\x00\xfe\xff"):
		return nil, errors.New("it is UTF-32: convert it to UTF-8, as with iconv -f UTF-32 -t UTF-8 FILE")
	case starts("PAR1"):
		return nil, errors.New("it is a Parquet file: write it as CSV or JSON lines first")
	case starts("\x28\xb5\x2f\xfd"):
		return nil, errors.New("it is compressed with zstd: decompress it first, with zstd -d")
	case starts("PK\x03\x04"):
		return nil, errors.New("it is a ZIP archive: unpack it first")
	case starts("\xff\xfe") || ascii(0) && zero(1) && ascii(2) && zero(3):
		in = fromUTF16(in, unicode.LittleEndian)
	case starts("\xfe\xff") || zero(0) && ascii(1) && zero(2) && ascii(3):
		in = fromUTF16(in, unicode.BigEndian)
	}
	for {
		mark, _ := in.Peek(len(byteOrderMark))
		if string(mark) != byteOrderMark {
			return in, nil
		}
		_, _ = in.Discard(len(mark)) // cannot fail: the mark is in the buffer
	}
}

func fromUTF16(in *bufio.Reader, order unicode.Endianness) *bufio.Reader {
	text := transform.NewReader(in, unicode.UTF16(order, unicode.IgnoreBOM).NewDecoder())
	return bufio.NewReaderSize(text, headSize)
}
