package requestlog

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kvcompress/internal/near"
	"kvcompress/strictjson"
)

// Format is a format of request logs.
type Format struct {
	Name  string // as users give it
	Title string

	// How the format is detected: a CSV has all of these columns; or a JSON text has all
	// members of one of these lists; or a file begins with this prefix.
	columns  []string
	paths    [][]string
	begins   string
	anyUnit  bool // the user may state the unit of times
	anyBlock bool // the user may state the number of tokens per prefix hash
	runs     bool // a file may hold several runs
	open     func(*Log, *file, Options) (source, error)
}

// The names of formats that have options of their own.
const (
	traceV2Name = "tracev2"
	plainCSV    = "csv"
	plainJSON   = "jsonl"
)

// Formats returns the supported formats, in the order in which detection tries them.
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
			Name: traceV2Name, Title: "inference-sim TraceV2, YAML and CSV",
			columns: []string{"arrival_time_us", "input_tokens", "output_tokens"}, begins: "trace_version:", open: openTraceV2,
		},
		{
			Name: "vidur", Title: "Vidur's processed traces, CSV",
			columns: []string{"num_prefill_tokens", "num_decode_tokens"}, open: openVidur,
		},
		{
			Name: "bailian", Title: "Qwen-Bailian usage traces, JSON lines",
			paths:   [][]string{{"chat_id", "input_length"}, {"parent_chat_id", "input_length"}},
			anyUnit: true, anyBlock: true, open: openBailian,
		},
		{
			Name: "mooncake", Title: "Mooncake, JSON lines",
			paths:   [][]string{{"input_length", "output_length"}, {"input_length", "hash_ids"}, {"input_length", "timestamp"}, {"text_input", "output_length"}},
			anyUnit: true, anyBlock: true, open: openMooncake,
		},
		{
			Name: "llmservingsim", Title: "LLMServingSim's workloads, JSON lines",
			paths: [][]string{{"input_toks", "output_toks"}, {"sub_requests.input_toks"}}, open: openServingSim,
		},
		{
			Name: "llmservingsim-tsv", Title: "LLMServingSim's first workloads, TSV",
			columns: []string{"input_toks", "output_toks", "arrival_time_ns"}, open: openServingSimTSV,
		},
		{
			Name: "llmservingsim-csv", Title: "what LLMServingSim writes of each request, CSV",
			columns: []string{"request id", "input", "output", "arrival", "queuing_delay"}, open: openServingSimCSV,
		},
		{
			Name: "measured", Title: "measured requests, CSV with arrival_s, input_tokens and output_tokens",
			columns: []string{"arrival_s", "input_tokens", "output_tokens"}, open: openMeasured,
		},
		{
			// The beginning of the file may contain only one of the lists, if they are
			// long, or none; openVLLM reports missing lists.
			Name: "vllm", Title: "result of vLLM's benchmark_serving, or of vllm bench serve, JSON",
			paths: [][]string{{"input_lens"}, {"output_lens"}, {"request_throughput", "total_input_tokens"}}, open: openVLLM,
		},
		{
			Name: "guidellm", Title: "guidellm's benchmarks.json",
			paths: [][]string{{"benchmarks.requests"}, {"benchmarks", "metadata.guidellm_version"}, {"benchmarks.run_id"}, {"benchmarks.run_stats"}, {"benchmarks", "args.target"}},
			runs:  true, open: openGuideLLM,
		},
		{
			Name: "aiperf", Title: "aiperf's profile_export.jsonl",
			paths: [][]string{{"metadata.request_start_ns"}}, open: openAIPerf,
		},
		{
			Name: "genai-perf", Title: "genai-perf's profile_export.json",
			paths: [][]string{{"experiments.requests"}, {"experiments.experiment"}},
			runs:  true, open: openGenAIPerf,
		},
		{
			Name: "openai-batch", Title: "input or output files of OpenAI's Batch API, JSON lines",
			paths: [][]string{{"custom_id", "body"}, {"custom_id", "response"}}, open: openOpenAIBatch,
		},
		{
			Name: "sharegpt", Title: "ShareGPT and other conversations, JSON",
			paths: [][]string{{"conversations.value"}, {"conversations.content"}, {"conversation.content"}, {"messages.content"}},
			open:  openShareGPT,
		},
		{
			Name: plainCSV, Title: "any CSV whose fields are named",
			anyUnit: true, open: openPlain,
		},
		{
			Name: plainJSON, Title: "any JSON lines, or array of objects, whose fields are named",
			anyUnit: true, anyBlock: true, open: openJSONFields,
		},
	}
}

// formatNames returns the names of the formats as errors list them.
func formatNames() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// findFormat returns the format that the user states, or else the detected one.
func findFormat(f *file, o Options) (Format, error) {
	name := o.Format
	start := bytes.TrimSpace(f.head())
	isJSON := bytes.HasPrefix(start, []byte("{")) || bytes.HasPrefix(start, []byte("["))
	if name == "" && o.Fields.Prompt+o.Fields.Output != "" {
		if name = plainCSV; isJSON {
			name = plainJSON
		}
	}
	if name != "" {
		var names []string
		for _, format := range Formats() {
			if format.Name == name {
				return format, nil
			}
			names = append(names, format.Name)
		}
		return Format{}, fmt.Errorf("requestlog: unknown format %q%s, want one of %s", name, near.Hint(name, names), formatNames())
	}
	format, err := lookAt(f.head())
	if err != nil {
		return Format{}, inFile(f.path, &UnknownFormatError{err})
	}
	return format, nil
}

// UnknownFormatError is the error for a file of undetected format. The user has to state
// the format, or the columns.
type UnknownFormatError struct{ why error }

func (e *UnknownFormatError) Error() string { return e.why.Error() }

// lookAt detects the format of a file from its beginning.
func lookAt(head []byte) (Format, error) {
	start := bytes.TrimSpace(head)
	if bytes.HasPrefix(start, []byte("{")) || bytes.HasPrefix(start, []byte("[")) {
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
	if containsAll(header, []string{"isl", "osl"}) {
		return Format{}, errors.New("it is a table of runs, each with the mean lengths isl and osl, and no log of requests: kvc sim --cases takes it")
	}
	if len(header) > 1 {
		return Format{}, fmt.Errorf("it looks like a CSV of the columns %s, which is no known log: say which they are, as in --fields arrival=ts,prompt=in,output=out, or the format: %s",
			list(header), formatNames())
	}
	return Format{}, fmt.Errorf("it looks like no known log: say its format: %s", formatNames())
}

// lookAtJSON detects a JSON format from the members at the beginning of a file.
func lookAtJSON(start []byte) (Format, error) {
	found := pathsOf(start)
	hasAll := func(paths []string) bool {
		for _, path := range paths {
			if !found[path] {
				return false
			}
		}
		return true
	}
	for _, f := range Formats() {
		if slices.ContainsFunc(f.paths, hasAll) {
			return f, nil
		}
	}
	for _, other := range notLogs {
		if hasAll(other.paths) {
			return Format{}, errors.New(other.why)
		}
	}
	names := slices.Sorted(maps.Keys(found))
	if len(names) == 0 {
		return Format{}, fmt.Errorf("it begins like JSON, but there is no object with names at its beginning: say its format: %s", formatNames())
	}
	return Format{}, fmt.Errorf("it is JSON with %s, which is no known log: say which they are, as in --fields arrival=ts,prompt=in,output=out, or the format: %s",
		list(names), formatNames())
}

// notLogs are kinds of JSON files that users mistake for request logs, with the members
// by which they are recognized.
var notLogs = []struct {
	paths []string
	why   string
}{
	{[]string{"arrival_ns"}, "it looks like the requests.jsonl of a trace: name the trace's folder"},
	{[]string{"architectures"}, "it is a model's config.json, and no log of requests: --model takes it"},
	{[]string{"hidden_size", "num_attention_heads"}, "it is a model's config.json, and no log of requests: --model takes it"},
	{[]string{"input_config", "request_throughput"}, "it is a summary of a benchmark, without its requests: name profile_export.json of genai-perf, or profile_export.jsonl of aiperf"},
	{[]string{"input_config", "metrics.request_throughput"}, "it is a summary of a benchmark, without its requests: name profile_export.jsonl of aiperf"},
	{[]string{"data.payloads"}, "it is aiperf's inputs.json, which does not say when requests came: name profile_export.jsonl"},
}

// startsLine reports whether one of the first lines of a text begins with prefix; lines
// before it may be comments.
func startsLine(text []byte, prefix string) bool {
	return bytes.HasPrefix(text, []byte(prefix)) || bytes.Contains(text[:min(len(text), 4096)], []byte("\n"+prefix))
}

// headerOf returns the column names in the first line of a CSV.
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

// delimiter returns the separator of fields in the first line: a comma unless there are
// more semicolons or tabs.
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

// find returns the index of a column in a header, or -1. An exact match takes precedence
// over one that ignores case. An empty name is not found.
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

// list returns a header as errors show it.
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
