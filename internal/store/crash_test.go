package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/store"
)

// The crash test runs this binary again as the server that is killed.
const (
	childDir   = "STORE_TEST_DIR"   // data directory; set in the child
	childPoint = "STORE_TEST_POINT" // where it kills itself, or ""
	childAfter = "STORE_TEST_AFTER" // ... at which time it passes there
	childWork  = "STORE_TEST_WORK"  // what it does: "jobs", or records
)

const crashWriters = 4

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		crashingChild(dir)
		os.Exit(1) // it never ends by itself
	}
	goleak.VerifyTestMain(runner{m})
}

// runner stops what the tests share before leaks are looked for.
type runner struct{ m *testing.M }

func (r runner) Run() int {
	status := r.m.Run()
	if postgres.server == nil {
		return status
	}
	if err := postgres.server.Close(); err != nil {
		fmt.Println("stop PostgreSQL:", err)
		return 1
	}
	return status
}

// crashingChild writes without end. Each writer goes through rounds 1, 2, ...,
// and each round is one batch over two keys. It prints what was acknowledged.
func crashingChild(dir string) {
	s, err := store.OpenSQLite(context.Background(), store.Options{Dir: dir, Point: killer()})
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	if os.Getenv(childWork) == "jobs" {
		crashingQueue(s)
		return
	}
	var all sync.WaitGroup
	var mu sync.Mutex // keeps the lines whole
	for w := range crashWriters {
		all.Go(func() {
			round := 0
			if r, err := s.Get(context.Background(), fmt.Sprintf("left/%d", w)); err == nil {
				round, _ = strconv.Atoi(string(r.Value))
			}
			for {
				round++
				value := strconv.Itoa(round)
				ops := []store.Op{put(fmt.Sprintf("left/%d", w), value), put(fmt.Sprintf("right/%d", w), value),
					put(fmt.Sprintf("round/%d/%d", w, round), value), {Key: fmt.Sprintf("round/%d/%d", w, round-2), Delete: true}}
				_, err := s.Commit(context.Background(), ops...)
				mu.Lock()
				if err != nil {
					fmt.Println("fault", err)
				} else {
					fmt.Println("ack", w, round)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

func killer() func(string) {
	point := os.Getenv(childPoint)
	left, _ := strconv.Atoi(os.Getenv(childAfter))
	return func(name string) { // called by the one writer
		if name != point {
			return
		}
		if left--; left < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal is there
		}
	}
}

// A server is killed at named points and at any moment, again and again over the
// same data. What was acknowledged is there, and no batch is there by half.
func TestKilledServerLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	dir := t.TempDir()
	acked := make([]int, crashWriters)
	for i := range 40 {
		point := []string{"store.before-commit", "store.after-commit", "", ""}[i%4]
		life(t, dir, point, rand.IntN(20), acked)
		examine(t, dir, acked)
	}
	if acked[0] == 0 {
		t.Error("nothing was ever acknowledged")
	}
}

// life runs one child until it is dead, and notes what it acknowledged.
func life(t *testing.T, dir, point string, after int, acked []int) {
	t.Helper()
	live(t, []string{childDir + "=" + dir, childPoint + "=" + point, childAfter + "=" + strconv.Itoa(after)}, func(line string) {
		var w, round int
		if n, _ := fmt.Sscanf(line, "ack %d %d", &w, &round); n == 2 {
			acked[w] = max(acked[w], round)
		}
	})
}

// live runs a child with the environment env until it is dead, and hands on what
// it says.
func live(t *testing.T, env []string, said func(line string)) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	limit := 10 * time.Second // a child with a point ends itself well before
	if slices.Contains(env, childPoint+"=") {
		limit = 15*time.Millisecond + rand.N(40*time.Millisecond)
	}
	end := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer end.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "fault") {
			t.Errorf("the server says %q", lines.Text())
		}
		said(lines.Text())
	}
	_ = cmd.Wait() // killed, one way or the other
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the server ended with %v", cmd.ProcessState)
	}
}

func examine(t *testing.T, dir string, acked []int) {
	t.Helper()
	s := openSQLite(t, dir)
	defer closeStore(t, s)
	state := map[string]string{}
	for r, err := range s.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		state[r.Key] = string(r.Value)
	}
	for w, round := range acked {
		left, right := state[fmt.Sprintf("left/%d", w)], state[fmt.Sprintf("right/%d", w)]
		have, _ := strconv.Atoi(left)
		if left != right || have < round {
			t.Errorf("writer %d has %q and %q, and %d was acknowledged", w, left, right, round)
		}
		if _, gone := state[fmt.Sprintf("round/%d/%d", w, have-2)]; have > 0 && (state[fmt.Sprintf("round/%d/%d", w, have)] != left || gone) {
			t.Errorf("writer %d has half of round %d", w, have)
		}
	}
}
