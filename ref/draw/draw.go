// Package draw draws random configurations of the methods in the table of methods, for tests of what must
// hold for every method: invariants, engines that agree, ledgers that count as engines do. A new row of the
// table needs no change here. The values of an option follow from its type, or from its tag values, or, if it
// is a word, from its help text; a draw that the method refuses is repeated.
package draw

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// Method draws configurations of one method.
type Method struct {
	ref.Entry
	options []option
}

// option is one of a method's own options.
type option struct {
	key  string
	draw func(r *rand.Rand, s kv.Shape) any // draws a value, for a cache of this shape
}

// CannotRun is a method that no engine runs; its error is a *ref.UnsupportedError.
type CannotRun struct {
	Method string
	Why    error
}

// Methods returns the methods of the table that can run, in the table's order, and those that cannot. The
// error names an option for which it finds no values.
func Methods() (methods []*Method, cannot []CannotRun, err error) {
	for _, e := range ref.Methods() {
		m, err := newMethod(e)
		if err != nil {
			return nil, nil, err
		}
		cfg := probe(e.Name)
		var unsupported *ref.UnsupportedError
		if _, err := e.New(&cfg); errors.As(err, &unsupported) {
			cannot = append(cannot, CannotRun{e.Name, err})
			continue
		}
		methods = append(methods, m)
	}
	return methods, cannot, nil
}

// Find returns a method of the table. The error lists the known names, or says why the method cannot run.
func Find(name string) (*Method, error) {
	if _, err := ref.FindMethod(name); err != nil {
		return nil, err
	}
	methods, cannot, err := Methods()
	if err != nil {
		return nil, err
	}
	for _, c := range cannot {
		if c.Method == name {
			return nil, c.Why
		}
	}
	i := slices.IndexFunc(methods, func(m *Method) bool { return m.Name == name })
	return methods[i], nil
}

// probe returns a configuration with everything that a method may require.
func probe(method string) ref.Config {
	cfg := ref.Default()
	cfg.Blocks = 1
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 32}
	cfg.Rope = &trace.Rope{Base: 10000, RotarySize: 8, Pairing: trace.Half}
	cfg.UseMethod(method)
	return cfg
}

func newMethod(e ref.Entry) (*Method, error) {
	m := &Method{Entry: e}
	if e.Defaults == nil {
		return m, nil
	}
	v := reflect.ValueOf(e.Defaults()).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Anonymous {
			continue // an embedded struct: its fields are listed by themselves
		}
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		draw, err := m.values(key, f)
		if err != nil {
			return nil, fmt.Errorf("draw: method %s: option %s: %w", e.Name, key, err)
		}
		m.options = append(m.options, option{key, draw})
	}
	return m, nil
}

// values returns a function that draws values of an option.
func (m *Method) values(key string, f reflect.StructField) (func(*rand.Rand, kv.Shape) any, error) {
	if choices := f.Tag.Get("values"); choices != "" {
		var numbers []int
		if err := json.Unmarshal([]byte("["+choices+"]"), &numbers); err != nil {
			return nil, fmt.Errorf("its values, %q: %w", choices, err)
		}
		return func(r *rand.Rand, _ kv.Shape) any { return pick(r, numbers...) }, nil
	}
	switch f.Type.Kind() {
	case reflect.Bool:
		return func(r *rand.Rand, _ kv.Shape) any { return r.IntN(2) == 0 }, nil
	case reflect.Int:
		return func(r *rand.Rand, _ kv.Shape) any { return pick(r, 0, 1, 2, 3, 5, 7, 8, r.IntN(8), 1+r.IntN(40)) }, nil
	case reflect.Uint64:
		return func(r *rand.Rand, _ kv.Shape) any { return pick(r, 0, 1, r.Uint64()) }, nil
	case reflect.Float32, reflect.Float64:
		return func(r *rand.Rand, _ kv.Shape) any { return pick(r, 0, 0.5, 1, 5, r.Float64(), 1+3*r.Float64()) }, nil
	case reflect.String:
		words, err := m.enumeration(key, f.Tag.Get("help"))
		return func(r *rand.Rand, _ kv.Shape) any { return pick(r, words...) }, err
	}
	if f.Type == reflect.TypeFor[ref.FullHeads]() {
		return func(r *rand.Rand, s kv.Shape) any { return fullHeads(r, s) }, nil
	}
	return nil, fmt.Errorf("values of type %s cannot be drawn yet", f.Type)
}

// enumeration returns the values of an option that is a word: the words of its help text that the method
// accepts.
func (m *Method) enumeration(key, help string) ([]string, error) {
	var words []string
	for _, word := range strings.FieldsFunc(help, func(c rune) bool { return (c < 'a' || c > 'z') && c != '-' && c != '_' }) {
		cfg := probe(m.Name)
		cfg.Set = ref.Settings{}
		m.fillMaps(&cfg)
		cfg.Set.Set(key, `"`+word+`"`)
		if _, err := cfg.NewMethod(); err == nil && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	if len(words) < 2 {
		return nil, fmt.Errorf("its help, %q, names fewer than two of its values", help)
	}
	return words, nil
}

// fillMaps sets every option that is a map of heads to a map of the shape.
func (m *Method) fillMaps(cfg *ref.Config) {
	v := reflect.ValueOf(m.Defaults()).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); f.Type == reflect.TypeFor[ref.FullHeads]() {
			cfg.Set[key] = encode(fullHeads(rand.New(rand.NewPCG(0, 0)), cfg.Shape))
		}
	}
}

// fullHeads draws a map of heads, [L][H] of 0 and 1, or none.
func fullHeads(r *rand.Rand, s kv.Shape) any {
	if r.IntN(8) == 0 {
		return "none"
	}
	full := make(ref.FullHeads, s.Layers)
	for l := range full {
		full[l] = make([]int, s.KVHeads)
		for h := range full[l] {
			full[l][h] = r.IntN(2)
		}
	}
	return full
}

// maxDraws is the number of configurations that Config draws at most to find a valid one.
const maxDraws = 1000

// Config draws the method's options and how much it keeps. Everything else is base's, which must be valid.
// base has the model's shape, the result has [ref.Config.CacheShape]. If many draws fail, the error is that
// of the last.
func (m *Method) Config(r *rand.Rand, base ref.Config) (ref.Config, error) {
	var err error
	for range maxDraws {
		cfg := base
		cfg.UseMethod(m.Name)
		cfg.Shape = cfg.CacheShape(base.Shape)
		if m.Name == ref.KVCompress {
			cfg.Metric, cfg.Compression = KVCompress(r, cfg.Shape)
		} else {
			if cfg.Compression = (ref.Compression{}); !m.OwnPages { // methods with their own pages keep every token
				cfg.Compression = amount(r)
			}
			cfg.Set = m.settings(r, cfg.Shape)
		}
		if err = cfg.Validate(); err == nil {
			return cfg, nil
		}
	}
	return base, fmt.Errorf("draw: method %s refuses %d configurations in a row, the last because of: %w", m.Name, maxDraws, err)
}

// HasPages reports whether the configuration's cache can hold pages of formats other than the plain one, with
// some options of a method that has them.
func HasPages(cfg *kv.Config) bool {
	return cfg.Check(kv.Format{Kind: kv.PerChannel, Bits: 4, Group: 2}) == nil && cfg.Check(kv.Format{Kind: kv.PerToken, Bits: 4, Group: 2}) == nil
}

// settings draws four of five options; the others keep their defaults.
func (m *Method) settings(r *rand.Rand, s kv.Shape) ref.Settings {
	var set ref.Settings
	for _, o := range m.options {
		if value := o.draw(r, s); r.IntN(5) > 0 {
			if set == nil {
				set = ref.Settings{}
			}
			set[o.key] = encode(value)
		}
	}
	return set
}

func encode(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil { // values are numbers, words and lists of them, which can be encoded
		return json.RawMessage("null")
	}
	return text
}

// amount draws how much a method keeps.
func amount(r *rand.Rand) (c ref.Compression) {
	switch r.IntN(8) {
	case 0: // no compression
	case 1, 2, 3:
		c.Rate = pick(r, 0.01, 0.25, 0.5, 0.9, 1)
	default:
		c.MaxCacheTokens = 1 + r.IntN(pick(r, 8, 64))
	}
	return c
}

// pick returns one of the values.
func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }
