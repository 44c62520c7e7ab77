//go:build !purego

package vec

import (
	"slices"

	"github.com/klauspost/cpuid/v2"
)

// channelRows is the argument of one assembly call: it decodes rows of codes of at most 4 bits, for the first
// columns channels, a positive multiple of 8 (AVX2) or 32 (AVX-512). The codes repeat in periods of whole
// bytes: 1 byte, or 3 bytes for 3 bits.
type channelRows struct {
	dst            *float32
	codes          *byte // first period
	scales, minima *float32
	rows, columns  int
	d              int
	period         int    // bytes of a period
	inFirst        int    // rows in the first period
	inEach         int    // rows in each later period
	skipped        uint32 // bits of the first period that belong to earlier rows
	bits, mask     uint32
	code           *[16]float32
}

//go:noescape
func readChannelsAVX2(w *channelRows)

// readNibblesAVX2 is readChannelsAVX2 of codes of 4 bits.
//
//go:noescape
func readNibblesAVX2(w *channelRows)

//go:noescape
func readChannelsAVX512(w *channelRows)

// lineCodes[bits] is a table of 16 floats: entry i is the code in the lowest bits bits of i.
var lineCodes = newLineCodes()

func newLineCodes() (codes [5][16]float32) {
	for bits := 1; bits <= 4; bits++ {
		for i := range codes[bits] {
			codes[bits][i] = float32(i % (1 << bits))
		}
	}
	return codes
}

func (s isa) readChannels(dst []float32, codes []byte, scales, minima []float32, bits, first int) {
	if s == plain || bits > 4 {
		readChannelsPlain(dst, codes, scales, minima, bits, first)
		return
	}
	d, period := len(scales), 1
	if bits == 3 {
		period = 3
	}
	each := 8 * period / bits
	rows := len(dst) / d
	w := channelRows{
		rows: rows, d: d, period: period, inFirst: min(rows, each-first%each), inEach: each,
		skipped: uint32(first % each * bits), bits: uint32(bits), mask: 1<<bits - 1, code: &lineCodes[bits],
	}
	codes = codes[first/each*period*d:]
	if over := first%each + rows; period == 3 && len(codes) < (over+each-1)/each*period*d {
		codes = append(slices.Clone(codes), make([]byte, 2*d)...) // the last period is incomplete
	}
	from := func(column, n int) {
		w.dst, w.codes, w.scales, w.minima, w.columns = &dst[column], &codes[column], &scales[column], &minima[column], n
	}
	wide := 0
	if s == avx512 && d >= 32 {
		wide = d &^ 31
		from(0, wide)
		readChannelsAVX512(&w)
	}
	if wide < d {
		from(wide, d-wide)
		if bits == 4 {
			readNibblesAVX2(&w)
		} else {
			readChannelsAVX2(&w)
		}
	}
}

// lineRows is the argument of one assembly call: it decodes rows of lines, in groups of size codes of at most
// 4 bits, where size is a positive multiple of 8 (AVX2) or 32 (AVX-512). It loads up to 8 bytes at the start
// of every 8 (AVX-512: 16) codes, so it may read past the last code.
type lineRows struct {
	dst            *float32
	line           *byte
	scales, minima *float32
	rows, groups   int
	size, bits     int
	skip           int // bytes between the end of a line and the next line
	mask           uint32
	table          *lineTable
	code           *[16]float32
}

// lineTable says how to spread 16 codes in 2·bits bytes over 16 words: for each code the two bytes that hold
// it, and the shift that moves it to bit 0.
type lineTable struct {
	bytes  [64]byte
	shifts [16]uint32
	after  [8]uint32 // lowest bit of each of the first 8 codes
}

var lineTables = newLineTables()

func newLineTables() (tables [5]lineTable) {
	for bits := 1; bits <= 4; bits++ {
		t := &tables[bits]
		for i := range t.shifts {
			bit := i * bits
			t.shifts[i] = uint32(bit % 8)
			t.bytes[4*i], t.bytes[4*i+1] = byte(bit/8), byte(min(7, bit/8+1))
			t.bytes[4*i+2], t.bytes[4*i+3] = 0x80, 0x80 // selects 0
			if i < 8 {
				t.after[i] = uint32(bit)
			}
		}
	}
	return tables
}

//go:noescape
func readLinesAVX2(w *lineRows)

//go:noescape
func readLinesAVX512(w *lineRows)

// hasBytes reports whether the processor has AVX-512's byte shuffle.
var hasBytes = cpuid.CPU.Supports(cpuid.AVX512BW)

func (s isa) readLines(dst []float32, lines []byte, stride int, numbers []float32, d, size, bits int) {
	rows, groups := len(dst)/d, d/size
	whole := rows // rows for which loads of 8 bytes stay inside lines
	for whole > 0 && (whole-1)*stride+d*bits/8+8 > cap(lines) {
		whole--
	}
	if s == plain || bits > 4 || size%8 != 0 {
		whole = 0
	}
	if whole > 0 {
		w := lineRows{
			dst: &dst[0], line: &lines[0], scales: &numbers[0], minima: &numbers[groups],
			rows: whole, groups: groups, size: size, bits: bits, skip: stride - d*bits/8,
			mask: 1<<bits - 1, table: &lineTables[bits], code: &lineCodes[bits],
		}
		if s == avx512 && size%32 == 0 && hasBytes {
			readLinesAVX512(&w)
		} else {
			readLinesAVX2(&w)
		}
	}
	if whole < rows {
		readLinesPlain(dst[whole*d:], lines[whole*stride:], stride, numbers[2*whole*groups:], d, size, bits)
	}
}
