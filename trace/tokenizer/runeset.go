package tokenizer

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
)

// runeRange is the runes from lo to hi, both included.
type runeRange struct{ lo, hi rune }

// runeSet is a set of runes: disjoint, non-adjacent ranges in ascending order.
type runeSet []runeRange

// setOf returns the union of ranges, which may be in any order and overlap.
func setOf(ranges ...runeRange) runeSet {
	slices.SortFunc(ranges, func(a, b runeRange) int { return int(a.lo) - int(b.lo) })
	var s runeSet
	for _, r := range ranges {
		if n := len(s); n > 0 && r.lo <= s[n-1].hi+1 {
			s[n-1].hi = max(s[n-1].hi, r.hi)
			continue
		}
		s = append(s, r)
	}
	return s
}

// tables returns the union of Unicode tables.
func tables(of ...*unicode.RangeTable) runeSet {
	var ranges []runeRange
	for _, t := range of {
		for _, r := range t.R16 {
			ranges = appendStrided(ranges, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range t.R32 {
			ranges = appendStrided(ranges, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return setOf(ranges...)
}

func appendStrided(ranges []runeRange, lo, hi, stride rune) []runeRange {
	if stride == 1 {
		return append(ranges, runeRange{lo, hi})
	}
	for r := lo; r <= hi; r += stride {
		ranges = append(ranges, runeRange{r, r})
	}
	return ranges
}

// or returns the union of two sets.
func (s runeSet) or(t runeSet) runeSet { return setOf(slices.Concat(s, t)...) }

// not returns the complement of a set.
func (s runeSet) not() runeSet {
	var out runeSet
	next := rune(0)
	for _, r := range s {
		if next < r.lo {
			out = append(out, runeRange{next, r.lo - 1})
		}
		next = r.hi + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, runeRange{next, unicode.MaxRune})
	}
	return out
}

// and returns the intersection of two sets.
func (s runeSet) and(t runeSet) runeSet { return s.not().or(t.not()).not() }

// has reports whether r is in the set.
func (s runeSet) has(r rune) bool {
	_, ok := slices.BinarySearchFunc(s, r, func(in runeRange, r rune) int {
		switch {
		case in.hi < r:
			return -1
		case in.lo > r:
			return 1
		}
		return 0
	})
	return ok
}

// folded returns the set with all case variants of its runes.
func (s runeSet) folded() runeSet {
	ranges := slices.Clone(s)
	for _, r := range caseTable().cased {
		if !s.has(r) {
			continue
		}
		for _, other := range orbit(r)[1:] {
			ranges = append(ranges, runeRange{other, other})
		}
	}
	return setOf(ranges...)
}

// orbit returns a rune, followed by its case variants.
func orbit(r rune) []rune {
	out := []rune{r}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		out = append(out, other)
	}
	return out
}

// caseFolds has the runes with case variants, and the strings of several runes that are equal
// to one rune under case folding, such as "ss" and ß.
type caseFolds struct {
	cased   []rune
	strings map[string]rune
}

var caseTable = sync.OnceValue(func() caseFolds {
	t, fold := caseFolds{strings: map[string]rune{}}, fullFold()
	for r := range rune(unicode.MaxRune) {
		if 0xD800 <= r && r < 0xE000 {
			continue
		}
		if unicode.SimpleFold(r) != r {
			t.cased = append(t.cased, r)
		}
		if r < 0x80 {
			continue
		}
		if s := fold(r); len([]rune(s)) > 1 {
			t.strings[s] = r
		}
	}
	return t
})

// fullFold returns a function for full case folding. It is not for concurrent use.
func fullFold() func(r rune) string {
	caser := cases.Fold()
	var from, to [64]byte // no rune is folded to more than three
	return func(r rune) string {
		n, _, err := caser.Transform(to[:], utf8.AppendRune(from[:0], r), true)
		if err != nil {
			panic(err) // cannot happen: there is room
		}
		return string(to[:n])
	}
}

// The sets of Oniguruma's escapes and POSIX brackets that are not a Unicode category.

// wordRunes are letters, marks, digits and connectors: \w within a class.
func wordRunes() runeSet {
	return alphaRunes().or(tables(unicode.M, unicode.Nd, unicode.Pc))
}

// loneWordRunes are \w outside a class. There Oniguruma uses a table for Latin-1 that also has
// the superscript digits and fractions.
func loneWordRunes() runeSet {
	return wordRunes().or(setOf(runeRange{'²', '³'}, runeRange{'¹', '¹'}, runeRange{'¼', '¾'}))
}

func alphaRunes() runeSet { return tables(unicode.L, unicode.Nl, unicode.Other_Alphabetic) }

func spaceRunes() runeSet { return tables(unicode.White_Space) }

func hexRunes() runeSet {
	return setOf(runeRange{'0', '9'}, runeRange{'A', 'F'}, runeRange{'a', 'f'})
}

// graphRunes are the visible characters: not white space, control, surrogate or unassigned.
func graphRunes() runeSet {
	return assignedRunes().and(spaceRunes().or(tables(unicode.Cc, unicode.Cs)).not())
}

func assignedRunes() runeSet {
	return tables(unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co)
}

// property returns the set of \p{NAME}: a general category, a script, another property of
// Unicode, or a POSIX bracket. Case, spaces, hyphens and underscores in the name are ignored.
func property(name string) (runeSet, bool) {
	name = plainName(name)
	switch name {
	case "any":
		return runeSet{{0, unicode.MaxRune}}, true
	case "assigned":
		return assignedRunes(), true
	case "cn", "unassigned":
		return assignedRunes().not(), true
	case "c", "other":
		return tables(unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co).or(assignedRunes().not()), true
	case "ascii":
		return runeSet{{0, 0x7F}}, true
	case "alnum":
		return alphaRunes().or(tables(unicode.Nd)), true
	case "alpha", "alphabetic":
		return alphaRunes(), true
	case "blank":
		return tables(unicode.Zs).or(setOf(runeRange{'\t', '\t'})), true
	case "cntrl":
		return tables(unicode.Cc), true
	case "digit":
		return tables(unicode.Nd), true
	case "graph":
		return graphRunes(), true
	case "lower", "lowercase":
		return tables(unicode.Ll, unicode.Other_Lowercase), true
	case "print":
		return graphRunes().or(tables(unicode.Zs)), true
	case "punct":
		return tables(unicode.P), true
	case "posixpunct":
		return tables(unicode.P, unicode.S), true
	case "space":
		return spaceRunes(), true
	case "upper", "uppercase":
		return tables(unicode.Lu, unicode.Other_Uppercase), true
	case "xdigit":
		return hexRunes(), true
	case "word":
		return wordRunes(), true
	}
	if short, ok := longCategories[name]; ok {
		name = short
	}
	for _, all := range []map[string]*unicode.RangeTable{unicode.Categories, unicode.Scripts, unicode.Properties} {
		for known, t := range all {
			if plainName(known) == name {
				return tables(t), true
			}
		}
	}
	return nil, false
}

// plainName returns a property's name in the form that is compared: lower case, without
// spaces, hyphens and underscores.
func plainName(name string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(name))
}

// longCategories are the long names of general categories.
var longCategories = map[string]string{
	"letter": "l", "casedletter": "lc", "uppercaseletter": "lu", "lowercaseletter": "ll", "titlecaseletter": "lt", "modifierletter": "lm", "otherletter": "lo",
	"mark": "m", "combiningmark": "m", "nonspacingmark": "mn", "spacingmark": "mc", "enclosingmark": "me",
	"number": "n", "decimalnumber": "nd", "letternumber": "nl", "othernumber": "no",
	"punctuation": "p", "connectorpunctuation": "pc", "dashpunctuation": "pd", "openpunctuation": "ps", "closepunctuation": "pe",
	"initialpunctuation": "pi", "finalpunctuation": "pf", "otherpunctuation": "po",
	"symbol": "s", "mathsymbol": "sm", "currencysymbol": "sc", "modifiersymbol": "sk", "othersymbol": "so",
	"separator": "z", "spaceseparator": "zs", "lineseparator": "zl", "paragraphseparator": "zp",
	"control": "cc", "format": "cf", "surrogate": "cs", "privateuse": "co",
}
