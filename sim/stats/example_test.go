package stats_test

import (
	"fmt"

	"kvcompress/sim/stats"
)

// Latencies of 1 ms to 1,000 ms, each once.
func ExampleSketch() {
	var s stats.Sketch
	for ms := range int64(1000) {
		s.Add((ms+1)*1e6, 1)
	}
	l := s.Latency()
	fmt.Println(l.Count, "times, mean", l.Mean, "s, P50", l.P50, "s, P99", l.P99, "s")
	fmt.Println("exact:", s.Exact())
	// Output:
	// 1000 times, mean 0.5005 s, P50 0.5 s, P99 0.99 s
	// exact: true
}
