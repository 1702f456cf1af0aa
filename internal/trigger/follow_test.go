package trigger

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
	"lambent.dev/lambent/internal/store/storetest/postgres"
)

// beside starts another server on r's store, whose catalog knows the functions that
// known tells. Both end with the test.
func (r *rig) beside(known async.Catalog) *rig {
	other := &rig{t: r.t, store: r.store, records: r.store, shared: true, metrics: r.metrics}
	other.queue = async.New(async.Options{Jobs: r.store, Catalog: known, Region: region})
	other.start()
	return other
}

// bare is a catalog without functions.
type bare struct{ shelf }

func (bare) Get(_, function, _ string) (catalog.Entry, error) {
	return catalog.Entry{}, lambent.Errorf(lambent.CodeNotFound, "Function not found: %s", function)
}

func TestServersFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.end()
		r.shared = true
		r.start()
		defer func() { r.end() }()
		other := r.beside(shelf{})
		defer func() { other.end() }()
		if _, err := r.CreateGroup(t.Context(), lambent.ScheduleGroup{Namespace: ns, Name: "g"}); err != nil {
			t.Fatal(err)
		}
		r.make("a", "rate(1 minute)", func(s *lambent.Schedule) { s.Input = `"<aws.scheduler.scheduled-time>"` })
		r.make("b", "at(2001-01-01T00:00:00)", func(s *lambent.Schedule) { s.Group = "g" })
		r.make("once", "at(2000-01-01T00:02:30)", func(s *lambent.Schedule) { s.Input, s.DeleteAfter = `"once"`, true })
		if all := other.Schedules(ns, "", ""); len(all) != 3 {
			t.Fatalf("the other server knows %v", all)
		}
		if err := other.DeleteGroup(t.Context(), ns, "g"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := r.Group(ns, "g"); lambent.CodeOf(err) != lambent.CodeNotFound || len(r.Schedules(ns, "g", "")) != 0 {
			t.Errorf("the group that was deleted elsewhere: %v", err)
		}
		if err := r.Delete(t.Context(), ns, "", "b"); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("a schedule that was deleted elsewhere: %v", err)
		}
		time.Sleep(3*time.Minute + time.Second)
		synctest.Wait()
		r.want(r.calls(), `"2000-01-01T00:00:00Z"`, `"2000-01-01T00:01:00Z"`, `"2000-01-01T00:02:00Z"`, `"once"`, `"2000-01-01T00:03:00Z"`)
		changed := lambent.Schedule{Namespace: ns, Name: "a", Expression: "rate(1 hour)", Target: target("f"), Input: `"changed"`}
		if _, err := other.Update(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		other.end() // so that only the first one is there to call
		other.end = func() {}
		time.Sleep(61 * time.Minute)
		if got := r.calls(); len(got) != 7 || got[5] != `"changed"` || got[6] != `"changed"` {
			t.Errorf("after a change elsewhere: %v", got)
		}
		if log := r.log.String() + other.log.String(); log != "" {
			t.Errorf("logged: %s", log)
		}
	})
}

// A server that does not know a schedule's function leaves the call to one that does.
func TestUnknownFunctionIsAnotherServers(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.end()
			r.shared = true
			if !known {
				r.queue = async.New(async.Options{Jobs: r.store, Catalog: bare{}, Region: region})
			}
			other := r.beside(bare{}) // which is the first to look
			defer other.end()
			r.start()
			defer r.end()
			r.make("a", "rate(1 minute)", func(s *lambent.Schedule) { s.Input = `"<aws.scheduler.scheduled-time>"` })
			time.Sleep(2*time.Minute + 30*time.Second)
			synctest.Wait()
			failed := strings.Count(r.log.String()+other.log.String(), "schedule failed")
			if known && (len(r.calls()) != 3 || failed != 0) || !known && failed < 3 {
				t.Errorf("known %v: called %v, failed %d times", known, r.calls(), failed)
			}
		})
	}
}

// TestServersOnOnePostgres has two servers share schedules in a database whose
// connections are cut, and call each time once.
func TestServersOnOnePostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database")
	}
	pg := storetest.NewPostgres(t, postgres.WithoutFsync)
	var rooms []*Room
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var jobs store.Jobs
	for range 2 {
		db, err := store.OpenPostgres(t.Context(), store.Options{URL: pg.URL("schedules"), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() }) // what was written does not matter
		jobs = db
		queue := async.New(async.Options{Jobs: db, Catalog: shelf{}, Region: region})
		room, err := Open(t.Context(), Options{Records: db, Queue: queue, Region: region, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		rooms = append(rooms, room)
		all.Go(func() { _ = room.Run(ctx) })
	}
	const many = 20
	at := time.Now().UTC().Add(3 * time.Second).Format("at(2006-01-02T15:04:05)")
	for i := range many {
		s := lambent.Schedule{Namespace: ns, Name: fmt.Sprint("s", i), Expression: at, Target: target("f"), Input: fmt.Sprint(i), DeleteAfter: i%2 == 0}
		if _, err := rooms[i%2].Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	until := func(what string, true func(r *Room) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if true(rooms[0]) && true(rooms[1]) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("not %s: %d and %d schedules", what, len(rooms[0].Schedules(ns, "", "")), len(rooms[1].Schedules(ns, "", "")))
			}
		}
	}
	until("known to both", func(r *Room) bool { return len(r.Schedules(ns, "", "")) == many })
	until("called", func(r *Room) bool { return len(r.Schedules(ns, "", "")) == many/2 && r.pending() == 0 })
	called := 0
	for _, err := range jobs.FindJobs(t.Context(), store.JobQuery{Kind: async.KindEvent, Limit: 1000}) {
		if err != nil {
			t.Fatal(err)
		}
		called++
	}
	if called != many {
		t.Errorf("%d calls of %d schedules", called, many)
	}
}
