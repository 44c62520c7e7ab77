package requestlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kvcompress/internal/splitmix"
	"kvcompress/trace"
)

// write writes files to a temporary directory and returns the directory.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read reads a log and returns its requests, and the error that ended it without the
// directory.
func read(path string, o Options) (*Log, []trace.Request, string) {
	short := func(err error) string {
		return strings.ReplaceAll(strings.TrimPrefix(err.Error(), "requestlog: "), filepath.Dir(path)+"/", "")
	}
	l, err := Open(context.Background(), path, o)
	if err != nil {
		return nil, nil, short(err)
	}
	defer l.Close()
	var requests []trace.Request
	for r, err := range l.Requests() {
		if err != nil {
			return l, requests, short(err)
		}
		requests = append(requests, r)
	}
	return l, requests, ""
}

// show formats a request as id@ns prompt+output, with session and hashes.
func show(requests []trace.Request) []string {
	var all []string
	for _, r := range requests {
		s := fmt.Sprintf("%s@%d %d+%d", r.ID, r.ArrivalNS, r.PromptTokens, r.OutputTokens)
		if r.Session != "" {
			s += " " + r.Session
		}
		if len(r.PrefixHashes) > 0 {
			s += fmt.Sprint(" ", r.PrefixHashes)
		}
		all = append(all, s)
	}
	return all
}

const (
	azure2023 = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n" +
		"2023-11-16 18:17:03.9799600,4808,10\r\n" +
		"2023-11-16 18:17:04.0319600,3180,8"
	azure2024 = "TIMESTAMP,ContextTokens,GeneratedTokens\n" +
		"2024-05-12 00:00:00.001163+00:00,1452,3\n" +
		"2024-05-12 00:00:00+00:00,584,3\n" + // before the one above
		"2024-05-12 00:00:01+00:00,0,7\n"
	burst1 = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n" +
		"5,ChatGPT,472,18,490,Conversation log\n" +
		"45,ChatGPT,1087,0,1087,Conversation log\n" +
		"118,GPT-4,417,276,693,Conversation log\n"
	burst3 = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n" +
		"19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log\n" +
		"19440161.5,,2,ChatGPT,36,29,65,API log\n"
	vidur = "arrived_at,num_prefill_tokens,num_decode_tokens\n" +
		"0.0,374,44\n5.8926549999999995,91,16\n1e1,91,16\n"
	vidurLengths = "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n3772,54,3826,69.85\n2015,156,2171,12.9\n"
	moonLines    = `{"timestamp": 0, "input_length": 600, "output_length": 52, "hash_ids": [46, 47]}` + "\n\n" +
		`{"hash_ids":[46],"timestamp":3000.5,"input_length":100,"output_length":1,"more":{"a":["]}\"",null,-1e5,NaN]}}`
	vllm = `{"date": "20250101-000000", "backend": "vllm", "model_id": "meta-llama/Llama-3.1-8B", "request_rate": 4.0, "duration": 1.5,
 "request_goodput:": null, "input_lens": [10, 20, 30, 40], "output_lens": [1, 2, 3, 0], "ttfts": [0.1, 0.2, 0.3, 0.0],
 "itls": [[], [0.01], [0.01, 0.02], []], "start_times": [103.5, 101.25, 102.0, 0.0],
 "generated_texts": ["\"]}", "b", "c\n", ""], "errors": ["", "", "", "Traceback: \"x\""], "p99_itl_ms": NaN}`
	traceV2YAML = "trace_version: 3\ntime_unit: microseconds\nmode: real\nwarm_up_requests: 0\nserver:\n  type: vllm\n  model: Qwen/Qwen2.5-7B\n"
	traceV2CSV  = "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,prefix_length,streaming,input_tokens,output_tokens," +
		"text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,server_input_tokens,arrival_time_us,send_time_us," +
		"first_chunk_time_us,last_chunk_time_us,num_chunks,status,error_message,finish_reason\n" +
		"0,c1,t1,standard,s1,0,,0,true,10,5,10,0,0,0,0.0,,0,14,0,1000,5000,10000,5,ok,,stop\n" +
		"1,c1,t1,standard,,0,g,40,true,10,5,10,0,0,0,0.0,,0,60,100000,101000,105000,110000,5,ok,,stop\n" +
		"2,c1,t1,standard,,0,g,16,true,10,5,10,0,0,0,0.0,,0,0,200000,201000,0,0,0,ok,,stop\n" +
		"3,c1,t1,standard,,0,,0,true,10,5,10,0,0,0,0.0,,0,0,300000,301000,0,0,0,timeout,\"late,\nvery\",stop\n"
)

func TestFormats(t *testing.T) {
	group := func(n int) []uint64 {
		h := hashGroup("g")
		var all []uint64
		for range n {
			h = splitmix.Mix(h + 1)
			all = append(all, h)
		}
		return all
	}
	for _, tc := range []formatCase{
		{name: "azure 2023", text: azure2023,
			want: []string{"0@1700158623979960000 4808+10", "1@1700158624031960000 3180+8"},
			log:  Log{Format: Format{Name: "azure"}, Timed: true, Calendar: true, Stats: Stats{Rows: 2, FirstNS: 1700158623979960000}}},
		{name: "azure 2024", text: "\xef\xbb\xbf" + azure2024,
			want: []string{"1@1715472000000000000 584+3", "0@1715472000001163000 1452+3"},
			log:  Log{Format: Format{Name: "azure"}, Timed: true, Calendar: true, Stats: Stats{Rows: 3, Empty: 1, Reordered: 1, FirstNS: 1715472000000000000}}},
		{name: "burstgpt 1", text: burst1,
			want: []string{"0@5000000000 472+18", "2@118000000000 417+276"},
			log:  Log{Format: Format{Name: "burstgpt"}, Timed: true, Stats: Stats{Rows: 3, Empty: 1, FirstNS: 5e9}}},
		{name: "burstgpt 3", text: burst3,
			want: []string{"0@19440110000000000 906+446 1722ac82", "1@19440161500000000 36+29"},
			log:  Log{Format: Format{Name: "burstgpt"}, Timed: true, Stats: Stats{Rows: 2, FirstNS: 19440110000000000}}},
		{name: "vidur", text: vidur,
			want: []string{"0@0 374+44", "1@5892655000 91+16", "2@10000000000 91+16"},
			log:  Log{Format: Format{Name: "vidur"}, Timed: true, Stats: Stats{Rows: 3}}},
		{name: "vidur's lengths", text: vidurLengths,
			want: []string{"0@0 3772+54", "1@0 2015+156"},
			log:  Log{Format: Format{Name: "vidur"}, Stats: Stats{Rows: 2}}},
		{name: "mooncake", text: moonLines,
			want: []string{"0@0 600+52 [46 47]", "1@3000500000 100+1 [46]"},
			log:  Log{Format: Format{Name: "mooncake"}, Timed: true, PrefixBlockTokens: 512, Stats: Stats{Rows: 2}}},
		{name: "mooncake, other units", text: moonLines, o: Options{TimeUnit: Second, PrefixBlockTokens: 300},
			want: []string{"0@0 600+52 [46 47]", "1@3000500000000 100+1 [46]"},
			log:  Log{Format: Format{Name: "mooncake"}, Timed: true, PrefixBlockTokens: 300, Stats: Stats{Rows: 2}}},
		{name: "vllm", text: vllm,
			want: []string{"1@101250000000 20+2", "2@102000000000 30+3", "3@103500000000 10+1"},
			log:  Log{Format: Format{Name: "vllm"}, Model: "meta-llama/Llama-3.1-8B", Timed: true, Stats: Stats{Rows: 4, Failed: 1, FirstNS: 101250000000}}},
		{name: "vllm, all at once", text: `{"request_rate": "inf", "input_lens": [10, 20], "output_lens": [1, 2], "model_id": null}`,
			want: []string{"0@0 10+1", "1@0 20+2"}, log: Log{Format: Format{Name: "vllm"}, Timed: true, Stats: Stats{Rows: 2}}},
		{name: "vllm, no times", text: `{"request_rate": 3, "input_lens": [10], "output_lens": [1], "errors": [null]}`,
			want: []string{"0@0 10+1"}, log: Log{Format: Format{Name: "vllm"}, Stats: Stats{Rows: 1}}},
		{name: "tracev2", file: "run.yaml", text: traceV2YAML, more: map[string]string{"run.csv": traceV2CSV},
			want:  []string{"0@1000000 14+5 s1", fmt.Sprint("1@101000000 50+5 ", group(2)), fmt.Sprint("2@201000000 26+5 ", group(1))},
			log:   Log{Format: Format{Name: "tracev2"}, Model: "Qwen/Qwen2.5-7B", Timed: true, PrefixBlockTokens: 16, Stats: Stats{Rows: 4, Failed: 1, FirstNS: 1000000}},
			notes: []string{"requests arrive at send_time_us"}},
		{name: "tracev2 by its CSV", file: "run.csv", text: traceV2CSV, more: map[string]string{"run.yml": traceV2YAML},
			want:  []string{"0@1000000 14+5 s1", fmt.Sprint("1@101000000 50+5 ", group(2)), fmt.Sprint("2@201000000 26+5 ", group(1))},
			log:   Log{Format: Format{Name: "tracev2"}, Model: "Qwen/Qwen2.5-7B", Timed: true, PrefixBlockTokens: 16, Stats: Stats{Rows: 4, Failed: 1, FirstNS: 1000000}},
			notes: []string{"requests arrive at send_time_us"}},
		{name: "tracev2 of other names", file: "run_header.yaml", text: traceV2YAML, more: map[string]string{"run_data.csv": "arrival_time_us,input_tokens,output_tokens\n7,5,6\n"},
			want: []string{"0@7000 5+6"}, log: Log{Format: Format{Name: "tracev2"}, Model: "Qwen/Qwen2.5-7B", Timed: true, Stats: Stats{Rows: 1, FirstNS: 7000}}},
		{name: "tracev2, early and without YAML", text: "arrival_time_us,input_tokens,output_tokens\n7,5,6\n",
			want: []string{"0@7000 5+6"}, log: Log{Format: Format{Name: "tracev2"}, Timed: true, Stats: Stats{Rows: 1, FirstNS: 7000}}},
		{name: "csv", text: "in, out ,ts,u\n\"5\",6.0,1500,a\n7,8,2500,b\n", o: Options{Fields: Fields{Arrival: "ts", Prompt: "in", Output: "out", Session: "u"}, TimeUnit: Millisecond},
			want: []string{"0@1500000000 5+6 a", "1@2500000000 7+8 b"}, log: Log{Format: Format{Name: "csv"}, Timed: true, Stats: Stats{Rows: 2, FirstNS: 1500000000}}},
		{name: "csv with semicolons and dates", text: "ts;in;out\n2024-01-01T00:00:00.5Z;5;6\n", o: Options{Format: "csv", Fields: Fields{Arrival: "TS", Prompt: "in", Output: "out"}},
			want: []string{"0@1704067200500000000 5+6"}, log: Log{Format: Format{Name: "csv"}, Timed: true, Calendar: true, Stats: Stats{Rows: 1, FirstNS: 1704067200500000000}}},
		{name: "csv without times", text: "a\tb\n5\t6\n", o: Options{Fields: Fields{Prompt: "a", Output: "b"}},
			want: []string{"0@0 5+6"}, log: Log{Format: Format{Name: "csv"}, Stats: Stats{Rows: 1}}},
	} {
		t.Run(tc.name, tc.run)
	}
}

// formatCase is a log, the options for reading it, and the expected result.
type formatCase struct {
	name, file, text string
	more             map[string]string // other files in its folder
	o                Options
	want             []string // as formatted by show
	log              Log      // expected exported fields
	notes            []string // beginnings of the expected notes
}

func (tc formatCase) run(t *testing.T) {
	if tc.file == "" {
		tc.file = "log"
	}
	files := map[string]string{tc.file: tc.text}
	for name, text := range tc.more {
		files[name] = text
	}
	dir := write(t, files)
	l, requests, err := read(filepath.Join(dir, tc.file), tc.o)
	if diff := cmp.Diff(tc.want, show(requests)); diff != "" || err != "" {
		t.Fatal(err, diff)
	}
	got := Log{Format: Format{Name: l.Format.Name}, Model: l.Model, Timed: l.Timed, Calendar: l.Calendar, PrefixBlockTokens: l.PrefixBlockTokens, Stats: l.Stats}
	if diff := cmp.Diff(tc.log, got, cmpopts.IgnoreUnexported(Log{}, Format{})); diff != "" {
		t.Error(diff)
	}
	notes := l.Notes()
	for i := range notes {
		if i >= len(tc.notes) || !strings.HasPrefix(notes[i], tc.notes[i]) {
			t.Errorf("notes %q, want %q", notes, tc.notes)
		}
	}
	if len(notes) != len(tc.notes) {
		t.Errorf("%d notes %q, want %q", len(notes), notes, tc.notes)
	}

	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(tc.text))
	w.Close()
	if err := os.WriteFile(filepath.Join(dir, tc.file), z.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(tc.file, ".yaml") {
		return // a header of ten lines is not compressed
	}
	_, again, err := read(filepath.Join(dir, tc.file), tc.o)
	if diff := cmp.Diff(requests, again); diff != "" || err != "" {
		t.Error("compressed:", err, diff)
	}
}

// TestErrors checks that every error names the file, the line and the column.
func TestErrors(t *testing.T) {
	const head = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
	const good = "2024-05-10 00:00:00,1,1\n"
	columns := Options{Fields: Fields{Arrival: "ts", Prompt: "in", Output: "out"}}
	for _, tc := range []struct {
		text string
		o    Options
		want string
	}{
		{"", Options{}, "log: the file is empty"},
		{" \n", Options{}, "log: the file is empty"},
		{"\x1f\x8bxx", Options{}, "log: unexpected EOF"},
		{"hello\n", Options{}, "log: it looks like no known log: say its format: azure, burstgpt, tracev2, vidur, bailian, mooncake, llmservingsim, llmservingsim-tsv, llmservingsim-csv, measured, vllm, guidellm, aiperf, genai-perf, openai-batch, sharegpt, csv, jsonl"},
		{"a,b\n1,2\n", Options{}, `log: it looks like a CSV of the columns "a", "b", which is no known log: say which they are`},
		{`{"a":1}`, Options{}, `log: it is JSON with "a", which is no known log: say which they are, as in --fields`},
		{`{"id":"a","arrival_ns":0}`, Options{}, "log: it looks like the requests.jsonl of a trace: name the trace's folder"},
		{azure2023, Options{Format: "azur"}, `unknown format "azur" (did you mean azure?), want one of azure`},
		{azure2023, Options{Format: "burstgpt"}, `log:1: there is no column "Request tokens", only "TIMESTAMP", "ContextTokens", "GeneratedTokens"`},
		{azure2023, Options{TimeUnit: Second}, "the format azure has a time unit of its own"},
		{azure2023, Options{PrefixBlockTokens: 16}, "the format azure has no prefix hashes of a size to state"},
		{azure2023, Options{Format: "azure", Fields: Fields{Prompt: "a"}}, "the format azure has fields of its own; to name them is for the formats csv and jsonl"},
		{azure2023, Options{Format: "csv"}, "say which fields hold the prompt and the output"},
		{azure2023, Options{Format: "mooncake"}, "log:1:1: want '{', got 'T'"},

		{head + good + "2024-05-10 00:00:00,x,1\n", Options{}, `log:3:21: ContextTokens: want a number of tokens, got "x"`},
		{head + "2024-05-10 00:00:00,1,-5\n", Options{}, `log:2:23: GeneratedTokens: want a number of tokens, got "-5"`},
		{head + "2024-05-10 00:00:00,1,1.5\n", Options{}, `log:2:23: GeneratedTokens: want a number of tokens, got "1.5"`},
		{head + "2024-05-10 00:00:00,NaN,1\n", Options{}, `log:2:21: ContextTokens: want a number of tokens, got "NaN"`},
		{head + "2024-05-10 00:00:00,,1\n", Options{}, `log:2:21: ContextTokens: want a number of tokens, got ""`},
		{head + "2024-05-10 00:00:00,99999999999999999999999,1\n", Options{}, "log:2:21: ContextTokens: 99999999999999999999999 tokens, want at most 16777216"},
		{head + "2024-05-10 00:00:00,16777216,1\n", Options{}, "log:2: 16777216 prompt and 1 output tokens, want at most 16777216 together"},
		{head + "2024-02-30 00:00:00,1,1\n", Options{}, `log:2:1: TIMESTAMP: want a date and time such as`},
		{head + "1969-12-31 23:59:59,1,1\n", Options{}, `log:2:1: TIMESTAMP: "1969-12-31 23:59:59" is out of bounds, want 1970 to 2116`},
		{head + good + "2024-05-10 00:00:00,1\n", Options{}, "log:3:1: 2 fields, want the 3 of the header"},
		{head + good + "2024-05-10 00:00:00,\"1,1\n", Options{}, `log:3:26: extraneous or missing " in quoted-field`},
		{head + good + "2024-05-10 00:00:00,1\"2,1\n", Options{}, `log:3:22: bare " in non-quoted-field`},
		{head + good + "2024-05-10 00:00:00,\"" + strings.Repeat("1", 2<<20) + "\",1\n", Options{}, "log:3: a record of more than 1048576 bytes"},
		{head + good + strings.Repeat("1", 2<<20) + ",1,1\n", Options{}, "log:3: a record of more than 1048576 bytes"},
		{"ts,in,out\n-1,1,1\n", columns, "log:2:1: ts: a negative time"},
		{"ts,in,out\nnan,1,1\n", columns, `log:2:1: ts: want a time, got "nan"`},
		{"ts,in,out\n1e300,1,1\n", columns, "log:2:1: ts: a time of 1e300 s is beyond what a trace can say, 146 years; is it of a smaller unit?"},
		{"ts,in,out\n2024-01-01 00:00:00,1,1\n5,1,1\n", columns, `log:3:1: ts: want a date and time`},
		{"t,in,out\n1,1,1\n", columns, `log:1: there is no column "ts", only "t", "in", "out"`},
		{"ts,in,out,in\n1,1,1,1\n", columns, `log:1: there are two columns "in"`},
		{"ts,in,out,ts\n1,1,1,9\n", columns, `log:1: there are two columns "ts"`},
		{strings.Replace(traceV2CSV, "deadline_us", "status", 1), Options{}, `log:1: there are two columns "status"`},
		{"ts,in,out\n1,1,1\n", Options{Fields: Fields{Arrival: "ts", Prompt: "in", Output: "out", Session: "who"}}, `log:1: there is no column "who"`},
		{"Timestamp,Session ID,Request tokens,Response tokens\n1," + strings.Repeat("s", 1025) + ",1,1\n", Options{}, "log:2:3: Session ID: 1025 bytes, want at most 1024"},

		{`{"timestamp":0,"input_length":5,"output_length":1}` + "\n" + `{"timestamp":0,"input_length":5}`, Options{}, "log:2:1: output_length is missing"},
		{`{"timestamp":-3,"input_length":5,"output_length":1}`, Options{}, "log:1:14: timestamp: a negative time"},
		{`{"timestamp":"0","input_length":5,"output_length":1}`, Options{}, `log:1:14: timestamp: want a time, got "0"`},
		{`{"timestamp":NaN,"input_length":5,"output_length":1}`, Options{}, `log:1:14: timestamp: want a time, got NaN`},
		{`{"timestamp":0,"input_length":5,"output_length":null}`, Options{}, `log:1:1: output_length is missing`},
		{`{"timestamp":0,"input_length":5,"output_length":1,"timestamp":1}`, Options{}, `log:1:63: timestamp occurs twice`},
		{`{"timestamp":0,"input_length":512,"output_length":1,"hash_ids":[1,2]}`, Options{}, `log:1:1: 2 prefix hashes, want at most 1 for a prompt of 512 tokens in blocks of 512`},
		{`{"timestamp":0,"input_length":5,"output_length":1,"hash_ids":[-1]}`, Options{}, `log:1:63: hash_ids: want an integer from 0 to 2^64-1, got -1`},
		{`{"timestamp":0,"input_length":5,"output_length":1,"hash_ids":[18446744073709551616]}`, Options{}, `log:1:63: hash_ids: want an integer from 0 to 2^64-1, got 18446744073709551616`},
		{`{"timestamp":0,"input_length":5,"output_length":1,"x":"a` + "\n", Options{}, `log:1:57: a line break in a string`},
		{`{"timestamp":0,"input_length":5,"output_length":1,"x":[}`, Options{}, `log:1:56: want ']', got '}'`},
		{`{"timestamp":0,"input_length":5,"output_length":1`, Options{}, `log:1:50: the file ends in the middle of a value`},
		{`{"timestamp":0,"input_length":5,"output_length":1,"x":` + strings.Repeat("[", 2000), Options{}, `log:1:1055: nested deeper than 1000`},

		{`{"input_lens":[1,2],"output_lens":[1]}`, Options{}, "log:1:35: there are 1 output_lens, and 2 input_lens"},
		{`{"input_lens":[1,2],"output_lens":[1,2],"start_times":[]}`, Options{}, "log:1:55: there are 0 start_times, and 2 input_lens"},
		{`{"input_lens":[1],"output_lens":[1],"start_times":[-1]}`, Options{}, "log:1:52: start_times: a negative time"},
		{`{"input_lens":[1],"output_lens":[1,]}`, Options{}, `log:1:36: output_lens: want a number of tokens, got `},
		{`{"input_lens":[1],"output_lens":[1]} {}`, Options{}, "log:1:38: another result follows the first: keep one in a file"},
		{`{"request_throughput":3,"total_input_tokens":1}`, Options{}, "log: there are no input_lens; vLLM writes them with --save-detailed"},
		{`{"input_lens":[],"output_lens":[]}`, Options{}, ""},

		{"trace_version: 7\n", Options{}, `log:1:16: trace_version is "7", and only 2 and 3 are known`},
		{"trace_version: 2\ntime_unit: ms\n", Options{}, `log:2:12: time_unit is "ms", want microseconds`},
		{"trace_version: 2\n a: [\n", Options{}, "log:2: "},
		{"trace_version: 2\n", Options{}, "log: there is no CSV of the same name in its folder"},
		{"arrival_time_us,input_tokens,output_tokens,prefix_group,prefix_length\n0,16777216,1,g,1\n", Options{}, "log:2:16: prefix_length: 16777217 tokens with input_tokens"},
	} {
		_, _, err := read(filepath.Join(write(t, map[string]string{"log": tc.text}), "log"), tc.o)
		if !strings.HasPrefix(err, tc.want) || tc.want == "" && err != "" {
			t.Errorf("%.80q, %+v:\n got %s\nwant %s", tc.text, tc.o, err, tc.want)
		}
	}
}

// TestOpen checks that a path that is not a file is an error, and that reading can be canceled.
func TestOpen(t *testing.T) {
	dir := write(t, map[string]string{"log": azure2023})
	if _, err := Open(context.Background(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if _, err := Open(context.Background(), dir+"/none", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, dir+"/log", Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	read := int64(0)
	l, err := Open(context.Background(), dir+"/log", Options{Progress: func(done, total int64) {
		if read = done; total != int64(len(azure2023)) {
			t.Error(total)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range l.Requests() {
		break // early
	}
	if l.Close(); read != int64(len(azure2023)) {
		t.Error(read)
	}
}
