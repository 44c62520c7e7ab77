// Package splitmix has the mixing functions of SplitMix64 (Steele, Lea and Flood, "Fast
// splittable pseudorandom number generators", OOPSLA 2014), for hashes and random numbers
// that are the same on every machine.
package splitmix

// Golden is the step of SplitMix64's counter: 2⁶⁴ over the golden ratio, made odd.
const Golden = 0x9e3779b97f4a7c15

// Mix is SplitMix64's finalizer with the constants of David Stafford's variant 13: a bijection in which every
// bit of x changes each bit of the result with a probability of about one half. Mix(0) is 0.
func Mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Next returns SplitMix64's output in state x: Mix of the next counter value.
func Next(x uint64) uint64 { return Mix(x + Golden) }
