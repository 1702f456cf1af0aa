package linux

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox/sandboxtest"
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

// unknown lists the server's children that the driver knows nothing of.
func unknown(d *Driver) (list []string) {
	d.strays.mu.Lock()
	defer d.strays.mu.Unlock()
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, field := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil && !d.strays.known[pid] {
				list = append(list, field)
			}
		}
	}
	return list
}

// TestLostFork: an interpreter dies between a fork and telling of it.
func TestLostFork(t *testing.T) {
	needRoot(t)
	p := newPython(t)
	d := newDriver(t, Options{DataDir: t.TempDir()})
	defer d.Close()
	spec := p.spec(t, light, nil)
	sandboxtest.AwaitReserve(t, d, spec.Runtime)
	eventually(t, "there is a zygote", func() bool { _, z := d.reserve.pids(); return len(z) > 0 })
	defer hold(t, d, spec)()
	d.reserve.mu.Lock()
	z := d.reserve.of(spec.Runtime).root().zygote
	d.reserve.mu.Unlock()
	near, far, err := socketToZygote()
	if err != nil {
		t.Fatal(err)
	}
	d.strays.begin()
	if _, _, err := z.sock.WriteMsgUnix([]byte(`{"op":"node"}`), unix.UnixRights(int(far.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is a fork", func() bool { return len(unknown(d)) > 0 })
	if err := unix.Kill(z.process.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, _ = near.Close(), far.Close()
	d.strays.end(true)
	d.reserve.poke()
	eventually(t, "the fork is reaped", func() bool { return len(unknown(d)) == 0 })
}
