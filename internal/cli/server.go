package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/server"
)

// runServer runs a server until ctx ends. ready is called once it answers.
func (a *app) runServer(ctx context.Context, c config.Config, log *slog.Logger, ready func(server.Addresses)) error {
	var rush func(on bool)
	if a.getenv("GOMAXPROCS") == "" {
		rush = takeProcessors()
	}
	if a.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	relaxTimers()
	s, err := server.New(ctx, c, log, server.Hooks{
		Ready: ready, Point: crashAt(a.getenv("LAMBENT_CRASH_AT")), Sockets: inherited(a.getenv(socketsKey)), Rush: rush,
	})
	if err != nil {
		return err
	}
	ctx, stop := a.replaceable(ctx, log)
	defer stop()
	err = s.Run(ctx)
	if !errors.Is(context.Cause(ctx), server.ErrReplaced) {
		return errors.Join(err, s.Close())
	}
	sockets := s.Sockets()
	if err := errors.Join(err, s.Close()); err != nil {
		log.Error("stop the server that is replaced", "err", err)
	}
	return a.become(sockets, log)
}

// serverProcessors is how many processors the server uses of n. The functions
// that it calls need the others, and on a small host a server with a processor to
// spare wakes it for every step of an invocation: with two, a warm call's median
// was 323 us on both and 257 us on one, with a tenth less of processor time.
func serverProcessors(n int) int { return max(1, n/2) }

// takeProcessors leaves the server its part of the processors, and returns what gives
// it all of them and takes them back. With a crowd of cold starts the server has most to
// do before the first of them runs, and one that waits for the kernel holds up the
// others: the last of 50 answered after 50 ms on both of two processors and 65 ms on one.
func takeProcessors() (rush func(on bool)) {
	all := runtime.GOMAXPROCS(0)
	usual := serverProcessors(all)
	runtime.GOMAXPROCS(usual)
	if usual == all {
		return nil
	}
	return func(on bool) {
		if on {
			runtime.GOMAXPROCS(all)
		} else {
			runtime.GOMAXPROCS(usual)
		}
	}
}

// gcPercent is how much garbage there may be for what is in use: that is little,
// 6 MB for an idle server and 25 MB with 10,000 functions, and at Go's 100 a tenth
// of the processor time of an invocation is spent on looking for garbage.
const gcPercent = 300

// timerSlack is how late the server's timers may be. Go's scheduler has a thread
// that looks every 20 µs whether a system call takes long, and then has another
// thread go on; with the kernel's slack of 50 µs it does so for calls that are over
// in a moment. None of the server's own timers is that exact.
const timerSlack = 200 * time.Microsecond

// relaxTimers sets the slack of all threads, and so of those that they make. It
// is a saving and no more: where the kernel has none of this, nothing is lost.
func relaxTimers() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		_ = os.WriteFile("/proc/"+t.Name()+"/timerslack_ns", []byte(strconv.FormatInt(timerSlack.Nanoseconds(), 10)), 0)
	}
}

// crashAt makes the hook of crash tests: "store.after-commit:3" ends the process
// with SIGKILL at the third passage of that point. Anything else is no hook.
func crashAt(where string) func(string) {
	name, count, ok := strings.Cut(where, ":")
	n, err := strconv.Atoi(count)
	if !ok || err != nil {
		return nil
	}
	var left atomic.Int64
	left.Store(int64(n))
	return func(point string) {
		if point == name && left.Add(-1) == 0 {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
}
