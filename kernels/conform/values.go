package conform

import (
	"math/big"
	"math/rand/v2"
)

// A domain is a source of operands: values that are known to be hard cases, and random
// values.
type domain struct {
	hard   []uint64
	random func(*rand.Rand) uint64
}

// A table draws the rows of operands of an instruction.
type table func(*rand.Rand) [][]uint64

// The number of random rows of every form, and the largest number of combinations of
// hard values.
const (
	randomRows = 150
	hardRows   = 400
)

// rows is the table of independent operands: all combinations of hard values, or a
// sample of them, and random rows.
func rows(ds ...domain) table {
	return func(r *rand.Rand) [][]uint64 {
		n := 1
		for _, d := range ds {
			n *= len(d.hard)
		}
		var t [][]uint64
		if n <= hardRows {
			for i := range n {
				row := make([]uint64, len(ds))
				for k, d := range ds {
					row[k] = d.hard[i%len(d.hard)]
					i /= len(d.hard)
				}
				t = append(t, row)
			}
		} else {
			for range hardRows {
				row := make([]uint64, len(ds))
				for k, d := range ds {
					row[k] = d.hard[r.IntN(len(d.hard))]
				}
				t = append(t, row)
			}
		}
		for range randomRows {
			row := make([]uint64, len(ds))
			for k, d := range ds {
				row[k] = d.random(r)
			}
			t = append(t, row)
		}
		return t
	}
}

// and appends the rows of other tables.
func (t table) and(others ...table) table {
	return func(r *rand.Rand) [][]uint64 {
		all := t(r)
		for _, o := range others {
			all = append(all, o(r)...)
		}
		return all
	}
}

// literally is a table of the given rows.
func literally(rows ...[]uint64) table {
	return func(*rand.Rand) [][]uint64 { return rows }
}

// every is the table of the numbers 0 to n−1, one in each row.
func every(n int) table {
	return func(*rand.Rand) [][]uint64 {
		t := make([][]uint64, n)
		for i := range t {
			t[i] = []uint64{uint64(i)}
		}
		return t
	}
}

// wholeNumbers is the domain of integers with the given width: numbers around zero and
// around the limits of each smaller type, runs of ones, and random numbers of all
// magnitudes.
func wholeNumbers(bits int) domain {
	var hard []uint64
	for _, v := range []uint64{0, 1, 2, 3, 7, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000,
		0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0x100000000, 1<<63 - 1, 1 << 63, 1<<63 + 1} {
		if v&^mask(bits) == 0 {
			hard = append(hard, v)
		}
	}
	for _, v := range []uint64{^uint64(0), ^uint64(1), 0x5555555555555555, 0xaaaaaaaaaaaaaaaa, ^uint64(0x7f), ^uint64(0x7fff), 0xfedcba9876543210} {
		hard = append(hard, v&mask(bits))
	}
	return domain{hard, func(r *rand.Rand) uint64 {
		v := r.Uint64() & mask(bits) >> r.IntN(bits)
		if r.IntN(2) == 0 {
			v = -v
		}
		return v & mask(bits)
	}}
}

// amounts is the domain of shift amounts and bit positions for a width: below, at, above
// and far above it.
func amounts(width int) domain {
	hard := []uint64{0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff}
	return domain{hard, func(r *rand.Rand) uint64 { return r.Uint64N(uint64(width) * 9 / 8) }}
}

// truth is the domain of predicates.
func truth() domain {
	return domain{[]uint64{0, 1}, func(r *rand.Rand) uint64 { return r.Uint64N(2) }}
}

// numbers is the domain of numbers of a format.
func (f format) numbers() domain {
	var hard []uint64
	lsb := uint64(1)
	for _, v := range []uint64{
		0,
		lsb, 2 * lsb, // the smallest numbers
		1<<f.man - 1, 1 << f.man, 1<<f.man + 1, // around the smallest normal one
		f.one() - 1, f.one(), f.one() + 1, f.one() + 2,
		f.one() - 1<<f.man,     // 1/2
		f.one() + 1<<(f.man-1), // 1.5
		f.one() + 1<<f.man,     // 2
		f.one() + 1<<(f.man-1) + 1,
		f.one() + mask(f.man-1), // just below 1.5
		f.max() - 1, f.max(),
	} {
		hard = append(hard, v, v|f.sign())
	}
	if !f.finite {
		// Infinities, and NaNs: the smallest payload, a signalling one, a quiet one, all ones.
		for _, v := range []uint64{f.inf(), f.inf() + 1, f.inf() + 1<<(f.man-2), f.inf() + 1<<(f.man-1), f.nan()} {
			hard = append(hard, v, v|f.sign())
		}
	}
	return domain{hard, func(r *rand.Rand) uint64 {
		if r.IntN(4) == 0 {
			return r.Uint64() & mask(f.width())
		}
		return f.near(r, f.bias(), 12)
	}}
}

// near returns a random number with an exponent field from field−spread to field+spread.
// Some significands have few bits, so sums and products are sometimes exact or halfway.
func (f format) near(r *rand.Rand, field, spread int) uint64 {
	field += r.IntN(2*spread+1) - spread
	field = min(max(field, 0), 1<<f.exp-2)
	man := r.Uint64() & mask(f.man)
	switch r.IntN(4) {
	case 0: // the upper half only
		man &^= mask(f.man / 2)
	case 1: // a run of ones
		man |= mask(f.man) >> r.IntN(f.man)
	}
	return r.Uint64()&1<<(f.exp+f.man) | uint64(field)<<f.man | man
}

// field returns the exponent field of a number.
func (f format) field(a uint64) int { return int(a >> f.man & mask(f.exp)) }

// sums returns pairs with similar exponents, and pairs that nearly cancel.
func (f format) sums() table {
	return func(r *rand.Rand) [][]uint64 {
		var t [][]uint64
		for i := range randomRows {
			field := r.IntN(1 << f.exp)
			a, b := f.near(r, field, 1), f.near(r, field, f.man+3)
			if i%4 == 0 {
				b = a ^ f.sign() ^ r.Uint64N(4)
			}
			t = append(t, []uint64{a, b})
		}
		return t
	}
}

// products returns pairs whose product is anywhere in the range, more often near its
// ends.
func (f format) products() table {
	return func(r *rand.Rand) [][]uint64 {
		var t [][]uint64
		for range randomRows {
			a := f.near(r, r.IntN(1<<f.exp), 1)
			t = append(t, []uint64{a, f.near(r, f.target(r)-f.field(a)+f.bias(), 1)})
		}
		return t
	}
}

// quotients returns pairs likewise for the quotient.
func (f format) quotients() table {
	return func(r *rand.Rand) [][]uint64 {
		var t [][]uint64
		for range randomRows {
			a := f.near(r, r.IntN(1<<f.exp), 1)
			t = append(t, []uint64{a, f.near(r, f.field(a)-f.target(r)+f.bias(), 1)})
		}
		return t
	}
}

// target draws the exponent field of a product or quotient.
func (f format) target(r *rand.Rand) int {
	switch r.IntN(3) {
	case 0: // subnormal, or just below
		return -r.IntN(f.man + 3)
	case 1: // near overflow
		return 1<<f.exp - 2
	default:
		return r.IntN(1 << f.exp)
	}
}

// fused returns triples a, b, c in which c is near a·b or nearly cancels it.
func (f format) fused() table {
	return func(r *rand.Rand) [][]uint64 {
		var t [][]uint64
		for i, row := range append(f.products()(r), f.products()(r)...) {
			p := f.mul(row[0], row[1], nearest)
			c := f.near(r, f.field(row[0])+f.field(row[1])-f.bias(), f.man+3)
			switch i % 4 {
			case 0:
				c = p ^ f.sign()
			case 1:
				// About half a unit in the last place of the product: the bits that decide the
				// rounding are lost if the product is rounded first.
				c = f.near(r, f.field(p)-f.man-1, 0)&^mask(f.man) + r.Uint64N(3)
			}
			t = append(t, []uint64{row[0], row[1], c})
		}
		// A product slightly below or above half a unit in the last place of c. If the sum is
		// first rounded to a format of twice the width, as with a double-precision fma, it
		// becomes a tie.
		n := f.man / 2
		for range randomRows / 2 {
			i := uint64(r.IntN(8)) << f.man
			a, b := f.one()+1, f.one()-2 // 1 + 2^-man and 1 - 2^-man
			if r.IntN(2) == 0 {
				a, b = f.one()+1<<(f.man-n), f.one()-1<<(f.man-n+1)+1<<(f.man-2*n+1) // 1 + 2^-n and 1 - 2^-n + 2^-2n
			}
			// The product has the sign of c or the opposite one, and is in [1/2, 2) · 2^i.
			c := (f.one()+i)&^mask(f.man) + uint64(f.man+1)<<f.man | r.Uint64()&mask(f.man)
			if f.field(c) < 1<<f.exp-1 {
				t = append(t, []uint64{a + i, b | r.Uint64()&1*f.sign(), c | r.Uint64()&1*f.sign()})
			}
		}
		return t
	}
}

// halves returns numbers of format from that are halfway between two adjacent numbers of
// format to, or next to halfway, also at the ends of its range.
func halves(to, from format) table {
	return func(r *rand.Rand) [][]uint64 {
		var t [][]uint64
		for range 2 * randomRows {
			b := r.Uint64() & mask(to.width()-1)
			switch r.IntN(4) {
			case 0: // subnormal
				b &= mask(to.man + 1)
			case 1: // large
				b = to.max() - b&3
			}
			x, y := to.decode(b), to.decode(b+1)
			if x.nan || x.inf || y.nan {
				continue
			}
			if y.inf { // the next number if the exponent were unbounded
				y = sumOf(x, num{m: big.NewInt(1), e: x.e}, nearest)
			}
			mid := sumOf(x, y, nearest)
			mid.e--
			m := from.round(mid, false, nearest)
			m += r.Uint64N(3) - 1 // one below, at, or one above, equally often
			t = append(t, []uint64{m&mask(from.width()-1) | r.Uint64()&1*from.sign()})
		}
		return t
	}
}

// nearIntegers returns numbers at, next to and halfway between integers, and around the
// ends of a type's range.
func (f format) nearIntegers(t integer) table {
	return func(r *rand.Rand) [][]uint64 {
		var rows [][]uint64
		put := func(m *big.Int, e int) {
			b := f.round(num{neg: m.Sign() < 0, m: new(big.Int).Abs(m), e: e}, false, nearest)
			for _, v := range []uint64{b - 1, b, b + 1} {
				rows = append(rows, []uint64{v & mask(f.width())})
			}
		}
		for i := int64(-7); i <= 7; i++ { // halves
			put(big.NewInt(i), -1)
		}
		for _, end := range []*big.Int{t.min(), t.max()} {
			for d := int64(-3); d <= 3; d++ {
				put(new(big.Int).Add(new(big.Int).Lsh(end, 1), big.NewInt(d)), -1)
			}
		}
		for range randomRows / 3 {
			v := new(big.Int).SetUint64(r.Uint64() >> r.IntN(64))
			if r.IntN(2) == 0 {
				v.Neg(v)
			}
			put(v, -1)
		}
		return rows
	}
}

// pairs returns rows with several operands, each drawn from a table with one operand.
func pairs(ts ...table) table {
	return func(r *rand.Rand) [][]uint64 {
		var all [][]uint64
		for _, t := range ts {
			col := t(r)
			for i := range col {
				all = append(all, []uint64{col[i][0], col[r.IntN(len(col))][0]})
			}
		}
		return all
	}
}

// packed returns rows whose operands have two halves. Each row combines two rows of t.
func packed(width int, t table) table {
	return func(r *rand.Rand) [][]uint64 {
		lo, hi := t(r), t(r)
		r.Shuffle(len(hi), func(i, j int) { hi[i], hi[j] = hi[j], hi[i] })
		out := make([][]uint64, min(len(lo), len(hi)))
		for i := range out {
			out[i] = make([]uint64, len(lo[i]))
			for k := range out[i] {
				out[i][k] = hi[i][k]<<width | lo[i][k]&mask(width)
			}
		}
		return out
	}
}
