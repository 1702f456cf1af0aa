package storetest

import (
	"bufio"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Victim is a test's binary that runs again as a process to be killed.
type Victim struct {
	Dir  string // that it works in
	Work string // what it does, in the test's own words
	// Point is where it kills itself, when it has passed there After times before; ""
	// leaves the moment to Live.
	Point string
	After int
}

const victimArg = "be-killed"

// AmVictim tells whether this process is one, for a TestMain to ask.
func AmVictim() (v Victim, yes bool) {
	if len(os.Args) != 6 || os.Args[1] != victimArg {
		return v, false
	}
	after, _ := strconv.Atoi(os.Args[5]) // written by Live
	return Victim{Dir: os.Args[2], Work: os.Args[3], Point: os.Args[4], After: after}, true
}

// Killer is the victim's [store.Options.Point].
func (v Victim) Killer() func(point string) {
	return func(point string) { // called by the one writer
		if point != v.Point {
			return
		}
		if v.After--; v.After < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal is there
		}
	}
}

// Live runs the victim until it is dead, by its own hand or because it has lived for the
// limit, and hands on what it says, until that is enough. A line that begins with "fault"
// is an error.
func (v Victim) Live(t *testing.T, limit time.Duration, said func(line string) (enough bool)) {
	t.Helper()
	cmd := exec.Command(os.Args[0], victimArg, v.Dir, v.Work, v.Point, strconv.Itoa(v.After))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer end.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "fault") {
			t.Errorf("the server says %q", lines.Text())
		}
		if said(lines.Text()) {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait() // killed, one way or the other
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the server ended with %v", cmd.ProcessState)
	}
}

// Span is how long to let the victim live: long enough to come to its point, or any time
// between the two.
func (v Victim) Span(least, most time.Duration) time.Duration {
	if v.Point != "" {
		return 20 * time.Second
	}
	return least + rand.N(most-least)
}
