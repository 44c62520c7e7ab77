package requestlog

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"

	"kvcompress/strictjson"
)

// Format is a form of request log.
type Format struct {
	Name  string // as users give it
	Title string

	// What tells it from others: columns of a CSV, or names in JSON, all of them; or
	// how a file begins.
	columns []string
	members []string
	begins  string
	anyUnit bool // the times may be in another unit than its usual one
	open    func(*Log, *file, Options) (source, error)
}

// The names of formats that options are for.
const (
	mooncake = "mooncake"
	plain    = "csv"
)

// Formats returns the formats that can be read, in the order in which a file is held
// against them.
func Formats() []Format {
	return []Format{
		{
			Name: "azure", Title: "Azure LLM inference traces 2023 and 2024, CSV",
			columns: []string{"TIMESTAMP", "ContextTokens", "GeneratedTokens"}, open: openAzure,
		},
		{
			Name: "burstgpt", Title: "BurstGPT, CSV",
			columns: []string{"Timestamp", "Request tokens", "Response tokens"}, open: openBurstGPT,
		},
		{
			Name: "tracev2", Title: "inference-sim TraceV2, YAML and CSV",
			columns: []string{"arrival_time_us", "input_tokens", "output_tokens"}, begins: "trace_version:", open: openTraceV2,
		},
		{
			Name: "vidur", Title: "Vidur's processed traces, CSV",
			columns: []string{"num_prefill_tokens", "num_decode_tokens"}, open: openVidur,
		},
		{
			Name: mooncake, Title: "Mooncake, JSON lines",
			members: []string{"timestamp", "input_length", "output_length"}, anyUnit: true, open: openMooncake,
		},
		{
			Name: "vllm", Title: "result of vLLM's benchmark_serving, or of vllm bench serve, JSON",
			members: []string{"input_lens", "output_lens"}, open: openVLLM,
		},
		{
			Name: plain, Title: "any CSV whose columns are named",
			anyUnit: true, open: openPlain,
		},
	}
}

// formatNames are the names, as errors list them.
func formatNames() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// findFormat returns the format that is asked for, or else the one that the file
// looks like.
func findFormat(f *file, o Options) (Format, error) {
	name := o.Format
	if name == "" && o.Columns != (Columns{}) {
		name = plain
	}
	if name != "" {
		for _, format := range Formats() {
			if format.Name == name {
				return format, nil
			}
		}
		return Format{}, fmt.Errorf("requestlog: unknown format %q; known are %s", name, formatNames())
	}
	format, err := lookAt(f.head())
	if err != nil {
		return Format{}, inFile(f.path, &UnknownFormatError{err})
	}
	return format, nil
}

// UnknownFormatError is of a file whose format, or columns, have to be said.
type UnknownFormatError struct{ why error }

func (e *UnknownFormatError) Error() string { return e.why.Error() }

// lookAt returns the format of a file that begins so.
func lookAt(head []byte) (Format, error) {
	start := bytes.TrimSpace(head)
	if bytes.HasPrefix(start, []byte("{")) {
		return lookAtJSON(start)
	}
	for _, f := range Formats() {
		if f.begins != "" && startsLine(start, f.begins) {
			return f, nil
		}
	}
	header := headerOf(head)
	for _, f := range Formats() {
		if len(f.columns) > 0 && containsAll(header, f.columns) {
			return f, nil
		}
	}
	if len(header) > 1 {
		return Format{}, fmt.Errorf("it looks like a CSV of the columns %s, which is no known log: say which they are, as in arrival=ts,prompt=in,output=out, or the format: %s",
			list(header), formatNames())
	}
	return Format{}, fmt.Errorf("it looks like no known log: say its format: %s", formatNames())
}

// lookAtJSON looks for the names that the formats have.
func lookAtJSON(start []byte) (Format, error) {
	named := func(name string) bool { return bytes.Contains(start, []byte(`"`+name+`"`)) }
	for _, f := range Formats() {
		all := len(f.members) > 0
		for _, name := range f.members {
			all = all && named(name)
		}
		if all {
			return f, nil
		}
	}
	switch {
	case named("input_lens") || named("request_throughput"):
		// The lists may be long, or be missing, of which openVLLM has something to say.
		for _, f := range Formats() {
			if f.Name == "vllm" {
				return f, nil
			}
		}
	case named("arrival_ns"):
		return Format{}, errors.New("it looks like the requests.jsonl of a trace: name the trace's folder")
	}
	return Format{}, fmt.Errorf("it is JSON, but looks like no known log: say its format: %s", formatNames())
}

// startsLine reports whether one of the first lines of a text, which may be
// comments, starts so.
func startsLine(text []byte, prefix string) bool {
	return bytes.HasPrefix(text, []byte(prefix)) || bytes.Contains(text[:min(len(text), 4096)], []byte("\n"+prefix))
}

// headerOf returns the columns that the first line of a CSV names.
func headerOf(head []byte) []string {
	r := csv.NewReader(bytes.NewReader(head))
	r.Comma = delimiter(head)
	header, err := r.Read()
	if err != nil {
		return nil
	}
	for i := range header {
		header[i] = strings.TrimSpace(header[i])
	}
	return header
}

// delimiter returns what separates the fields of the first line: a comma unless there
// are more semicolons or tabs.
func delimiter(head []byte) rune {
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, "\r\n"), []byte("\n"))
	best, most := ',', bytes.Count(line, []byte(","))
	for _, c := range []rune{';', '\t'} {
		if n := bytes.Count(line, []byte(string(c))); n > most {
			best, most = c, n
		}
	}
	return best
}

func containsAll(header, names []string) bool {
	for _, name := range names {
		if find(header, name) < 0 {
			return false
		}
	}
	return true
}

// find returns where in a header a column is, or -1. An exact match comes first. A
// column without a name is not found.
func find(header []string, name string) int {
	if name == "" {
		return -1
	}
	folded := -1
	for i, h := range header {
		if h == name {
			return i
		}
		if folded < 0 && strings.EqualFold(h, name) {
			folded = i
		}
	}
	return folded
}

// list is a header as errors show it.
func list(header []string) string {
	const most = 30
	more := ""
	if len(header) > most {
		header, more = header[:most], ", …"
	}
	short := make([]string, len(header))
	for i, h := range header {
		short[i] = fmt.Sprintf("%q", strictjson.Excerpt(h))
	}
	return strings.Join(short, ", ") + more
}
