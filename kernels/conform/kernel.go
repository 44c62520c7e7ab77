package conform

import (
	"fmt"
	"strings"
)

// slot is the size in bytes of a register's slot in memory; the value is in the low bytes. The slots of a row
// are consecutive.
const slot = 8

// stride returns the bytes of a row: its slots, padded to a multiple of 16 if there are several.
func stride(types []string) int {
	n := len(types)
	if n > 1 {
		n += n % 2
	}
	return slot * n
}

// ISA is the PTX version of the modules, except those of forms that need a higher one.
const ISA = "7.8"

// A Module is PTX text with the kernels of several forms.
type Module struct {
	Name string // file name: "float_sm_80.ptx"
	PTX  []byte
	ops  []*Op
}

// Modules returns the modules for the forms: one per chapter, architecture and PTX version.
func Modules(ops []*Op) []*Module {
	var order []string
	by := map[string]*Module{}
	for _, o := range ops {
		name := o.Chapter + "_" + o.Target + ".ptx"
		if o.ISA != "" {
			name = o.Chapter + "_" + o.Target + "_ptx" + o.ISA + ".ptx"
		}
		if by[name] == nil {
			by[name] = &Module{Name: name}
			order = append(order, name)
		}
		by[name].ops = append(by[name].ops, o)
	}
	var all []*Module
	for _, name := range order {
		m := by[name]
		m.PTX = moduleText(m.ops)
		all = append(all, m)
	}
	return all
}

// entry returns the name of the form's kernel.
func (o *Op) entry() string {
	return "op_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, o.Name)
}

// moduleText returns the PTX of forms with the same architecture and PTX version.
func moduleText(ops []*Op) []byte {
	var b strings.Builder
	isa := ISA
	if ops[0].ISA != "" {
		isa = ops[0].ISA
	}
	fmt.Fprintf(&b, ".version %s\n.target %s\n.address_size 64\n", isa, ops[0].Target)
	for _, o := range ops {
		o.writeKernel(&b)
	}
	return []byte(b.String())
}

// regBits returns the width of a type's register. A predicate is stored in 32 bits.
func regBits(t string) int {
	switch t {
	case "b16":
		return 16
	case "b64", "f64":
		return 64
	}
	return 32
}

// writeKernel writes the form's kernel. Thread i of the grid reads row i of the operands at [p_in], executes
// the body, and writes row i of the results at [p_out]. The body may use the addresses of the thread's rows, %rin
// and %rout, and the row number %i.
func (o *Op) writeKernel(b *strings.Builder) {
	fmt.Fprintf(b, "\n// %s\n", o.Name)
	if o.module != "" {
		fmt.Fprintf(b, "%s\n", o.module)
	}
	fmt.Fprintf(b, ".visible .entry %s(.param .u64 p_in, .param .u64 p_out, .param .u32 p_n)\n{\n", o.entry())
	fmt.Fprintf(b, "\t.reg .pred %%past;\n\t.reg .b32 %%i, %%n, %%dim, %%block, %%word;\n\t.reg .b64 %%rin, %%rout, %%off;\n")
	for k, t := range o.in {
		fmt.Fprintf(b, "\t.reg .%s %%a%d;\n", t, k)
	}
	for k, t := range o.out {
		fmt.Fprintf(b, "\t.reg .%s %%d%d;\n", t, k)
	}
	if o.declare != "" {
		writeLines(b, o.declare)
	}
	writeLines(b, fmt.Sprintf(`
		ld.param.u64 %%rin, [p_in];
		ld.param.u64 %%rout, [p_out];
		ld.param.u32 %%n, [p_n];
		cvta.to.global.u64 %%rin, %%rin;
		cvta.to.global.u64 %%rout, %%rout;
		mov.u32 %%i, %%tid.x;
		mov.u32 %%dim, %%ntid.x;
		mov.u32 %%block, %%ctaid.x;
		mad.lo.u32 %%i, %%block, %%dim, %%i;
		setp.ge.u32 %%past, %%i, %%n;
		@%%past bra DONE;
		mul.wide.u32 %%off, %%i, %d;
		add.u64 %%rin, %%rin, %%off;
		mul.wide.u32 %%off, %%i, %d;
		add.u64 %%rout, %%rout, %%off;`, stride(o.in), stride(o.out)))
	for k, t := range o.in {
		if t == "pred" {
			fmt.Fprintf(b, "\tld.global.b32 %%word, [%%rin+%d];\n\tsetp.ne.s32 %%a%d, %%word, 0;\n", slot*k, k)
			continue
		}
		fmt.Fprintf(b, "\tld.global.%s %%a%d, [%%rin+%d];\n", t, k, slot*k)
	}
	writeLines(b, o.body)
	for k, t := range o.out {
		if t == "pred" {
			fmt.Fprintf(b, "\tselp.b32 %%word, 1, 0, %%d%d;\n\tst.global.b32 [%%rout+%d], %%word;\n", k, slot*k)
			continue
		}
		fmt.Fprintf(b, "\tst.global.%s [%%rout+%d], %%d%d;\n", t, slot*k, k)
	}
	b.WriteString("DONE:\n\tret;\n}\n")
}

// writeLines writes lines of PTX with indentation, except for labels.
func writeLines(b *strings.Builder, lines string) {
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		line = strings.TrimSpace(line)
		if !strings.HasSuffix(line, ":") {
			b.WriteByte('\t')
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
}
