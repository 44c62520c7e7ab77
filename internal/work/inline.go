//go:build !race

package work

// inlineCost is the cost of work, in multiplications, below which a second goroutine takes more time than it saves.
const inlineCost = 1 << 16
