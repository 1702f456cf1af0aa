package linux

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Thaw lets the instance's processes go on. A runtime that was killed in its
// sleep, which in cgroup v1 happens only now, is waited for: the instance is done
// when Thaw returns, and nobody finds a dying one.
func (i *Instance) Thaw() error {
	doomed := killPending(i.process.pid)
	if err := i.group.freeze(false); err != nil {
		return err
	}
	i.session.Resume()
	if doomed {
		select {
		case <-i.done:
		case <-time.After(time.Second):
		}
	}
	return nil
}

// killPending tells whether SIGKILL waits for a process, or has ended it
// (proc_pid_status(5), SigPnd and ShdPnd).
func killPending(pid int) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return true
	}
	for _, name := range []string{"\nSigPnd:\t", "\nShdPnd:\t"} {
		_, rest, _ := strings.Cut(string(status), name)
		mask, _, _ := strings.Cut(rest, "\n")
		pending, err := strconv.ParseUint(mask, 16, 64)
		if err == nil && pending&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}
