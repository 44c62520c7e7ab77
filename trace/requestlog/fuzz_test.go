package requestlog

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
)

// inMemory opens a log that lies in memory.
func inMemory(data []byte, o Options) (*Log, error) {
	text, err := decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return newLog(&file{Reader: bufio.NewReaderSize(text, headSize), path: "no/such/folder/fuzz"}, "no/such/folder/fuzz", o)
}

// check reads a log to its end, or its first error, and sees that what it gives is
// what a trace may hold.
func check(t testing.TB, data []byte, o Options) {
	l, err := inMemory(data, o)
	if err != nil {
		return
	}
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
	fuzz(f, Options{}, azure2023, azure2024, burst1, burst3, vidur, vidurLengths, moonLines, vllm, traceV2CSV, traceV2YAML)
}
func FuzzAzure(f *testing.F)    { fuzz(f, Options{Format: "azure"}, azure2023, azure2024) }
func FuzzBurstGPT(f *testing.F) { fuzz(f, Options{Format: "burstgpt"}, burst1, burst3) }
func FuzzVidur(f *testing.F)    { fuzz(f, Options{Format: "vidur"}, vidur, vidurLengths) }
func FuzzMooncake(f *testing.F) { fuzz(f, Options{Format: "mooncake"}, moonLines) }
func FuzzVLLM(f *testing.F)     { fuzz(f, Options{Format: "vllm"}, vllm) }
func FuzzTraceV2(f *testing.F)  { fuzz(f, Options{Format: "tracev2"}, traceV2CSV) }
func FuzzPlain(f *testing.F) {
	fuzz(f, Options{Columns: Columns{"ts", "in", "out", "who"}}, "ts,in,out,who\n1.5e3,2,3,a\n", "ts;in;out;who\n2024-01-01 00:00:00;2;3;a\n")
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
