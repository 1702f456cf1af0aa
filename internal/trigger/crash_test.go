package trigger

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
)

// The crash test runs this binary again as the server that is killed.
func TestMain(m *testing.M) {
	if v, yes := storetest.AmVictim(); yes {
		victim(v)
		os.Exit(1) // it never ends by itself
	}
	goleak.VerifyTestMain(m)
}

// victim calls what is due until it is killed.
func victim(v storetest.Victim) {
	db, err := store.OpenSQLite(context.Background(), store.Options{Dir: v.Dir, Point: v.Killer()})
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	queue := async.New(async.Options{Jobs: db, Catalog: shelf{}, Region: region})
	r, err := Open(context.Background(), Options{Records: db, Queue: queue, Region: region, Alone: true, Point: v.Killer()})
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	fmt.Println("open")
	fmt.Println("fault", r.Run(context.Background()))
}

// A server is killed at named points and at any moment while schedules come due.
// Each has called once.
func TestKilledServerCallsOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	const seconds, each = 4, 8
	dir := t.TempDir()
	begin := time.Now().Add(time.Second).Truncate(time.Second)
	withRoom(t, dir, func(r *Room, _ store.Store) {
		for i := range seconds * each {
			at := begin.Add(time.Duration(i/each) * time.Second).UTC()
			s := lambent.Schedule{
				Namespace: ns, Name: "s" + strconv.Itoa(i), Expression: at.Format("at(2006-01-02T15:04:05)"),
				Target: target("f"), Input: strconv.Itoa(i), DeleteAfter: i%2 == 0,
			}
			if _, err := r.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	})
	lives := 0
	for ; time.Now().Before(begin.Add(seconds * time.Second)); lives++ {
		v := storetest.Victim{Dir: dir, Point: []string{"trigger.handed", "store.before-commit", "store.after-commit", ""}[lives%4]}
		v.Live(t, min(v.Span(100*time.Millisecond, time.Second), 1500*time.Millisecond), func(string) bool { return false })
	}
	called := map[string]int{}
	withRoom(t, dir, func(r *Room, db store.Store) {
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		var work sync.WaitGroup
		work.Go(func() { _ = r.Run(ctx) })
		for ctx.Err() == nil && r.pending() > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		work.Wait()
		for j, err := range db.FindJobs(t.Context(), store.JobQuery{Limit: 1 << 20}) {
			if err != nil {
				t.Fatal(err)
			}
			whole, err := db.Job(t.Context(), j.ID)
			if err != nil {
				t.Fatal(err)
			}
			_, payload, _ := strings.Cut(string(whole.Body), "\n")
			called[payload]++
		}
		if left := len(r.Schedules(ns, "", "")); left != seconds*each/2 {
			t.Errorf("%d schedules are left, want %d", left, seconds*each/2)
		}
	})
	for i := range seconds * each {
		if n := called[strconv.Itoa(i)]; n != 1 {
			t.Errorf("schedule %d has called %d times", i, n)
		}
	}
	t.Logf("killed %d times", lives)
}

// pending is how many schedules have a time to come, or are being called.
func (r *Room) pending() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.of {
		if e.firing || e.place >= 0 {
			n++
		}
	}
	return n
}

// withRoom opens a room that does not run.
func withRoom(t *testing.T, dir string, use func(r *Room, db store.Store)) {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), Options{Records: db, Queue: async.New(async.Options{Jobs: db, Catalog: shelf{}, Region: region}), Region: region})
	if err == nil {
		use(r, db)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
