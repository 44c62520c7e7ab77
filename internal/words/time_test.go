package words

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Millisecond: "10 ms", 2500 * time.Millisecond: "2.5 s", 90 * time.Second: "90 s", 2 * time.Hour: "7,200 s", 1500: "1.5 µs", 7: "7 ns",
	} {
		if got := Time(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
