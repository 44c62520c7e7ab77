//go:build linux

package ptx

import (
	"syscall"
	"time"
)

// ThreadTime returns the processor time used by this thread.
func ThreadTime() time.Duration {
	const rusageThread = 1 // RUSAGE_THREAD of getrusage(2)
	var u syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
