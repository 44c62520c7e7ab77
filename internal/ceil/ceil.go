// Package ceil rounds quotients of integers up.
package ceil

// Div returns ⌈a/b⌉ for a ≥ 0 and b > 0. a + b − 1 must not overflow.
func Div[T int | int64 | uint64](a, b T) T { return (a + b - 1) / b }
