package linux

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"time"
)

// monitorSlack is how late the timers may be of the thread by which Go's scheduler
// looks after its others. It looks around every 20 µs while anything runs, which is a
// wake and two switches for each call of a small handler; so it looks once in several.
// Until then a goroutine in a system call that takes long keeps its processor, where
// the function has one and no more.
const monitorSlack = 5 * time.Millisecond

// goNote ends the head of the note that Go's linker puts into a program's first page,
// its build id: the type, which is 4, and the owner's name (cmd/internal/buildid).
var goNote = []byte("\x04\x00\x00\x00Go\x00\x00")

// relaxMonitor sets the slack of that thread, if pid runs a Go program. It is a saving
// and no more: where the kernel has none of this, nothing is lost.
func relaxMonitor(pid int) {
	if thread := goMonitor("/proc/" + strconv.Itoa(pid)); thread != "" {
		_ = os.WriteFile("/proc/"+thread+"/timerslack_ns", []byte(strconv.FormatInt(monitorSlack.Nanoseconds(), 10)), 0)
	}
}

// goMonitor is the id of the monitor thread of the process at proc, "" where there is
// none: Go's runtime starts it before any other, and it never ends.
func goMonitor(proc string) (thread string) {
	program, err := os.Open(proc + "/exe")
	if err != nil {
		return ""
	}
	defer func() { _ = program.Close() }()
	page := make([]byte, os.Getpagesize())
	n, _ := io.ReadFull(program, page) // a shorter one has no note
	if !bytes.Contains(page[:n], goNote) {
		return ""
	}
	dir, err := os.Open(proc + "/task")
	if err != nil {
		return ""
	}
	defer func() { _ = dir.Close() }()
	threads, _ := dir.Readdirnames(2) // the first two, in the order in which they were made
	if len(threads) != 2 {
		return ""
	}
	return threads[1]
}
