//go:build unix

package mutate

import (
	"os/exec"
	"syscall"
)

// endTogether puts a command in a process group of its own, so its children are killed with it.
func endTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
