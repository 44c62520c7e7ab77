package ref

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"kvcompress/strictjson"
)

// KVCompress is the name of the method that a configuration has if it names none.
const KVCompress = "kv-compress"

// Entry is a method in the table of methods: its place on the axes by which methods
// differ, in words, and how it is made.
type Entry struct {
	Name  string
	Paper string

	Watches string // which attention
	Does    string // what happens to which KVs
	From    string // from where the budget is taken
	When    string
	Reads   string // which of the held KVs a query reads

	Payload     string // bytes for each token and KV head, with D elements of b bytes
	CacheTokens string // what --max-cache-tokens means
	Rate        string // what --rate means
	HeldAgainst string // published code, by repository@commit

	// Repeats reports that the method caches K and V for each query head, not for each KV
	// head: see [Config.CacheShape].
	Repeats bool

	// OwnPages reports that the method has pages of formats of its own, which not every shape,
	// block size and dtype of a cache has room for.
	OwnPages bool

	// Planned reports that no engine runs the method: it is planned only.
	Planned bool

	// Defaults returns a pointer to the method's own options: a struct whose fields have
	// a json tag, the key, and a help tag. It is nil if the method has none but those of
	// the command line.
	Defaults func() any

	// New returns the method for a configuration whose method it is. The error says what
	// is wrong with the options, or why it cannot run on the shape and what would do.
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
			Does:        "drops the KVs that receive least, of each head as many as empty whole blocks",
			From:        "over all heads of a sequence at once; --even-layers, --uniform",
			When:        "after a prompt, every --interval steps, when the cache is full",
			Reads:       "all that is held",
			Payload:     "2·D·b + 8 (metric and position)",
			CacheTokens: "KVs a head on average, over all heads, rounded up to whole blocks",
			Rate:        "part kept of the KVs before the protected window",
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

// wrap says of an error in the method's options which method has it.
func (e *Entry) wrap(err error) error { return fmt.Errorf("method %s: %w", e.Name, err) }

// FindMethod returns the entry of a method. The error lists the names that there are.
func FindMethod(name string) (Entry, error) {
	var names []string
	for _, e := range table() {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Entry{}, fmt.Errorf("there is no method %q: there are %s", name, strings.Join(names, ", "))
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
			continue // its fields come by themselves
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

// Set sets one option from the command line: JSON, or a word that stands for itself.
func (s Settings) Set(key, value string) {
	if raw := json.RawMessage(value); json.Valid(raw) {
		s[key] = raw
		return
	}
	quoted, err := json.Marshal(value)
	if err != nil { // a string can always be written
		quoted = []byte(`""`)
	}
	s[key] = quoted
}

// Into reads the settings over the defaults that options, a pointer to a struct, has.
// An unknown key and a value of another type are errors that name the key.
func (s Settings) Into(e *Entry, options any) error {
	known := e.Options()
	for key := range s {
		if !slices.ContainsFunc(known, func(o Option) bool { return o.Key == key }) {
			if len(known) == 0 {
				return fmt.Errorf("method %s has no option %q: it has none of its own", e.Name, key)
			}
			keys := make([]string, len(known))
			for i, o := range known {
				keys[i] = o.Key
			}
			return fmt.Errorf("method %s has no option %q: it has %s", e.Name, key, strings.Join(keys, ", "))
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	if err := strictjson.Unmarshal(text, options); err != nil {
		return fmt.Errorf("method %s: %w", e.Name, err)
	}
	return nil
}
