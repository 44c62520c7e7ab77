//go:build !unix

package regular

// nonblock is 0 where opening a file cannot block.
const nonblock = 0
