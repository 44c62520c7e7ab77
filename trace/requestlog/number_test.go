package requestlog

import (
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvcompress/trace"
)

var decimal = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

// slowTime is parseTime with rational numbers.
func slowTime(s string, unit Unit) (int64, bool) {
	if !decimal.MatchString(s) {
		return 0, false
	}
	x, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, false
	}
	x.Mul(x, big.NewRat(int64(unit), 1))
	if x.Sign() < 0 {
		return 0, false
	}
	x.Add(x, big.NewRat(1, 2))
	n := new(big.Int).Quo(x.Num(), x.Denom())
	if !n.IsInt64() || n.Int64() > trace.MaxArrivalNS {
		return 0, false
	}
	return n.Int64(), true
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{
		"0", "5.8926549999999995", "1e-05", "19440110.0", "4611686018.427387904", "4611686018.427387905", "4611686018427387904", "-0.0", "-1", ".5", "5.", "1e", "e5", "",
		"0.0000000005", "0.00000000049999999999999999", "123456789012345678901234567890", "0000000000000000000000000000000000001.5", "1e18", "1e-400", "1.5e+3", "+7", "nan", "0x10", "1_000",
	} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, s string, u uint8) {
		unit := []Unit{Second, Millisecond, Microsecond, Nanosecond}[u%4]
		if _, exponent, ok := strings.Cut(strings.ToLower(s), "e"); ok && len(exponent) > 4 || len(s) > 100 {
			return // a rational number of that many digits
		}
		got, err := parseTime(s, unit)
		want, ok := slowTime(s, unit)
		// parseTime uses at most 19 digits, so the 20th does not affect the rounding.
		near := ok && err == nil && len(s) > 19 && got-want >= -1 && got-want <= 1
		if (err == nil) != ok && !near && !(len(s) > 19 && want >= trace.MaxArrivalNS-1) || err == nil && got != want && !near {
			t.Fatalf("%q in %d ns: %d, %v; want %d, %t", s, unit, got, err, want, ok)
		}
	})
}

// slowTimestamp is parseTimestamp with package time.
func slowTimestamp(s string) (int64, bool) {
	if len(s) < 19 || s[4] != s[7] || s[10] != ' ' && s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	s = strings.ReplaceAll(s[:10], "/", "-") + "T" + s[11:]
	for _, zone := range []string{"", "Z", "UTC", "GMT"} {
		if at, ok := strings.CutSuffix(s, zone); ok {
			at = strings.TrimSuffix(at, " ")
			if zone == "" && at != s {
				continue // a space, and no zone
			}
			if at, err := time.Parse("2006-01-02T15:04:05", at); err == nil {
				return at.UnixNano(), at.Unix() >= 0 && at.Unix() < 4611686018
			}
		}
	}
	for _, layout := range []string{"-07:00", "-0700", "-07", " -07:00", " -0700", " -07"} {
		at, err := time.Parse("2006-01-02T15:04:05"+layout, s)
		if err != nil {
			continue
		}
		if _, offset := at.Zone(); offset < 15*3600 && offset > -15*3600 && at.Unix() >= 0 && at.Unix() < 4611686018 {
			return at.UnixNano(), true
		}
	}
	return 0, false
}

func FuzzTimestamp(f *testing.F) {
	for _, s := range []string{
		"2023-11-16 18:17:03.9799600", "2024-05-12 00:00:00.001163+00:00", "2024-05-12 00:00:00+00:00", "2024-05-12T00:00:00Z", "2024-02-29 23:59:59.123456789123-11:30",
		"2023-02-29 00:00:00", "2024-13-01 00:00:00", "2024-01-01 24:00:00", "2024-01-01 00:00:60", "2024-01-01 00:00:00.", "2024-01-01 00:00:00+1:00", "2200-01-01 00:00:00", "1970-01-01 00:00:00+01:00",
		"2024/05/10 00:00:00,5 UTC", "2024-05-10 00:00:00 +0530", "2024-05-10T00:00:00-08", "2024-05/10 00:00:00", "10/05/2024 00:00:00", "2024-05-10 00:00:00 CET", "2024-05-10 01:00:00 PM",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, _, err := parseTimestamp(s)
		want, ok := slowTimestamp(s)
		if err == nil && (!ok || got != want) {
			t.Fatalf("%q: %d; want %d, %t", s, got, want, ok)
		}
		if err != nil && ok {
			t.Fatalf("%q: %v; want %d", s, err, want)
		}
	})
}

func TestParseTokens(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "7": 7, "374.0": 374, "5.": 5, "007": 7, "16777216": 16777216} {
		if got, err := parseTokens(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "+1", "1.5", "1e3", " 1", "x", "16777217", "99999999999999999999", ".0", "1.0x", "NaN", "inf"} {
		if got, err := parseTokens(in); err == nil {
			t.Errorf("%q: %d", in, got)
		}
	}
}

func TestParseUnitAndFields(t *testing.T) {
	for in, want := range map[string]Unit{"s": 1e9, "ms": 1e6, "us": 1e3, "µs": 1e3, "ns": 1} {
		if got, err := ParseUnit(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	if _, err := ParseUnit("h"); err == nil {
		t.Error("h is a unit")
	}
	if got, err := ParseFields("arrival=t s, prompt = in,output=out,session=u"); err != nil || got != (Fields{Arrival: "t s", Prompt: "in", Output: "out", Session: "u"}) {
		t.Errorf("%+v, %v", got, err)
	}
	for in, want := range map[string]string{
		"": "want arrival=NAME", "prompt": "want arrival=NAME", "prompts=a": "want arrival=NAME", "prompt=,output=b": "want arrival=NAME",
		"prompt=a,prompt=b,output=c": "prompt is given twice",
	} {
		if _, err := ParseFields(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
}
