package ptx

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Functions of CUDA's device runtime: vprintf, which implements printf, and __assertfail.

// Limits of what a kernel may print.
const (
	maxPrinted = 1 << 20 // bytes per launch, CUDA's default buffer size
	maxString  = 1 << 12
	maxWidth   = 1 << 10 // of a field's width, and of its precision
)

// runtimeSizes are the parameter sizes of the functions, in bytes.
var runtimeSizes = map[string][]int64{
	"vprintf":      {8, 8},          // format, arguments
	"__assertfail": {8, 8, 4, 8, 8}, // expression, file, line, function, size of a character
}

// unsupportedCalls are functions of the device runtime that the machine does not have.
var unsupportedCalls = map[string]string{
	"malloc": "allocations", "free": "allocations",
	"cudaGetParameterBuffer": "launches", "cudaLaunchDevice": "launches", "cudaGetParameterBufferV2": "launches", "cudaLaunchDeviceV2": "launches",
}

// external decodes a call of a runtime function.
func (d *decoder) external(f *function, results, rest []operand) error {
	sizes, ok := runtimeSizes[f.name]
	if !ok {
		if what := unsupportedCalls[f.name]; what != "" {
			return d.errorf("call: %s: %s in a kernel are not supported", f.name, what)
		}
		return d.errorf("call: %q is nowhere defined", short(f.name))
	}
	var args []operand
	if len(rest) == 1 && rest[0].kind == opList {
		args = rest[0].list
	}
	if len(args) != len(sizes) || len(results) > 1 {
		return d.errorf("call: %q has %d parameters", f.name, len(sizes))
	}
	at := func(o operand, size int64) (uint64, error) {
		v, ok := d.variable(o.name)
		if o.kind != opName || !ok || v.space != spaceParam || v.size != size {
			return 0, d.errorf("call: %q takes a .param variable of %d bytes here", f.name, size)
		}
		return d.symbols[v], nil
	}
	c := &runtimeCall{}
	for i, o := range args {
		off, err := at(o, sizes[i])
		if err != nil {
			return err
		}
		c.args = append(c.args, runtimeArg{off, sizes[i]})
	}
	if len(results) == 1 {
		off, err := at(results[0], 4)
		if err != nil {
			return err
		}
		c.result = &off
	}
	d.in.kind, d.in.run = kindRun, c.vprintf
	if f.name == "__assertfail" {
		d.in.run = c.assertFail
	}
	return d.push()
}

// runtimeCall is a call of a runtime function: where its arguments and its result are in a thread's local
// memory.
type runtimeCall struct {
	args   []runtimeArg
	result *uint64
}

type runtimeArg struct {
	off  uint64
	size int64
}

// arg returns an argument of a lane.
func (c *runtimeCall) arg(w *warp, lane, n int) uint64 {
	b := w.local[uint64(lane*w.block.launch.entry.local)+c.args[n].off:]
	if c.args[n].size == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// memoryAt returns the memory that starts at a lane's generic address, nil if there is none.
func (w *warp) memoryAt(lane int, addr uint64) []byte {
	from := func(mem []byte, base uint64) []byte {
		if addr-base >= uint64(len(mem)) {
			return nil
		}
		return mem[addr-base:]
	}
	switch sp := spaceOfAddress(addr); sp {
	case spaceGlobal:
		if a := w.block.launch.device.mem.find(addr); a != nil {
			return from(a.mem, a.base)
		}
		return nil
	case spaceLocal:
		n := w.block.launch.entry.local
		return from(w.local[lane*n:(lane+1)*n], localBase)
	default:
		return from(w.window(sp), windowOf(sp))
	}
}

// text returns the string at a generic address of a lane.
func (w *warp) text(lane int, addr uint64) (string, bool) {
	b := w.memoryAt(lane, addr)
	n := bytes.IndexByte(b[:min(len(b), maxString)], 0)
	if n < 0 {
		return "", false
	}
	return string(b[:n]), true
}

// assertFail is __assertfail, which a failed assert calls.
func (c *runtimeCall) assertFail(w *warp, in *instr, mask uint32) error {
	lane := bits.TrailingZeros32(mask)
	r := w.report(Trapped, in, mask)
	part := func(n int) string {
		if s, ok := w.text(lane, c.arg(w, lane, n)); ok {
			return s
		}
		return "?"
	}
	r.Detail = fmt.Sprintf("assertion failed: %s, at %s:%d, in %s", part(0), part(1), c.arg(w, lane, 2), part(3))
	return w.block.launch.trapped(r)
}

// vprintf prints for each lane, and returns the number of arguments.
func (c *runtimeCall) vprintf(w *warp, in *instr, mask uint32) error {
	l := w.block.launch
	for g := mask; g != 0; g &= g - 1 {
		lane := bits.TrailingZeros32(g)
		format, ok := w.text(lane, c.arg(w, lane, 0))
		if !ok {
			return w.errorf(in, 1<<lane, "%#x is no string of at most %d bytes", c.arg(w, lane, 0), maxString)
		}
		p := printer{w: w, lane: lane, base: c.arg(w, lane, 1)}
		if err := p.print(format); err != nil {
			return w.errorf(in, 1<<lane, "%v", err)
		}
		if c.result != nil {
			at := uint64(lane*l.entry.local) + *c.result
			binary.LittleEndian.PutUint32(w.local[at:], uint32(p.count))
			if l.checks != nil && l.checks.on.Uninit {
				l.checks.localOf(w).written(int64(at), 4)
			}
		}
		if p.undefined != nil {
			r := w.report(Uninitialized, in, 1<<lane)
			r.Detail = fmt.Sprintf("prints argument %d of %q, and nothing has written byte %d of the arguments", p.count, format, *p.undefined)
			if err := l.found(r); err != nil {
				return err
			}
		}
		if err := l.write(p.out.String()); err != nil {
			return w.errorf(in, 1<<lane, "printf: %v", err)
		}
	}
	return nil
}

// write prints text, up to a limit per launch.
func (l *launch) write(text string) error {
	out := l.device.opt.Output
	if out == nil || l.printed > maxPrinted {
		return nil
	}
	if l.printed += len(text); l.printed > maxPrinted {
		text = fmt.Sprintf("\n(output limit of %d bytes reached: the rest is omitted)\n", maxPrinted)
	}
	_, err := out.Write([]byte(text))
	return err
}

// printer formats like C's printf.
type printer struct {
	w         *warp
	lane      int
	base      uint64 // generic address of the arguments
	at        uint64 // of the next argument
	count     int
	undefined *int64 // index of a byte of the arguments that nothing has written
	out       strings.Builder
}

// next returns the next argument, of 4 or 8 bytes, aligned to its size.
func (p *printer) next(size uint64) (uint64, error) {
	p.at = (p.at + size - 1) &^ (size - 1)
	b := p.w.memoryAt(p.lane, p.base+p.at)
	if uint64(len(b)) < size {
		return 0, fmt.Errorf("printf: argument %d lies outside memory", p.count)
	}
	if c := p.w.block.launch.checks; c != nil && c.on.Uninit && p.undefined == nil && spaceOfAddress(p.base) == spaceLocal {
		first := int64(p.lane*c.localBytes) + int64(p.base-localBase)
		if at := c.localOf(p.w).unwritten(first+int64(p.at), int64(size)); at >= 0 {
			at -= first
			p.undefined = &at
		}
	}
	p.at += size
	p.count++
	if size == 4 {
		return uint64(binary.LittleEndian.Uint32(b)), nil
	}
	return binary.LittleEndian.Uint64(b), nil
}

// print formats up to the end, or to the first argument that is undefined.
func (p *printer) print(format string) error {
	for format != "" && p.undefined == nil {
		text, rest, more := strings.Cut(format, "%")
		p.out.WriteString(text)
		if !more {
			break
		}
		var s spec
		n, err := s.parse(rest, p)
		if err != nil {
			return err
		}
		if n == 0 { // not a conversion
			p.out.WriteByte('%')
			format = rest
			continue
		}
		format = rest[n:]
		if err := s.write(p); err != nil {
			return err
		}
	}
	return nil
}

// spec is a conversion: %[flags][width][.precision][length]verb.
type spec struct {
	flags     string
	width     int
	precision int // -1 is none
	long      bool
	short     uint // bits of h and hh, else 0
	verb      byte
}

// parse parses a conversion after its percent sign and returns its length, or 0 if it is invalid.
func (s *spec) parse(text string, p *printer) (int, error) {
	n := 0
	for n < len(text) && strings.IndexByte("-+ #0", text[n]) >= 0 {
		n++
	}
	s.flags, s.precision = text[:n], -1
	number := func(into *int) error {
		if n < len(text) && text[n] == '*' {
			n++
			v, err := p.next(4)
			*into = int(int32(v))
			return err
		}
		for *into = 0; n < len(text) && isDigit(text[n]); n++ {
			*into = min(*into*10+int(text[n]-'0'), maxWidth)
		}
		return nil
	}
	if err := number(&s.width); err != nil {
		return 0, err
	}
	if s.width < 0 {
		s.flags, s.width = s.flags+"-", -s.width
	}
	s.width = min(s.width, maxWidth)
	if n < len(text) && text[n] == '.' {
		n++
		if err := number(&s.precision); err != nil {
			return 0, err
		}
		s.precision = min(max(s.precision, -1), maxWidth)
	}
	for ; n < len(text) && strings.IndexByte("hlLqjzt", text[n]) >= 0; n++ {
		switch {
		case text[n] != 'h':
			s.long = true
		case s.short == 16:
			s.short = 8
		default:
			s.short = 16
		}
	}
	if n == len(text) || strings.IndexByte("diuoxXcspfFeEgGaA%", text[n]) < 0 {
		return 0, nil
	}
	s.verb = text[n]
	return n + 1, nil
}

// write formats the next argument.
func (s *spec) write(p *printer) error {
	size := uint64(4)
	if s.long || strings.IndexByte("spfFeEgGaA", s.verb) >= 0 {
		size = 8
	}
	if s.verb == '%' {
		p.out.WriteByte('%')
		return nil
	}
	v, err := p.next(size)
	if err != nil {
		return err
	}
	switch s.verb {
	case 'c':
		s.pad(p, string([]byte{byte(v)}))
	case 's':
		text, ok := p.w.text(p.lane, v)
		if !ok {
			return fmt.Errorf("printf: argument %d, %#x, is no string of at most %d bytes", p.count, v, maxString)
		}
		if s.precision >= 0 {
			text = text[:min(len(text), s.precision)]
		}
		s.pad(p, text)
	case 'p':
		s.pad(p, "0x"+strconv.FormatUint(v, 16))
	case 'd', 'i':
		n := int64(v)
		if size == 4 {
			n = int64(int32(v))
		}
		switch s.short {
		case 16:
			n = int64(int16(v))
		case 8:
			n = int64(int8(v))
		}
		fmt.Fprintf(&p.out, s.verbs('d'), n)
	case 'u', 'o', 'x', 'X':
		if s.short > 0 {
			v &= 1<<s.short - 1
		}
		verb := s.verb
		if verb == 'u' {
			verb = 'd'
		}
		if v == 0 && verb != 'o' {
			s.flags = strings.ReplaceAll(s.flags, "#", "")
		}
		fmt.Fprintf(&p.out, s.verbs(verb), v)
	default:
		s.float(p, math.Float64frombits(v))
	}
	return nil
}

// verbs returns the conversion for package fmt.
func (s *spec) verbs(verb byte) string {
	f := "%" + s.flags
	if s.width > 0 {
		f += strconv.Itoa(s.width)
	}
	if s.precision >= 0 {
		f += "." + strconv.Itoa(s.precision)
	}
	return f + string(rune(verb))
}

func (s *spec) float(p *printer, x float64) {
	upper := s.verb < 'a'
	lower := s.verb | 0x20
	if math.IsNaN(x) || math.IsInf(x, 0) {
		text := strings.ToLower(strconv.FormatFloat(math.Abs(x), 'g', -1, 64))
		text = strings.TrimPrefix(text, "+")
		switch {
		case math.Signbit(x) && !math.IsNaN(x):
			text = "-" + text
		case strings.Contains(s.flags, "+"):
			text = "+" + text
		}
		if upper {
			text = strings.ToUpper(text)
		}
		s.pad(p, text)
		return
	}
	if lower == 'a' {
		text := strconv.FormatFloat(x, 'x', s.precision, 64)
		if n := len(text); text[n-2] == '0' { // C's %a writes no leading zero in the exponent
			text = text[:n-2] + text[n-1:]
		}
		if upper {
			text = strings.ToUpper(text)
		}
		s.pad(p, text)
		return
	}
	if s.precision < 0 {
		s.precision = 6
	}
	if lower == 'g' && s.precision == 0 {
		s.precision = 1
	}
	fmt.Fprintf(&p.out, s.verbs(s.verb), x)
}

// pad pads text to the field's width with spaces.
func (s *spec) pad(p *printer, text string) {
	space := strings.Repeat(" ", max(s.width-len(text), 0))
	if strings.Contains(s.flags, "-") {
		p.out.WriteString(text + space)
	} else {
		p.out.WriteString(space + text)
	}
}
