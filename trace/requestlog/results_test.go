package requestlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/trace"
)

// Small logs in the formats of benchmarks, simulators and chats.
const (
	guide2 = `{"benchmarks": [{"type_": "generative_benchmark", "run_id": "r", "args": {"strategy": {"rate": 2}}, "start_time": 99,
 "requests": {"successful": [
  {"type_": "generative_text_response", "request_id": "a", "scheduler_info": {"requested": true}, "prompt": "x", "output": "\"},{", "prompt_tokens": 7, "output_tokens": 3, "start_time": 101.5, "end_time": 102},
  {"prompt_tokens": 8, "output_tokens": 4, "start_time": 100.25}],
 "incomplete": [{"prompt_tokens": 9, "output_tokens": null, "start_time": 103.0}], "errored": [], "total": null}}]}`
	guide5 = `{"metadata": {"version": 1, "guidellm_version": "0.5.0"}, "args": {"target": "http://localhost"}, "benchmarks": [
 {"config": {}, "requests": {"errored": [{"info": {}}], "successful": [
  {"request_id": "a", "info": {"conversation_id": "c", "timings": {"request_start": 5.5}}, "input_metrics": {"text_tokens": 70, "total_tokens": 70}, "output_metrics": {"text_tokens": 30}, "prompt_tokens": null}]}},
 {"config": {}, "requests": {"successful": [{"request_start_time": 60, "prompt_tokens": 1, "output_tokens": 2}]}}]}`
	genai = `{"service_kind": "openai", "endpoint": "v1/chat/completions", "experiments": [{"experiment": {"mode": "request_rate", "value": 2.0}, "requests": [
 {"timestamp": 2000, "request_inputs": {"payload": "{\"messages\":[{\"role\":\"user\",\"content\":\"12345678\"}],\"model\":\"m\"}"},
  "response_timestamps": [2100, 2200], "response_outputs": [{"response": "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"abc\"}}]}\n\n"}, {"response": "data: {\"choices\":[{\"delta\":{\"content\":\"de\"}}]}\n\ndata: [DONE]\n\n"}, {"response": ""}]},
 {"timestamp": 1000, "request_inputs": {"text_input": "123"}, "response_timestamps": [1100], "response_outputs": [{"text_output": "four"}]},
 {"timestamp": 3000, "request_inputs": {"payload": {"prompt": "1234"}}, "response_outputs": [{"response": "{\"choices\":[{\"text\":\"x\"}],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":60}}"}]}],
 "window_boundaries": [1, 2]}], "version": "2.59"}`
	aiperf = `{"metadata": {"session_num": 0, "x_request_id": "a", "conversation_id": "s", "turn_index": 0, "request_start_ns": 1000, "benchmark_phase": "profiling", "was_cancelled": false}, "metrics": {"input_sequence_length": {"value": 500, "unit": "tokens"}, "output_sequence_length": {"value": 65.0, "unit": "tokens"}}, "error": null}
{"metadata": {"request_start_ns": 1500, "benchmark_phase": "profiling", "was_cancelled": true}, "metrics": {}, "error": {"code": 499}}
{"metadata": {"request_start_ns": 500, "benchmark_phase": "warmup"}, "metrics": {"input_sequence_length": {"value": 1}, "output_sequence_length": {"value": 1}}}`
	batchIn = `{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [{"role": "system", "content": "0123456789abcdef0123456789abcdef"}, {"role": "user", "content": [{"type": "text", "text": "0123456789abcdef0123456789abcdef!"}, {"type": "image_url", "image_url": {"url": "data:"}}]}], "max_tokens": 12}}
{"custom_id": "b", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": [5, 6, 7], "max_tokens": 4}}
{"custom_id": "c", "body": {"max_output_tokens": 3, "input": "abcdefgh", "instructions": "ijkl"}}`
	batchOut = `{"id": "batch_req_1", "custom_id": "a", "response": {"status_code": 200, "request_id": "r", "body": {"object": "chat.completion", "created": 1711652795, "model": "m", "choices": [{"message": {"content": "\"usage\": {"}}], "usage": {"prompt_tokens": 22, "completion_tokens": 2, "total_tokens": 24}}}, "error": null}
{"id": "batch_req_2", "custom_id": "b", "response": {"status_code": 429, "body": {"error": {}}}, "error": null}
{"id": "batch_req_3", "custom_id": "c", "response": null, "error": {"code": "batch_expired"}}
{"custom_id": "d", "response": {"status_code": 200, "body": {"usage": {"input_tokens": 5, "output_tokens": 6}}}}`
	shareGPT = `[{"id": "x_0", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
 {"conversations": [{"value": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "from": "human"}, {"from": "gpt", "value": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
  {"from": "human", "value": "again"}, {"from": "gpt", "value": "no"}], "id": 7}]`
	lmsys = `{"conversation_id": "c", "model": "vicuna-13b", "conversation": [{"content": "hi", "role": "user"}, {"content": "hello", "role": "assistant"}], "turn": 1, "language": "English"}`

	servingLines = `{"input_toks": 3, "output_toks": 2, "arrival_time_ns": 40, "input_tok_ids": [1, 2, 3], "output_tok_ids": [4, 5]}
{"session_id": "s", "arrival_time_ns": 100, "sub_requests": [{"input_toks": 1, "output_toks": 2, "tool_duration_ns": 30}, {"input_toks": 4, "output_toks": 5, "tool_duration_ns": 0}]}`
	servingTSV = "input_toks\toutput_toks\tarrival_time_ns\n10\t70\t46926808\n22\t104\t347938952\n"
	bailian    = `{"chat_id": 55, "parent_chat_id": -1, "timestamp": 1.25, "input_length": 20, "output_length": 3, "type": "text", "turn": 1, "hash_ids": [1, 2]}
{"chat_id": 159, "parent_chat_id": 55, "timestamp": 61.114, "input_length": 40, "output_length": 4, "type": "text", "turn": 2, "hash_ids": [1, 3, 4]}
{"chat_id": 200, "parent_chat_id": 159, "timestamp": 70, "input_length": 40, "output_length": 4, "hash_ids": [1]}
{"chat_id": 300, "parent_chat_id": 17, "timestamp": 71, "input_length": 16, "output_length": 4, "hash_ids": [9]}`
	moonTurns = `{"session_id": "s1", "timestamp": 0, "input_length": 600, "output_length": 10, "hash_ids": [1, 2]}
{"session_id": "s1", "delay": 500, "input_length": 700, "output_length": 10, "hash_ids": [1, 3]}
{"timestamp": 250, "input_length": 100, "output_length": 1, "hash_ids": null}
{"session_id": "s1", "delay": 0.5, "timestamp": null, "text_input": "12345", "output_length": 1}`
)

func TestResults(t *testing.T) {
	block := func(texts ...string) []uint64 {
		x := newText(nil, Options{})
		for i, s := range texts {
			if err := x.add([]byte(s)); err != nil {
				t.Fatal(err)
			}
			if i < len(texts)-1 {
				x.mark([]string{"human", "gpt"}[i%2])
			}
		}
		return x.hashes
	}
	const long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" // 16 tokens at 4 bytes
	for _, tc := range []formatCase{
		{name: "guidellm 0.2", text: guide2,
			want: []string{"1@100250000000 8+4", "0@101500000000 7+3"},
			log:  Log{Format: Format{Name: "guidellm"}, Timed: true, Calendar: true, Stats: Stats{Rows: 3, Failed: 1, Reordered: 1, FirstNS: 100250000000}}},
		{name: "guidellm 0.5, the first run", text: guide5, o: Options{Run: 1},
			want: []string{"1@5500000000 70+30 c"},
			log:  Log{Format: Format{Name: "guidellm"}, Timed: true, Calendar: true, Stats: Stats{Rows: 2, Failed: 1, FirstNS: 5500000000}}},
		{name: "guidellm 0.5, the second run", text: guide5, o: Options{Run: 2},
			want: []string{"0@60000000000 1+2"},
			log:  Log{Format: Format{Name: "guidellm"}, Timed: true, Calendar: true, Stats: Stats{Rows: 1, FirstNS: 60000000000}}},
		{name: "genai-perf", text: genai,
			want:  []string{"1@1000 1+1", "0@2000 2+2", "2@3000 50+60"},
			log:   Log{Format: Format{Name: "genai-perf"}, Model: "m", Timed: true, Calendar: true, PrefixBlockTokens: 16, Stats: Stats{Rows: 3, Reordered: 1, FirstNS: 1000, Estimated: 2}},
			notes: []string{"in 2 of 3 rows, tokens are estimated from texts, at 4 bytes"}},
		{name: "genai-perf without texts", text: `{"experiments":[{"requests":[{"timestamp":9,"response_timestamps":[10],"request_inputs":{}}]}]}`, o: Options{PromptTokens: 3, OutputTokens: 4},
			want:  []string{"0@9 3+4"},
			log:   Log{Format: Format{Name: "genai-perf"}, Timed: true, Calendar: true, Stats: Stats{Rows: 1, FirstNS: 9, Assumed: 1}},
			notes: []string{"in 1 of 1 rows, the log has no length"}},
		{name: "aiperf", text: aiperf,
			want: []string{"0@1000 500+65 s"},
			log:  Log{Format: Format{Name: "aiperf"}, Timed: true, Calendar: true, Stats: Stats{Rows: 3, Failed: 2, FirstNS: 1000}}},
		{name: "an OpenAI batch", text: batchIn,
			want:  []string{fmt.Sprint("0@0 17+12 ", chatHash(t)), "1@0 3+4", "2@0 3+3"},
			log:   Log{Format: Format{Name: "openai-batch"}, Model: "m", PrefixBlockTokens: 16, Stats: Stats{Rows: 3, Estimated: 2, Maxima: 3, Other: 1}},
			notes: []string{"in 2 of 3 rows, tokens are estimated from texts", "in 3 of 3 rows, the output is max_tokens", "in 1 of 3 rows, images"}},
		{name: "an OpenAI batch's output", text: batchOut,
			want: []string{"0@0 22+2", "3@0 5+6"},
			log:  Log{Format: Format{Name: "openai-batch"}, Model: "m", Stats: Stats{Rows: 4, Failed: 2}}},
		{name: "ShareGPT", text: shareGPT,
			want:  []string{"0@0 1+2 x_0", fmt.Sprint("1@0 16+16 7 ", block(long)), fmt.Sprint("2@0 34+1 7 ", block(long, long, "again"))},
			log:   Log{Format: Format{Name: "sharegpt"}, PrefixBlockTokens: 16, Stats: Stats{Rows: 3, Estimated: 3}},
			notes: []string{"in 3 of 3 rows, tokens are estimated from texts, at 4 bytes"}},
		{name: "ShareGPT, three bytes a token", text: `[{"conversations":[{"from":"human","value":"12345678"},{"from":"gpt","value":"1234"}]}]`, o: Options{BytesPerToken: 3},
			want:  []string{"0@0 3+2 conversation 1"},
			log:   Log{Format: Format{Name: "sharegpt"}, PrefixBlockTokens: 16, Stats: Stats{Rows: 1, Estimated: 1}},
			notes: []string{"in 1 of 1 rows, tokens are estimated from texts, at 3 bytes"}},
		{name: "ShareGPT with a tokenizer", text: shareGPT, o: Options{Tokenizer: letters{}},
			want:  []string{"0@0 3+5 x_0", fmt.Sprint("1@0 65+64 7 ", letterHashes(long)), fmt.Sprint("2@0 134+2 7 ", letterHashes(long, long, "again"))},
			log:   Log{Format: Format{Name: "sharegpt"}, PrefixBlockTokens: 16, Stats: Stats{Rows: 3, Tokenized: 3}},
			notes: []string{"in 3 of 3 rows, tokens of texts are counted with the tokenizer"}},
		{name: "LMSYS", text: lmsys,
			want:  []string{"0@0 1+2 c"},
			log:   Log{Format: Format{Name: "sharegpt"}, Model: "vicuna-13b", PrefixBlockTokens: 16, Stats: Stats{Rows: 1, Estimated: 1}},
			notes: []string{"in 1 of 1 rows, tokens are estimated from texts"}},
		{name: "LLMServingSim", text: servingLines,
			want:  []string{"0@40 3+2", "1@100 1+2 s", "2@130 4+5 s"},
			log:   Log{Format: Format{Name: "llmservingsim"}, Timed: true, PrefixBlockTokens: 16, Stats: Stats{Rows: 3, FirstNS: 40, Delayed: 1}},
			notes: []string{"in 1 of 3 rows, the arrival is a delay"}},
		{name: "LLMServingSim's benchmark", text: `{"request_id": "bench-0", "input_toks": 20, "output_toks": 5, "arrival_time": 1787000622.5, "queued_ts": 15823.1}`,
			want: []string{"0@1787000622500000000 20+5"},
			log:  Log{Format: Format{Name: "llmservingsim"}, Timed: true, Calendar: true, PrefixBlockTokens: 16, Stats: Stats{Rows: 1, FirstNS: 1787000622500000000}}},
		{name: "LLMServingSim, TSV", text: servingTSV,
			want: []string{"0@46926808 10+70", "1@347938952 22+104"},
			log:  Log{Format: Format{Name: "llmservingsim-tsv"}, Timed: true, Stats: Stats{Rows: 2, FirstNS: 46926808}}},
		{name: "LLMServingSim's output", text: "instance id,request id,model,input,output,arrival,end_time,latency,queuing_delay,ITL\n0,5,m,399,520,60,7,8,9,\"[1, 2]\"\n0,0,m,20,5,46,7,8,9,[]\n",
			want: []string{"1@46 20+5", "0@60 399+520"},
			log:  Log{Format: Format{Name: "llmservingsim-csv"}, Timed: true, Stats: Stats{Rows: 2, Reordered: 1, FirstNS: 46}}},
		{name: "Qwen-Bailian", text: bailian,
			want:  []string{"0@1250000000 20+3 55 [1 2]", "1@61114000000 40+4 55 [1 3 4]", "2@70000000000 40+4 55 [1]", "3@71000000000 16+4 17 [9]"},
			log:   Log{Format: Format{Name: "bailian"}, Timed: true, PrefixBlockTokens: 16, Stats: Stats{Rows: 4, FirstNS: 1250000000, Orphans: 1}},
			notes: []string{"in 1 of 4 rows, the turn before was not found"}},
		{name: "Mooncake with turns", text: moonTurns,
			want:  []string{"0@0 600+10 s1 [1 2]", "2@250000000 100+1", "1@500000000 700+10 s1 [1 3]", "3@500500000 2+1 s1"},
			log:   Log{Format: Format{Name: "mooncake"}, Timed: true, PrefixBlockTokens: 512, Stats: Stats{Rows: 4, Reordered: 1, Estimated: 1, Delayed: 2}},
			notes: []string{"in 1 of 4 rows, tokens are estimated from texts", "in 2 of 4 rows, the arrival is a delay"}},
		{name: "Mooncake's turns at other times", text: `{"session_id":"s","input_length":6,"output_length":1}`, o: Options{Retimed: true},
			want: []string{"0@0 6+1 s"},
			log:  Log{Format: Format{Name: "mooncake"}, Timed: true, PrefixBlockTokens: 512, Stats: Stats{Rows: 1}}},
	} {
		t.Run(tc.name, tc.run)
	}
}

// letters is a tokenizer with a token for each byte, between a BOS and an EOS token.
type letters struct{}

func (letters) Encode(text string) ([]int, error) {
	if strings.Contains(text, "\x00") {
		return nil, errors.New("a zero byte")
	}
	tokens := []int{1}
	for i := range len(text) {
		tokens = append(tokens, 3+int(text[i]))
	}
	return append(tokens, 2), nil
}

// letterHashes returns the prefix hashes of consecutive messages, tokenized by letters.
func letterHashes(texts ...string) []uint64 {
	x := newText(nil, Options{Tokenizer: letters{}})
	for i, s := range texts {
		_ = x.add([]byte(s))
		x.mark([]string{"human", "gpt"}[i%2])
	}
	return x.hashes
}

// chatHash is the prefix hash of the first request of batchIn.
func chatHash(t *testing.T) []uint64 {
	x := newText(nil, Options{})
	const half = "0123456789abcdef0123456789abcdef"
	if err := x.add([]byte(half)); err != nil {
		t.Fatal(err)
	}
	x.mark("system")
	if err := x.add([]byte(half + "!")); err != nil {
		t.Fatal(err)
	}
	return x.hashes
}

// TestPrefixes checks that prompts share hashes exactly for their common prefix, however the
// text is divided: the turns of a conversation, and conversations with the same system prompt.
func TestPrefixes(t *testing.T) {
	system := strings.Repeat("You answer briefly. ", 20) // 400 bytes, 6 blocks of 64
	talk := func(id string, says ...string) string {
		s := `{"id":"` + id + `","conversations":[{"from":"system","value":"` + system + `"}`
		for i, say := range says {
			s += fmt.Sprintf(`,{"from":"%s","value":"%s"}`, []string{"human", "gpt"}[i%2], say)
		}
		return s + "]}"
	}
	long := strings.Repeat("word ", 60)
	text := talk("a", long, long, "more", "done") + "\n" + talk("b", strings.Repeat("other ", 60), "ok")
	_, requests, err := read(filepath.Join(write(t, map[string]string{"log": text}), "log"), Options{})
	if err != "" || len(requests) != 3 {
		t.Fatal(err, len(requests))
	}
	shared := func(a, b trace.Request) int {
		n := 0
		for n < len(a.PrefixHashes) && n < len(b.PrefixHashes) && a.PrefixHashes[n] == b.PrefixHashes[n] {
			n++
		}
		return n
	}
	first, second, other := requests[0], requests[1], requests[2]
	if got, want := shared(first, second), len(first.PrefixHashes); got != want || want != (400+300)/64 {
		t.Errorf("turns share %d blocks, want all %d of the first", got, want)
	}
	if got := shared(first, other); got != 400/64 {
		t.Errorf("conversations share %d blocks, want the system prompt's %d", got, 400/64)
	}
	if second.PromptTokens != (400+300+300+4)/4 {
		t.Error(second.PromptTokens)
	}
}

// TestResultErrors checks that errors in results and chats name the problem and its place.
func TestResultErrors(t *testing.T) {
	for _, tc := range []struct {
		text string
		o    Options
		want string
	}{
		{guide5, Options{}, "log:4:2: another run follows the first, at another load: --run 1 takes the first"},
		{guide5, Options{Run: 3}, "log: there is no run 3, only 2"},
		{azure2023, Options{Run: 1}, "a file of the format azure holds one run"},
		{`{"benchmarks":[{"run_id":"x","requests":{"successful":[{"prompt_tokens":1,"output_tokens":1}]}}]}`, Options{}, "log:1:56: request_start_time is missing"},
		{`{"benchmarks":[{"run_id":"x","requests":{"successful":[{"start_time":1,"prompt_tokens":"1"}]}}]}`, Options{}, `log:1:88: prompt_tokens: want a number of tokens, got "1"`},
		{`{"benchmarks":[{"run_id":"x","requests":{"successful":[{"start_time":1,"prompt_tokens":1}]}}]}`, Options{}, "log:1:56: output_tokens is missing; --output-tokens"},
		{`{"benchmarks":[{"run_id":"x"}]}`, Options{}, "log:1:30: the benchmark has no requests"},
		{`{"benchmarks":[{"run_id":"x","requests":{}}]} x`, Options{}, `log:1:47: 'x' after the end of the result`},
		{`{"experiments":[{"requests":[{"timestamp":1,"request_inputs":{}}]}]}`, Options{}, "log:1:30: request_inputs has no prompt, whose length is needed: --prompt-tokens gives one"},
		{`{"experiments":[{"requests":[{"timestamp":1,"request_inputs":{"text_input":"a"}}]}]}`, Options{}, "log:1:30: response_outputs has no text"},
		{`{"experiments":[{"requests":[{"timestamp":1,"request_inputs":{"payload":"{\"prompt\":[\"a\",\"b\"]}"}}]}]}`, Options{}, "log:1:73: payload, byte 16 of line 1: several prompts in one request"},
		{`{"experiments":[{"requests":[{"request_inputs":{"text_input":"a"}}]}]}`, Options{}, "log:1:30: timestamp is missing"},
		{`{"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}]}}`, Options{}, "log:1:1: body: there is no max_tokens, so the output has no length; --output-tokens"},
		{`{"custom_id":"a","body":{"max_tokens":5}}`, Options{}, "log:1:1: body: there are no messages, prompt or input"},
		{`{"custom_id":"a","body":null}`, Options{}, "log:1:1: there is neither a body"},
		{`{"custom_id":"a","body":{"prompt":["a","b"]}}`, Options{}, "log:1:40: body: several prompts in one request"},
		{`[{"conversations":[{"from":"gpt","value":[[[[[[[[[[]]]]]]]]]]}]}]`, Options{}, "log:1:50: parts of texts nested deeper than 8"},
		{`[{"id":"a","conversations":[{"from":"human","value":"\q"}]}]`, Options{}, `log:1:53: a bad string`},
		{`[{"id":"a"},{"conversations":[{"from":"human","value":"a"}]}]`, Options{}, "log:1:2: conversations is missing"},
		{`[{"conversations":[{"from":"gpt","value":"a\u0000"}]}]`, Options{Tokenizer: letters{}}, "log:1:42: a zero byte"},
		{`[{"conversations":[{"from":"gpt","value":"a"}]}] 5`, Options{}, "log:1:50: '5' after the end of the array"},
		{`[{"conversations":[{"from":"gpt","value":"a"}]}`, Options{}, "log:1:48: the file ends in the middle of a value"},
		{shareGPT, Options{BytesPerToken: 0.1}, "0.1 bytes a token, want 0.25 to 64"},
		{`{"chat_id":1,"parent_chat_id":-1,"timestamp":1,"input_length":16,"output_length":1,"hash_ids":[1,2]}`, Options{}, "log:1:1: 2 prefix hashes, want at most 1 for a prompt of 16 tokens in blocks of 16"},
		{`{"chat_id":"a","timestamp":1,"input_length":16,"output_length":1}`, Options{}, `log:1:12: chat_id: want an integer, got "a"`},
		{`{"session_id":"s","delay":5,"input_length":6,"output_length":1}`, Options{}, "log:1:1: timestamp is missing, and there is no turn of its session_id above"},
		{`{"session_id":"s","input_length":6,"output_length":1}`, Options{}, "log:1:1: timestamp is missing; kvc trace import --arrivals gives"},
		{`{"input_toks":3,"output_toks":1,"arrival_time_ns":1,"input_tok_ids":[1]}`, Options{}, "log:1:1: 1 input_tok_ids, and input_toks is 3"},
		{`{"arrival_time_ns":1,"sub_requests":[{"input_toks":3}]}`, Options{}, "log:1:38: output_toks is missing"},
		{`{"input_toks":3,"output_toks":1,"input_toks":3}`, Options{}, "log:1:46: input_toks occurs twice"},
		{`{"metadata":{"request_start_ns":1},"metrics":{}}`, Options{}, "log:1:1: metrics.input_sequence_length is missing"},

		{jsonLines, Options{Fields: Fields{Arrival: "when", Prompt: "usage.in", Output: "usage.out"}}, "log:1:1: when is missing"},
		{jsonLines, Options{Fields: Fields{Prompt: "usage.in"}}, "say which fields hold the prompt and the output"},
		{`{"a":"x","b":1}`, Options{Fields: Fields{Prompt: "a", Output: "b"}}, `log:1:6: a: want a number of tokens, got "x"`},
		{`{"t":1,"a":1,"b":1}` + "\n" + `{"t":"2024-01-01 00:00:00","a":1,"b":1}`, Options{Fields: Fields{Arrival: "t", Prompt: "a", Output: "b"}}, "log:2:6: t: the times are partly numbers and partly texts"},
		{"a,b,c\n1,1,1\n", Options{Fields: Fields{Prompt: "a", Output: "b", Hashes: "c"}}, "the prefix hashes of a CSV are not read"},
		{"a,b,c\n1,1,1\n", Options{Fields: Fields{Arrival: "c", Prompt: "a", Output: "b", Unit: Second}, TimeUnit: Millisecond}, "two units of time"},

		{"\xff\xfe\x00\x00a\x00\x00\x00", Options{}, "log: it is UTF-32: convert it to UTF-8, as with iconv"},
		{"PAR1abc", Options{}, "log: it is a Parquet file"},
		{"\x28\xb5\x2f\xfdabc", Options{}, "log: it is compressed with zstd"},
		{"PK\x03\x04abc", Options{}, "log: it is a ZIP archive"},
		{`{"architectures":["LlamaForCausalLM"],"head_dim":null}`, Options{}, "log: it is a model's config.json, and no log of requests: --model takes it"},
		{`{"input_config":{},"request_throughput":{}}`, Options{}, "log: it is a summary of a benchmark, without its requests"},
		{"model,isl,osl,ttft_ms\n", Options{}, "log: it is a table of runs"},
		{`[1,2]`, Options{}, "log: it begins like JSON, but there is no object with names"},
	} {
		_, _, err := read(filepath.Join(write(t, map[string]string{"log": tc.text}), "log"), tc.o)
		if !strings.HasPrefix(err, tc.want) {
			t.Errorf("%.80q:\n got %s\nwant %s", tc.text, err, tc.want)
		}
	}
}

// TestLongConversation checks the bound on the prefix hashes of a conversation, whose
// number grows with the square of the number of turns.
func TestLongConversation(t *testing.T) {
	turn := `{"from":"gpt","value":"` + strings.Repeat("x", 1024) + `"}` // 16 blocks
	text := `[{"conversations":[` + turn + strings.Repeat(","+turn, 999) + `]}]`
	_, _, err := read(filepath.Join(write(t, map[string]string{"log": text}), "log"), Options{})
	if want := "a conversation whose turns have more than 4194304 prefix hashes together"; !strings.Contains(err, want) {
		t.Errorf("%s, want %s", err, want)
	}
}

// TestTimes has valid dates and times, and the errors for invalid ones.
func TestTimes(t *testing.T) {
	for in, want := range map[string]string{
		"2024-05-10 00:00:00.5":              "1715299200500000000 false",
		"2024/05/10T00:00:00,25Z":            "1715299200250000000 true",
		"2024-05-10 00:00:00 UTC":            "1715299200000000000 true",
		"2024-05-10 02:00:00 +0200":          "1715299200000000000 true",
		"2024-05-09 18:15:00-05:45":          "1715299200000000000 true",
		"2024-05-10 00:00:00 CET":            `"2024-05-10 00:00:00 CET": "CET" names different zones in different places: write the zone as in +02:00`,
		"2024-05-10 01:00:00 PM":             `"2024-05-10 01:00:00 PM": a clock of 12 hours: write the hour as 0 to 23`,
		"10/05/2024 00:00:00":                `"10/05/2024 00:00:00" may have the day or the month first: write the year first`,
		"5.10.2024 00:00":                    `"5.10.2024 00:00" may have the day or the month first`,
		"2024-05-10 00:00:00+25:00":          `"2024-05-10 00:00:00+25:00": want a zone as in +02:00 behind the time, got "+25:00"`,
		"2024-05-10 00:00:00[Europe/Berlin]": `"2024-05-10 00:00:00[Europe/Berlin]": want a zone as in +02:00`,
		"Fri May 10 00:00:00 2024":           "want a date and time such as",
	} {
		ns, zoned, err := parseTimestamp(in)
		got := fmt.Sprint(ns, zoned)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	var c calendar
	if _, err := c.parse("2024-05-10 00:00:00Z", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.parse("2024-05-10 00:00:00", 2); err == nil || !strings.Contains(err.Error(), "has none, and the times above it have a zone") {
		t.Error(err)
	}
}
