//go:build !unix

package regular

// nonblock is for systems on which a path can name a pipe.
const nonblock = 0
