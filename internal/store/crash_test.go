package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
)

const (
	crashWriters = 4
	workJobs     = "jobs" // of a victim; else it writes records
)

func TestMain(m *testing.M) {
	if v, yes := storetest.AmVictim(); yes {
		crashingChild(v)
		os.Exit(1) // it never ends by itself
	}
	goleak.VerifyTestMain(runner{m})
}

// runner stops what the tests share before leaks are looked for.
type runner struct{ m *testing.M }

func (r runner) Run() int {
	status := r.m.Run()
	if shared.server == nil {
		return status
	}
	if err := shared.server.Close(); err != nil {
		fmt.Println("stop PostgreSQL:", err)
		return 1
	}
	return status
}

// crashingChild writes without end. Each writer goes through rounds 1, 2, ...,
// and each round is one batch over two keys. It prints what was acknowledged.
func crashingChild(v storetest.Victim) {
	s, err := store.OpenSQLite(context.Background(), store.Options{Dir: v.Dir, Point: v.Killer()})
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	if v.Work == workJobs {
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
		v := storetest.Victim{Dir: dir, Point: point, After: rand.IntN(20)}
		v.Live(t, v.Span(15*time.Millisecond, 55*time.Millisecond), func(line string) bool {
			var w, round int
			if n, _ := fmt.Sscanf(line, "ack %d %d", &w, &round); n == 2 {
				acked[w] = max(acked[w], round)
			}
			return false
		})
		examine(t, dir, acked)
	}
	if acked[0] == 0 {
		t.Error("nothing was ever acknowledged")
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
