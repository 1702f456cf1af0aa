package linux

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStrays: a child that nobody waits for is reaped, however late somebody comes to
// look, and looked for as long as it lives.
func TestStrays(t *testing.T) {
	s := &strays{known: map[int]bool{}}
	if s.sweep("/", time.Now()) {
		t.Fatal("there may be strays of no fork")
	}
	// child starts one that nobody waits for.
	child := func(session bool) (pid int) {
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid = cmd.Process.Pid
		if err := cmd.Process.Release(); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	pid, other := child(true), child(false)
	defer func() {
		_ = unix.Kill(other, unix.SIGKILL)
		if got, err := syscall.Wait4(other, nil, 0, nil); got != other {
			t.Errorf("somebody else's child was reaped: %v", err)
		}
	}()
	reaped := func() bool {
		_, err := syscall.Wait4(pid, nil, unix.WNOHANG, nil)
		return errors.Is(err, unix.ECHILD)
	}
	s.begin()
	if s.end(true); !s.sweep("/", time.Now()) {
		t.Error("a fork that failed has no strays")
	}
	late := time.Now().Add(time.Hour)
	if s.begin(); !s.sweep("/", late) {
		t.Error("it is forgotten because of another fork")
	}
	s.end(false)
	if !s.sweep("/", late) {
		t.Error("it is forgotten while it lives")
	}
	for _, pid := range []int{pid, other} {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(10 * time.Second); s.sweep("/", late); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is looked for still")
		}
	}
	if !reaped() {
		t.Error("it is a zombie")
	}
}
