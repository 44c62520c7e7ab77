package conform

import (
	"fmt"
	"math/big"
)

// extendedOps returns the instructions with a carry: sums and products of numbers with
// several words, each as a chain of instructions in one kernel.
func extendedOps() []*Op {
	var ops []*Op
	for _, t := range []integer{u32, s32, u64, s64} {
		ops = append(ops, chain("add", t), chain("sub", t), longProduct(t.name, t.bits))
		for _, half := range []string{"lo", "hi"} {
			ops = append(ops, madCarry(t, half))
		}
	}
	return append(ops, madChain())
}

// joined returns the number with the given words, lowest first.
func joined(words []uint64, bits int) *big.Int {
	v := new(big.Int)
	for i := len(words) - 1; i >= 0; i-- {
		v.Lsh(v, uint(bits))
		v.Or(v, new(big.Int).SetUint64(words[i]&mask(bits)))
	}
	return v
}

// split returns the n words of v modulo 2^(n·bits), lowest first.
func split(v *big.Int, n, bits int) []uint64 {
	words := make([]uint64, n)
	for i := range words {
		words[i] = wrap(new(big.Int).Rsh(v, uint(i*bits)), bits)
	}
	return words
}

// chain returns an addition or subtraction of numbers with four words. The fifth result
// is the carry or borrow out.
func chain(op string, t integer) *Op {
	cc := fmt.Sprintf("%s.cc.%s", op, t.name)
	body := fmt.Sprintf("%s %%d0, %%a0, %%a4;\n", cc)
	for k := 1; k < 4; k++ {
		body += fmt.Sprintf("%sc.cc.%s %%d%d, %%a%d, %%a%d;\n", op, t.name, k, k, k+4)
	}
	body += fmt.Sprintf("%sc.%s %%d4, 0, 0;", op, t.name)
	return &Op{
		Name: cc + " and " + op + "c", in: repeat(t.reg(), 8), out: repeat(t.reg(), 5), body: body,
		rows: rows(repeat(carrying(t.bits), 8)...),
		eval: exacts(func(a []uint64) []uint64 {
			x, y := joined(a[:4], t.bits), joined(a[4:], t.bits)
			if op == "sub" {
				y.Neg(y)
			}
			return split(x.Add(x, y), 5, t.bits)
		}),
	}
}

// carrying is a domain of words that propagate a carry more often than random words.
func carrying(bits int) domain {
	d := wholeNumbers(bits)
	d.hard = append(d.hard, repeat(mask(bits), len(d.hard)/2)...)
	d.hard = append(d.hard, repeat(uint64(0), len(d.hard)/2)...)
	return d
}

// madCarry returns mad.cc followed by madc on the same operands: half of a product plus
// an addend, and the carry out.
func madCarry(t integer, half string) *Op {
	n := t.name
	body := fmt.Sprintf(`mad.%[1]s.cc.%[2]s %%d0, %%a0, %%a1, %%a2;
		madc.%[1]s.cc.%[2]s %%d1, %%a3, %%a4, %%a5;
		addc.%[2]s %%d2, 0, 0;`, half, n)
	part := func(a, b uint64) *big.Int {
		p := new(big.Int).Mul(t.value(a), t.value(b))
		if half == "hi" {
			p.Rsh(p, uint(t.bits))
		}
		return new(big.Int).SetUint64(wrap(p, t.bits))
	}
	return &Op{
		Name: "mad." + half + ".cc." + n + " and madc", in: repeat(t.reg(), 6), out: repeat(t.reg(), 3), body: body,
		rows: rows(repeat(carrying(t.bits), 6)...),
		eval: exacts(func(a []uint64) []uint64 {
			word := func(v uint64) *big.Int { return new(big.Int).SetUint64(v & mask(t.bits)) }
			s := part(a[0], a[1])
			s.Add(s, word(a[2]))
			d0, carry := wrap(s, t.bits), new(big.Int).Rsh(s, uint(t.bits))
			s = part(a[3], a[4])
			s.Add(s, word(a[5])).Add(s, carry)
			return []uint64{d0, wrap(s, t.bits), wrap(new(big.Int).Rsh(s, uint(t.bits)), t.bits)}
		}),
	}
}

// longProduct returns a product of two numbers with two words each, as in the manual's
// example for madc. The words are unsigned. The type in the name is that of the
// instruction that adds only a carry.
func longProduct(name string, bits int) *Op {
	unsigned := fmt.Sprintf("u%d", bits)
	body := fmt.Sprintf(`mul.lo.%[1]s %%d0, %%a0, %%a2;
		mul.hi.%[1]s %%d1, %%a0, %%a2;
		mad.lo.cc.%[1]s %%d1, %%a1, %%a2, %%d1;
		madc.hi.%[1]s %%d2, %%a1, %%a2, 0;
		mad.lo.cc.%[1]s %%d1, %%a0, %%a3, %%d1;
		madc.hi.cc.%[1]s %%d2, %%a0, %%a3, %%d2;
		addc.%[2]s %%d3, 0, 0;
		mad.lo.cc.%[1]s %%d2, %%a1, %%a3, %%d2;
		madc.hi.%[1]s %%d3, %%a1, %%a3, %%d3;`, unsigned, name)
	reg := fmt.Sprintf("b%d", bits)
	return &Op{
		Name: "long product with addc." + name, in: repeat(reg, 4), out: repeat(reg, 4), body: body,
		rows: rows(repeat(carrying(bits), 4)...),
		eval: exacts(func(a []uint64) []uint64 {
			return split(new(big.Int).Mul(joined(a[:2], bits), joined(a[2:], bits)), 4, bits)
		}),
	}
}

// madChain returns a chain interrupted by instructions that do not change the carry.
func madChain() *Op {
	return &Op{
		Name: "add.cc, then what leaves the carry alone", in: repeat("b32", 4), out: repeat("b32", 3),
		body: `add.cc.u32 %d0, %a0, %a1;
			add.u32 %d2, %a2, %a3;
			sub.u32 %d2, %d2, %a0;
			mul.lo.u32 %d2, %d2, %a1;
			addc.u32 %d1, %a2, %a3;`,
		rows: rows(repeat(carrying(32), 4)...),
		eval: exacts(func(a []uint64) []uint64 {
			lo := a[0] + a[1]
			return []uint64{lo, a[2] + a[3] + lo>>32, (a[2] + a[3] - a[0]) * a[1]}
		}),
	}
}
