package requestlog

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
)

// inMemory opens a log that is in memory.
func inMemory(data []byte, o Options) (*Log, error) {
	text, err := decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return newLog(&file{Reader: bufio.NewReaderSize(text, headSize), path: "no/such/folder/fuzz"}, "no/such/folder/fuzz", o)
}

// check reads a log to its end, or its first error, and checks that its requests are
// valid in a trace.
func check(t testing.TB, data []byte, o Options) {
	l, err := inMemory(data, o)
	if err != nil {
		return
	}
	defer l.Close()
	previous := int64(0)
	given := 0
	for r, err := range l.Requests() {
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || e.File == "" || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		if r.ArrivalNS < previous {
			t.Fatalf("%d after %d", r.ArrivalNS, previous)
		}
		previous = r.ArrivalNS
		given++
	}
	if s := l.Stats; s.Rows != given+s.Empty+s.Failed {
		t.Fatalf("%d given of %+v", given, s)
	}
}

// fuzz feeds logs of one format.
func fuzz(f *testing.F, o Options, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
		f.Add([]byte(s[:len(s)-len(s)/3]))
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, data, o) })
}

func FuzzAny(f *testing.F) {
	fuzz(f, Options{}, azure2023, azure2024, burst1, burst3, vidur, vidurLengths, moonLines, vllm, traceV2CSV, traceV2YAML,
		guide2, guide5, genai, aiperf, batchIn, batchOut, shareGPT, lmsys, servingLines, servingTSV, bailian, moonTurns, jsonLines, utf16(azure2023, false, "\ufeff"), utf16(moonLines, true, ""))
}
func FuzzAzure(f *testing.F)    { fuzz(f, Options{Format: "azure"}, azure2023, azure2024) }
func FuzzBurstGPT(f *testing.F) { fuzz(f, Options{Format: "burstgpt"}, burst1, burst3) }
func FuzzVidur(f *testing.F)    { fuzz(f, Options{Format: "vidur"}, vidur, vidurLengths) }
func FuzzMooncake(f *testing.F) { fuzz(f, Options{Format: "mooncake"}, moonLines, moonTurns) }
func FuzzBailian(f *testing.F)  { fuzz(f, Options{Format: "bailian"}, bailian) }
func FuzzGuideLLM(f *testing.F) { fuzz(f, Options{Format: "guidellm", Run: 1}, guide2, guide5) }
func FuzzGenAIPerf(f *testing.F) {
	fuzz(f, Options{Format: "genai-perf", PromptTokens: 1, OutputTokens: 1}, genai)
}
func FuzzAIPerf(f *testing.F)   { fuzz(f, Options{Format: "aiperf"}, aiperf) }
func FuzzBatch(f *testing.F)    { fuzz(f, Options{Format: "openai-batch"}, batchIn, batchOut) }
func FuzzShareGPT(f *testing.F) { fuzz(f, Options{Format: "sharegpt"}, shareGPT, lmsys) }
func FuzzTokenized(f *testing.F) {
	fuzz(f, Options{Format: "sharegpt", Tokenizer: letters{}}, shareGPT, lmsys)
}
func FuzzServingSim(f *testing.F) { fuzz(f, Options{Format: "llmservingsim"}, servingLines) }
func FuzzFields(f *testing.F) {
	fuzz(f, Options{Fields: Fields{Arrival: "ts", Prompt: "usage.in", Output: "usage.out", Session: "user", Hashes: "blocks"}, PrefixBlockTokens: 4}, jsonLines, jsonArray)
}
func FuzzTurns(f *testing.F)   { fuzz(f, Options{Format: "mooncake", Retimed: true}, moonTurns) }
func FuzzVLLM(f *testing.F)    { fuzz(f, Options{Format: "vllm"}, vllm) }
func FuzzTraceV2(f *testing.F) { fuzz(f, Options{Format: "tracev2"}, traceV2CSV) }
func FuzzPlain(f *testing.F) {
	fuzz(f, Options{Fields: Fields{Arrival: "ts", Prompt: "in", Output: "out", Session: "who"}}, "ts,in,out,who\n1.5e3,2,3,a\n", "ts;in;out;who\n2024-01-01 00:00:00;2;3;a\n")
}

func FuzzTraceV2Header(f *testing.F) {
	f.Add([]byte(traceV2YAML))
	f.Add([]byte("a: &a [*a]\ntrace_version: !!int 2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		l := new(Log)
		_ = l.readHeader(text)
	})
}
