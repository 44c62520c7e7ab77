package requestlog

import "testing"

const (
	jsonLines = `{"ts": 1.5, "usage": {"in": 10, "out": "20"}, "user": 7, "note": {"in": [1, {"x": "]"}]}}` + "\n" +
		`{"usage": {"out": 2, "in": 1}, "ts": 2, "user": null}`
	jsonArray = `[{"at": "2024-05-10T00:00:00+02:00", "in": 5, "out": 6, "blocks": [1, 2]},
 {"at": "2024-05-10 00:00:01.5+02:00", "in": 5, "out": 6, "blocks": null}]`
)

func TestFields(t *testing.T) {
	usage := Fields{Arrival: "ts", Prompt: "usage.in", Output: "usage.out", Session: "user"}
	milli := usage
	milli.Unit = Millisecond
	for _, tc := range []formatCase{
		{name: "JSON lines", text: jsonLines, o: Options{Fields: usage},
			want: []string{"0@1500000000 10+20 7", "1@2000000000 1+2"},
			log:  Log{Format: Format{Name: "jsonl"}, Timed: true, Stats: Stats{Rows: 2, FirstNS: 1500000000}}},
		{name: "milliseconds", text: jsonLines, o: Options{Fields: milli},
			want: []string{"0@1500000 10+20 7", "1@2000000 1+2"},
			log:  Log{Format: Format{Name: "jsonl"}, Timed: true, Stats: Stats{Rows: 2, FirstNS: 1500000}}},
		{name: "no arrivals, and outputs of one length", text: jsonLines, o: Options{Fields: Fields{Prompt: "usage.in"}, OutputTokens: 9},
			want:  []string{"0@0 10+9", "1@0 1+9"},
			log:   Log{Format: Format{Name: "jsonl"}, Stats: Stats{Rows: 2, Assumed: 2}},
			notes: []string{"in 2 of 2 rows, the log has no length"}},
		{name: "an array, dates and hashes", text: jsonArray, o: Options{Fields: Fields{Arrival: "at", Prompt: "in", Output: "out", Hashes: "blocks"}, PrefixBlockTokens: 3},
			want: []string{"0@1715292000000000000 5+6 [1 2]", "1@1715292001500000000 5+6"},
			log:  Log{Format: Format{Name: "jsonl"}, Timed: true, Calendar: true, PrefixBlockTokens: 3, Stats: Stats{Rows: 2, FirstNS: 1715292000000000000}}},
		{name: "a CSV in UTF-16, little-endian", text: utf16(azure2023, false, "\ufeff\ufeff"),
			want: []string{"0@1700158623979960000 4808+10", "1@1700158624031960000 3180+8"},
			log:  Log{Format: Format{Name: "azure"}, Timed: true, Calendar: true, Stats: Stats{Rows: 2, FirstNS: 1700158623979960000}}},
		{name: "a CSV in UTF-16, big-endian", text: utf16(azure2023, true, "\ufeff"),
			want: []string{"0@1700158623979960000 4808+10", "1@1700158624031960000 3180+8"},
			log:  Log{Format: Format{Name: "azure"}, Timed: true, Calendar: true, Stats: Stats{Rows: 2, FirstNS: 1700158623979960000}}},
		{name: "JSON in UTF-16 without a mark", text: utf16(`{"timestamp":5,"input_length":9,"output_length":1,"x":"€😀"}`, false, ""),
			want: []string{"0@5000000 9+1"},
			log:  Log{Format: Format{Name: "mooncake"}, Timed: true, PrefixBlockTokens: 512, Stats: Stats{Rows: 1, FirstNS: 5000000}}},
		{name: "clocks that are put back", text: "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-10-27 02:59:00,1,1\n2024-10-27 02:00:00,2,2\n",
			want:  []string{"1@1729994400000000000 2+2", "0@1729997940000000000 1+1"},
			log:   Log{Format: Format{Name: "azure"}, Timed: true, Calendar: true, Stats: Stats{Rows: 2, Reordered: 1, FirstNS: 1729994400000000000}},
			notes: []string{"line 3 is 59m0s before the one above it, and the times have no zone"}},
		{name: "measured", text: "request_id,arrival_s,input_tokens,output_tokens,measured_ttft_ms\na,0.25,20,5,1.5\n",
			want: []string{"0@250000000 20+5"},
			log:  Log{Format: Format{Name: "measured"}, Timed: true, Stats: Stats{Rows: 1, FirstNS: 250000000}}},
		{name: "tracev2 by arrival", text: "arrival_time_us,send_time_us,input_tokens,output_tokens\n7,9,5,6\n", o: Options{Fields: Fields{Arrival: "arrival_time_us"}},
			want: []string{"0@7000 5+6"}, log: Log{Format: Format{Name: "tracev2"}, Timed: true, Stats: Stats{Rows: 1, FirstNS: 7000}}},
		{name: "tracev2, one that was not sent", text: "arrival_time_us,send_time_us,input_tokens,output_tokens\n7,9,5,6\n20,0,7,8\n",
			want:  []string{"0@9000 5+6", "1@20000 7+8"},
			log:   Log{Format: Format{Name: "tracev2"}, Timed: true, Stats: Stats{Rows: 2, FirstNS: 9000}},
			notes: []string{"requests arrive at send_time_us"}},
	} {
		t.Run(tc.name, tc.run)
	}
}

// utf16 encodes a text as UTF-16 after a byte order mark.
func utf16(s string, big bool, mark string) string {
	var out []byte
	unit := func(u rune) {
		if big {
			out = append(out, byte(u>>8), byte(u))
		} else {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	for _, r := range mark + s {
		if r >= 0x10000 {
			r -= 0x10000
			unit(0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		unit(r)
	}
	return string(out)
}
