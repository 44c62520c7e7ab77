package requestlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"kvcompress/internal/splitmix"
	"kvcompress/strictjson"
	"kvcompress/trace"
	"kvcompress/trace/regular"
)

const (
	maxYAML = 1 << 20 // bytes of the header
	// prefixGroupBlock is the number of tokens per prefix hash of a shared prefix: the
	// usual block size of a paged cache.
	prefixGroupBlock = 16
)

// openTraceV2 reads the traces of https://github.com/inference-sim/inference-sim
// (sim/workload/tracev2.go): a YAML file and a CSV in the same folder. Their names differ
// only in the extension, and one may have "data" where the other has "header". The user
// may name either; a CSV may lack its YAML.
func openTraceV2(l *Log, f *file, o Options) (source, error) {
	if !strings.HasSuffix(strings.TrimSuffix(f.path, ".gz"), ".csv") && startsLine(f.head(), "trace_version:") {
		text, err := regular.ReadFile(f.path, maxYAML)
		if err != nil {
			return nil, l.located(err)
		}
		if err := l.readHeader(text); err != nil {
			return nil, l.located(err)
		}
		data, err := beside(f.path, "header", "data", ".csv", ".csv.gz")
		if err != nil {
			return nil, l.located(errors.New("there is no CSV of the same name in its folder, which would have the requests: name the CSV"))
		}
		// From here on the CSV is read, and progress is that of the CSV.
		if err := f.reopen(data); err != nil {
			return nil, err
		}
		l.file = data
		return newTraceV2(l, f, o)
	}
	header, err := beside(f.path, "data", "header", ".yaml", ".yml")
	if errors.Is(err, fs.ErrNotExist) {
		return newTraceV2(l, f, o)
	}
	text, err := regular.ReadFile(header, maxYAML)
	if err == nil {
		err = l.readHeader(text)
	}
	if err != nil {
		return nil, inFile(header, err)
	}
	return newTraceV2(l, f, o)
}

// beside returns the file in the folder of path with one of the extensions and the same
// name, or the same name with from replaced by to.
func beside(path, from, to string, extensions ...string) (string, error) {
	path = strings.TrimSuffix(path, ".gz")
	dir, name := filepath.Split(strings.TrimSuffix(path, filepath.Ext(path)))
	for _, base := range []string{name, strings.Replace(name, from, to, 1)} {
		for _, extension := range extensions {
			other := filepath.Join(dir, base+extension)
			if _, err := os.Stat(other); err == nil {
				return other, nil
			}
		}
	}
	return "", fs.ErrNotExist
}

// reopen closes the file and opens another in its place.
func (f *file) reopen(path string) error {
	other, err := openFile(f.meter.ctx, path, f.meter.progress)
	if err != nil {
		return err
	}
	f.Close()
	*f = *other
	return nil
}

// yamlLine matches the line number in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// readHeader reads the YAML.
func (l *Log) readHeader(text []byte) error {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		if m := yamlLine.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " ")); m != nil {
			line, _ := strconv.Atoi(m[1]) // cannot fail: a file of at most 1 MiB has no line number beyond an int
			return &Error{Line: line, Err: errors.New(m[2])}
		}
		return err
	}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		return &Error{Line: 1, Err: errors.New("want names and values, as in trace_version: 2")}
	}
	top := root.Content[0]
	version, unit, server := member(top, "trace_version"), member(top, "time_unit"), member(top, "server")
	switch {
	case version == nil:
		return &Error{Line: top.Line, Err: errors.New("trace_version is missing")}
	case version.Value != "2" && version.Value != "3":
		return atNode(version, "trace_version is %q, and only 2 and 3 are known", strictjson.Excerpt(version.Value))
	case unit != nil && unit.Value != "" && unit.Value != "us" && unit.Value != "microseconds":
		return atNode(unit, "time_unit is %q, want microseconds", strictjson.Excerpt(unit.Value))
	}
	if server != nil && server.Kind == yaml.MappingNode {
		if model := member(server, "model"); model != nil && model.Kind == yaml.ScalarNode && len(model.Value) <= maxModel {
			l.Model = model.Value
		}
	}
	return nil
}

// maxModel is the largest size in bytes of a model's name.
const maxModel = 1024

// member returns the value of a member of a mapping, or nil.
func member(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func atNode(n *yaml.Node, format string, args ...any) error {
	return &Error{Line: n.Line, Column: n.Column, Err: fmt.Errorf(format, args...)}
}

// traceV2 reads the CSV.
type traceV2 struct {
	*columnSource
	server, group, length, status field
	hashes                        arena
}

func newTraceV2(l *Log, f *file, o Options) (source, error) {
	by := o.Fields.Arrival
	if by == "" {
		by = "arrival_time_us"
	}
	c, err := openColumns(l, f, Fields{Arrival: by, Prompt: "input_tokens", Output: "output_tokens", Session: "session_id"})
	if err != nil {
		return nil, err
	}
	if err := needArrival(l, c, by); err != nil {
		return nil, err
	}
	if err := c.t.unique("send_time_us", "server_input_tokens", "prefix_group", "prefix_length", "status"); err != nil {
		return nil, l.located(err)
	}
	c.when = func(f field) (int64, error) { return c.t.time(f, Microsecond) }
	if sent := c.t.optional("send_time_us"); o.Fields.Arrival == "" && sent >= 0 {
		// send_time_us is 0 if the request was not sent.
		c.when = func(f field) (int64, error) {
			wanted, err := c.t.time(f, Microsecond)
			if err != nil {
				return 0, err
			}
			at, err := c.t.time(sent, Microsecond)
			if at > wanted && l.byMeasured == "" {
				l.byMeasured = "requests arrive at send_time_us, when the client sent them; --fields arrival=arrival_time_us takes the times when it wanted to"
			}
			return max(wanted, at), err
		}
	}
	s := &traceV2{
		columnSource: c,
		server:       c.t.optional("server_input_tokens"), group: c.t.optional("prefix_group"), length: c.t.optional("prefix_length"),
		status: c.t.optional("status"),
	}
	if s.group >= 0 && s.length >= 0 {
		l.PrefixBlockTokens = prefixGroupBlock
	}
	return s, nil
}

func (s *traceV2) next() (row, error) {
	r, err := s.columnSource.next()
	if err != nil {
		return r, err
	}
	switch status := s.t.text(s.status); status {
	case "", "ok":
	default:
		r.failed = true
	}
	if group := s.t.text(s.group); group != "" && s.length >= 0 {
		// input_tokens does not include the prefix.
		prefix, err := s.t.tokens(s.length)
		if err != nil {
			return r, err
		}
		if r.PromptTokens += prefix; r.PromptTokens > trace.MaxTokens {
			return r, s.t.fail(s.length, fmt.Errorf("%d tokens with input_tokens, want at most %d", r.PromptTokens, trace.MaxTokens))
		}
		r.PrefixHashes = s.hashes.take(prefix / prefixGroupBlock)
		hash := hashGroup(group)
		for i := range r.PrefixHashes {
			hash = splitmix.Mix(hash + 1)
			r.PrefixHashes[i] = hash
		}
		return r, nil
	}
	if s.server >= 0 && s.t.text(s.server) != "" {
		// The server's count includes the tokens of the chat template; 0 means that it did
		// not report one.
		n, err := s.t.tokens(s.server)
		if err != nil {
			return r, err
		}
		if n > 0 {
			r.PromptTokens = n
		}
	}
	return r, nil
}

// hashGroup returns the FNV-1a hash of a name.
func hashGroup(name string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return h
}

// arena allocates slices of hashes from large chunks of memory.
type arena struct{ free []uint64 }

func (a *arena) take(n int) []uint64 {
	if n == 0 {
		return nil
	}
	if n > len(a.free) {
		a.free = make([]uint64, max(n, 1<<14))
	}
	taken := a.free[:n:n]
	a.free = a.free[n:]
	return taken
}
