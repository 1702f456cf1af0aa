package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest/postgres"
)

// cuts is how often the test of lost connections cuts them, and every how many
// times by a restart of PostgreSQL, half of them as after a crash.
const cuts, restartEvery = 50, 12

// The connections are cut fifty times under load, at named points and at any
// moment: what was acknowledged is there, and what ended stays so.
func TestLostConnectionsLoseNoJob(t *testing.T) {
	if testing.Short() {
		t.Skip("takes many seconds")
	}
	url := postgresURL(t)
	cutNow := make(chan struct{}, 1)
	var passes atomic.Int64
	s, err := store.OpenPostgres(t.Context(), store.Options{Dir: t.TempDir(), URL: url, Point: func(name string) {
		if name == "store.before-commit" && passes.Add(1)%20 == 0 {
			select {
			case cutNow <- struct{}{}:
				time.Sleep(2 * time.Millisecond) // about when the COMMIT goes out
			default:
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	m := newTold()
	ctx, stop := context.WithCancel(t.Context())
	all := load(ctx, t, s, m)
	for i := range cuts {
		select {
		case <-cutNow:
		case <-time.After(100 * time.Millisecond):
		}
		if i%restartEvery == restartEvery-1 {
			restart(t, shared.server, i%(2*restartEvery) == restartEvery-1)
			continue
		}
		terminate(t, url)
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	all.Wait()
	for id := range m.pushed {
		j, err := s.Job(t.Context(), id)
		if err != nil || string(j.Body) != "body of "+id {
			t.Errorf("%s was acknowledged, and is %+v, %v", id, j, err)
		}
		if m.ended[id] > 0 && j.Status != store.JobSucceeded {
			t.Errorf("%s had ended, and is %+v", id, j)
		}
	}
	if len(m.pushed) < cuts || len(m.ended) == 0 {
		t.Errorf("only %d jobs were pushed and %d ended", len(m.pushed), len(m.ended))
	}
	t.Logf("%d jobs were acknowledged, %d ended, %d taken again", len(m.pushed), len(m.ended), m.again)
}

// load pushes, takes and ends jobs until ctx ends, and notes what was
// acknowledged. The only error that may come is that the database is not there.
func load(ctx context.Context, t *testing.T, s store.Jobs, m *told) *sync.WaitGroup {
	var all sync.WaitGroup
	var mu sync.Mutex // guards m
	say := func(what, id string, at time.Time) {
		mu.Lock()
		defer mu.Unlock()
		m.hear(t, fmt.Sprint(what, " ", id, " ", at.UnixNano()))
	}
	fault := func(doing string, err error) {
		if code := lambent.CodeOf(err); code != lambent.CodeUnavailable && code != lambent.CodeCanceled {
			t.Errorf("%s: %v (%v)", doing, err, errors.Unwrap(err))
		}
	}
	for w := range crashWriters {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				j := numbered(fmt.Sprintf("%d/%d", w, i))
				if err := s.Push(ctx, j); err != nil {
					fault("push", err)
				} else {
					say("pushed", j.ID, time.Now())
				}
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				now := time.Now()
				jobs, err := s.Take(ctx, "lane", 5, now, now.Add(500*time.Millisecond))
				if err != nil {
					fault("take", err)
				}
				for _, j := range jobs {
					say("taken", j.ID, now)
					errs, err := s.Change(ctx, store.Change{ID: j.ID, Token: j.Token, Status: store.JobSucceeded, Ended: now})
					switch {
					case err != nil:
						fault("change", err)
					case errs[0] == nil:
						say("ended", j.ID, time.Now())
					}
				}
			}
		})
	}
	return &all
}

// Connections to a server that only reads any more are given up for new ones, which lead to
// the one that has taken over.
func TestConnectionsThatOnlyReadAreLeft(t *testing.T) {
	url := postgresURL(t)
	s := openPostgresAt(t, url)
	defer closeStore(t, s)
	sql := func(text string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"SET default_transaction_read_only = off", text} {
			if _, err := conn.Exec(t.Context(), text); err != nil {
				t.Error(err)
			}
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	sql(`ALTER ROLE lambent SET default_transaction_read_only = on`) // of sessions that begin now
	terminate(t, url)
	refused := func(err error) bool { return lambent.ReasonOf(err) == store.ReasonReadOnly }
	for range 6 { // more than there are connections
		_, err := s.Commit(t.Context(), put("key", "value"))
		if perr := s.Push(t.Context(), numbered("1")); !refused(err) || !refused(perr) {
			t.Errorf("on a server that only reads: %v, %v", err, perr)
		}
	}
	sql(`ALTER ROLE lambent RESET default_transaction_read_only`)
	for range 5 { // a connection each, at the most
		if _, err := s.Commit(t.Context(), put("key", "value")); err == nil {
			break
		}
	}
	commit(t, s, put("key", "value"))
	if err := s.Push(t.Context(), numbered("1")); err != nil {
		t.Error(err)
	}
}

// terminate ends all connections of lambent.
func terminate(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	const text = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lambent'`
	if _, err := conn.Exec(t.Context(), text); err != nil {
		t.Error(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func restart(t *testing.T, server *postgres.Server, crash bool) {
	t.Helper()
	end := server.Stop
	if crash {
		end = server.Kill
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
}

func TestTwoServersOnOnePostgres(t *testing.T) {
	url := postgresURL(t)
	a, b := openPostgresAt(t, url), openPostgresAt(t, url)
	defer closeStore(t, a)
	defer closeStore(t, b)
	seen := make(chan store.Record, 1)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	go func() { // ended by the first record
		for r, err := range b.Watch(ctx, "", 0) {
			if err == nil {
				seen <- r
			}
			return
		}
	}()
	commit(t, a, put("key", "value"))
	select {
	case r := <-seen:
		if r.Key != "key" {
			t.Errorf("the other sees %+v", r)
		}
	case <-ctx.Done():
		t.Fatal("the other server sees nothing")
	}
	for i := range 20 {
		if err := []store.Jobs{a, b}[i%2].Push(t.Context(), numbered(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex // guards taken
	taken := map[string]bool{}
	var all sync.WaitGroup
	for _, s := range []store.Jobs{a, b} {
		all.Go(func() {
			for range 10 {
				jobs, err := s.Take(t.Context(), "lane", 3, time.Unix(2e9, 0), time.Unix(3e9, 0))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, j := range jobs {
					if taken[j.ID] {
						t.Errorf("both have %s", j.ID)
					}
					taken[j.ID] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(taken) != 20 {
		t.Errorf("%d of 20 jobs were taken", len(taken))
	}
	third := openPostgresAt(t, url) // adds up what the others have counted
	defer closeStore(t, third)
	lanes, err := third.Lanes(t.Context())
	if err != nil || len(lanes) != 1 || lanes[0].Running != 20 || lanes[0].Waiting != 0 {
		t.Errorf("the lanes are %+v, %v", lanes, err)
	}
}

func TestPostgresRefusals(t *testing.T) {
	url := postgresURL(t)
	dir := t.TempDir()
	s, err := store.OpenPostgres(t.Context(), store.Options{Dir: dir, URL: url})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.OpenPostgres(t.Context(), store.Options{Dir: dir, URL: url})
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("two servers on one data directory: %v", err)
	}
	closeStore(t, s)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO version VALUES (999)`); err != nil {
		t.Error(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		url, reason string
		cause       error
	}{
		"newer":       {url, store.ReasonNewer, store.ErrNewer},
		"no server":   {"postgres://user:hunter2@/db?host=" + os.TempDir() + "/none", store.ReasonDatabase, nil},
		"no database": {strings.Replace(url, "/postgres?", "/absent?", 1), store.ReasonDatabase, nil},
		"bad URL":     {"postgres://user:hunter2@host:port/", "", nil},
	} {
		_, err := store.OpenPostgres(t.Context(), store.Options{Dir: dir, URL: c.url})
		wantLine(t, err, c.reason)
		if c.cause != nil && !errors.Is(err, c.cause) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A lane that one server has removed with its last job is made anew by another, and
// leaves nothing.
func TestPostgresLanesComeAndGo(t *testing.T) {
	url := postgresURL(t)
	a, b := openPostgresAt(t, url), openPostgresAt(t, url)
	t.Cleanup(func() {
		closeStore(t, a)
		closeStore(t, b)
	})
	at := time.Unix(1e9, 0)
	for i := range 3 {
		if err := a.Push(t.Context(), store.Job{ID: fmt.Sprint(i), Lane: "l", Status: store.JobWaiting, Created: at}); err != nil {
			t.Fatal(err)
		}
		taken, err := b.Take(t.Context(), "l", 9, at, at.Add(time.Hour))
		if err != nil || len(taken) != 1 {
			t.Fatalf("took %+v, %v", taken, err)
		}
		if _, err := a.Change(t.Context(), store.Change{ID: taken[0].ID, Token: taken[0].Token, Status: store.JobSucceeded, Ended: at}); err != nil {
			t.Fatal(err)
		}
		if n, err := b.TrimJobs(t.Context(), at.Add(time.Second), 0); n != 1 || err != nil {
			t.Fatalf("forgot %d jobs, %v", n, err)
		}
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // only read
	var lanes, counts int
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM job_lane), (SELECT count(*) FROM job_count)`).Scan(&lanes, &counts); err != nil || lanes+counts != 0 {
		t.Errorf("%d lanes and %d counts are left, %v", lanes, counts, err)
	}
}
