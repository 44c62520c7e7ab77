package ref

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"kvcompress/internal/near"
	"kvcompress/strictjson"
)

// KVCompress is the name of the default method.
const KVCompress = "kv-compress"

// Entry is a row of the table of methods: how the method differs from others, in words, and its constructor.
type Entry struct {
	Name  string
	Paper string

	Watches string // which attention it observes
	Does    string // what it does to which KVs
	From    string // how the budget is divided among layers and heads
	When    string
	Reads   string // which of the held KVs a query reads

	Payload     string // bytes for each token and KV head, with D elements of b bytes
	CacheTokens string // what --max-cache-tokens means
	Rate        string // what --rate means
	HeldAgainst string // the published code it is compared with, as repository@commit

	// Repeats reports that the method caches K and V for each query head instead of each KV head: see
	// [Config.CacheShape].
	Repeats bool

	// OwnPages reports that the method has page formats of its own, which do not fit every shape, block size
	// and dtype.
	OwnPages bool

	// Planned reports that no engine runs the method; kvc sim and kvc sweep plan it, and the bench may run it in
	// another way.
	Planned bool

	// Defaults returns a pointer to a struct of the method's own options, set to their defaults. Each field
	// has a json tag, its key, and a help tag. Defaults is nil if the method has no options of its own.
	Defaults func() any

	// New returns the method for a configuration that names it. The error says what is wrong with the
	// options, or why the method cannot run on the shape and what would work.
	New func(*Config) (Method, error)
}

// Methods returns the table of methods, KV-Compress first and then by name.
func Methods() []Entry { return slices.Clone(table()) }

// table is the table of methods, made once: every configuration looks its method up.
var table = sync.OnceValue(func() []Entry {
	return []Entry{
		{
			Name:        KVCompress,
			Paper:       "KV-Compress (Rehg, arXiv 2410.00161)",
			Watches:     "the prompt's last --window queries and all of decode: P or P², max-pooled, summed over the group",
			Does:        "drops the KVs that receive the least attention, in numbers that empty whole blocks of a head",
			From:        "all heads of a sequence together; --even-layers: the same number from each layer; --uniform: from each head",
			When:        "after a prompt, every --interval steps, when the cache is full",
			Reads:       "all held KVs",
			Payload:     "2·D·b + 8 (metric and position)",
			CacheTokens: "KVs a head on average, over all heads, rounded up to whole blocks",
			Rate:        "fraction of the KVs before the protected window to keep",
			HeldAgainst: "IsaacRe/vllm-kvcompress (decisions, prompt metrics, published throughput)",
			New:         func(c *Config) (Method, error) { return kvCompress{c}, nil },
		},
		adaSnapKVEntry(),
		duoAttentionEntry(),
		expectedAttentionEntry(),
		flexGenEntry(),
		h2oMaskEntry(),
		h2oPrefillEntry(),
		h2oDropEntry(),
		infLLMEntry(),
		keyDiffEntry(),
		kiviEntry(),
		knormEntry(),
		lagKVEntry(),
		llmLingua2Entry(),
		miniCacheEntry(),
		miniCacheKIVIEntry(),
		observedAttentionEntry(),
		pyramidKVEntry(),
		questEntry(),
		randomEntry(),
		razorEntry(),
		snapKVEntry(),
		snapKVPressEntry(),
		snapKVPublishedEntry(),
		streamingLLMEntry(),
		streamingLLMPressEntry(),
		tovaEntry(),
	}
})

// wrap adds the method's name to an error.
func (e *Entry) wrap(err error) error { return fmt.Errorf("method %s: %w", e.Name, err) }

// FindMethod returns the entry of a method. The error lists the known names.
func FindMethod(name string) (Entry, error) {
	all := table()
	for i := range all {
		if all[i].Name == name {
			return all[i], nil
		}
	}
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return Entry{}, fmt.Errorf("there is no method %q%s: there are %s", name, near.Hint(name, names), strings.Join(names, ", "))
}

// Option is one of a method's own options.
type Option struct {
	Key     string `json:"key"`
	Default string `json:"default"` // as JSON
	Help    string `json:"help"`
}

// Options lists the method's own options.
func (e *Entry) Options() []Option {
	if e.Defaults == nil {
		return nil
	}
	var options []Option
	v := reflect.ValueOf(e.Defaults()).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Anonymous {
			continue // an embedded struct: its fields are listed by themselves
		}
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		text, err := json.Marshal(v.FieldByIndex(f.Index).Interface())
		if err != nil {
			text = []byte(err.Error())
		}
		options = append(options, Option{key, string(text), f.Tag.Get("help")})
	}
	return options
}

// Settings are a method's own options, by key, as JSON.
type Settings map[string]json.RawMessage

// Set sets one option from the command line. The value is JSON, or a bare word, which becomes a string.
func (s Settings) Set(key, value string) {
	if raw := json.RawMessage(value); json.Valid(raw) {
		s[key] = raw
		return
	}
	quoted, err := json.Marshal(value)
	if err != nil { // marshalling a string cannot fail
		quoted = []byte(`""`)
	}
	s[key] = quoted
}

// Into sets the fields of options, a pointer to a struct, from the settings; other fields keep their values.
// An unknown key, or a value of the wrong type, is an error that names the key.
func (s Settings) Into(e *Entry, options any) error {
	if err := strictjson.Members(s, options); err != nil {
		return s.explain(e, err)
	}
	return nil
}

// explain returns the error of settings that cannot be decoded. If a key is unknown, it lists the method's keys.
func (s Settings) explain(e *Entry, err error) error {
	known := e.Options()
	for key := range s {
		if !slices.ContainsFunc(known, func(o Option) bool { return o.Key == key }) {
			if len(known) == 0 {
				return fmt.Errorf("method %s has no option %q: it has no options of its own", e.Name, key)
			}
			keys := make([]string, len(known))
			for i, o := range known {
				keys[i] = o.Key
			}
			return fmt.Errorf("method %s has no option %q%s: choose one of %s", e.Name, key, near.Hint(key, keys), strings.Join(keys, ", "))
		}
	}
	return fmt.Errorf("method %s: %w", e.Name, err)
}
