package linux

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// TestGoMonitor: it is the thread of this program on which none of its goroutines runs.
func TestGoMonitor(t *testing.T) {
	found := goMonitor("/proc/self")
	monitor, err := strconv.Atoi(found)
	if err != nil || monitor == os.Getpid() {
		t.Fatalf("monitor is %q of process %d", found, os.Getpid())
	}
	const most = 20
	tids, end := make(chan int, most), make(chan struct{})
	defer close(end)
	for range most { // each on a thread of its own, and all there are
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			tids <- unix.Gettid()
			<-end
		}()
	}
	for range most {
		if tid := <-tids; tid == monitor {
			t.Errorf("a goroutine runs on %d", tid)
		}
	}
	if got := goMonitor("/proc/" + found); got != found {
		t.Errorf("of the thread itself: %q", got)
	}
}

// TestMonitorSlack: a small Go function's monitor may be late and nothing else of it; a
// larger one, and what is no Go program, has the kernel's slack.
func TestMonitorSlack(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	defer func() { _ = d.Close() }()
	code := sandboxtest.Probe(t)
	for memory, want := range map[int][]string{512: {"1000000", "5000000"}, 1769: {"1000000", "5000000"}, 3538: {"50000", "50000"}} {
		spec := sandboxtest.Spec("monitor-"+strconv.Itoa(memory), code, &sandboxtest.Lines{})
		spec.Version.MemoryMB = memory
		i := sandboxtest.Start(t, d, spec)
		pid := strconv.Itoa(onlyProcess(d))
		if got := []string{slackOf(t, pid), slackOf(t, goMonitor("/proc/"+pid))}; !slices.Equal(got, want) {
			t.Errorf("%d MB: timers of the first thread and of the monitor may be %v ns late, want %v", memory, got, want)
		}
		if err := i.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// onlyProcess is the process of the only instance.
func onlyProcess(d *Driver) int {
	d.strays.mu.Lock()
	defer d.strays.mu.Unlock()
	return slices.Collect(maps.Keys(d.strays.known))[0]
}

// slackOf is how late a thread's timers may be, in nanoseconds.
func slackOf(t *testing.T, thread string) string {
	t.Helper()
	slack, err := os.ReadFile("/proc/" + thread + "/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(slack))
}

func TestNoMonitor(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	if got := goMonitor("/proc/" + strconv.Itoa(cmd.Process.Pid)); got != "" {
		t.Errorf("sleep(1) has a monitor, %s", got)
	}
	if got := goMonitor(t.TempDir()); got != "" {
		t.Errorf("no process has a monitor, %s", got)
	}
}

func BenchmarkRelaxMonitor(b *testing.B) {
	pid := os.Getpid()
	for b.Loop() {
		relaxMonitor(pid)
	}
}
