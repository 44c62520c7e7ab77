package splitmix

import "testing"

// TestNext checks the first results for seed 1234567 of the generator's published C
// version (Vigna, splitmix64.c), which are widely used as test values.
func TestNext(t *testing.T) {
	state := uint64(1234567)
	for i, want := range []uint64{
		6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
	} {
		if got := Next(state); got != want {
			t.Errorf("result %d is %d, want %d", i, got, want)
		}
		state += Golden
	}
}
