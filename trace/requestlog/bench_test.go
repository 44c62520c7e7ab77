package requestlog

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkRequests reads rows of each format.
func BenchmarkRequests(b *testing.B) {
	const rows = 20_000
	repeat := func(header string, row func(i int) string) []byte {
		var text strings.Builder
		text.WriteString(header)
		for i := range rows {
			text.WriteString(row(i))
		}
		return []byte(text.String())
	}
	hashes := strings.Trim(strings.Repeat("12345, ", 20), ", ")
	for _, bc := range []struct {
		name string
		data []byte
	}{
		{"azure", repeat("TIMESTAMP,ContextTokens,GeneratedTokens\n", func(i int) string {
			return fmt.Sprintf("2024-05-10 %02d:%02d:%02d.009930+00:00,2162,5\n", i/3600, i/60%60, i%60)
		})},
		{"burstgpt", repeat("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n", func(i int) string {
			return fmt.Sprintf("%d,ChatGPT,472,18,490,Conversation log\n", i)
		})},
		{"mooncake", repeat("", func(i int) string {
			return fmt.Sprintf(`{"timestamp": %d, "input_length": 10240, "output_length": 500, "hash_ids": [%s]}`+"\n", i, hashes)
		})},
		{"tracev2", repeat(traceV2CSV[:strings.Index(traceV2CSV, "\n")+1], func(i int) string {
			return fmt.Sprintf("%d,c1,t1,standard,s1,0,g,64,true,10,5,10,0,0,0,0.0,,0,14,%d,1000,5000,10000,5,ok,,stop\n", i, i)
		})},
		{"bailian", repeat("", func(i int) string {
			return fmt.Sprintf(`{"chat_id": %d, "parent_chat_id": -1, "timestamp": %d, "input_length": 320, "output_length": 500, "type": "text", "turn": 1, "hash_ids": [%s]}`+"\n", i, i, hashes)
		})},
		{"sharegpt", repeat("", func(i int) string {
			return fmt.Sprintf(`{"id": "c%d", "conversations": [{"from": "human", "value": "%s"}, {"from": "gpt", "value": "%[2]s"}]}`+"\n", i, strings.Repeat("word ", 40))
		})},
		{"vllm", fmt.Appendf(nil, `{"input_lens": [%s1], "itls": [%s[]], "output_lens": [%[1]s1], "start_times": [%[1]s1]}`,
			strings.Repeat("1, ", rows-1), strings.Repeat("[0.012345678, 0.012345678, 0.012345678, 0.012345678], ", rows-1))},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(int64(len(bc.data)))
			b.ReportAllocs()
			for b.Loop() {
				l, err := inMemory(bc.data, Options{})
				if err != nil {
					b.Fatal(err)
				}
				for _, err := range l.Requests() {
					if err != nil {
						b.Fatal(err)
					}
				}
				if l.Stats.Rows != rows {
					b.Fatal(l.Stats)
				}
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
