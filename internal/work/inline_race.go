//go:build race

package work

// inlineCost is so small under the race detector that the small inputs of tests are shared by goroutines as well.
const inlineCost = 1
