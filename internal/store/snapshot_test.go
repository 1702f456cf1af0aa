package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// snapshotter is a driver whose state can be taken.
type snapshotter interface {
	store.Store
	Snapshot(ctx context.Context, path string) error
}

// fill puts something of everything into a store.
func fill(t *testing.T, s store.Store) {
	t.Helper()
	commit(t, s, put("a", "1"), put("b/\xff", ""), put("gone", "x"))
	commit(t, s, put("a", "2"), store.Op{Key: "gone", Delete: true})
	for i := range 40 {
		j := numbered(fmt.Sprint(i))
		j.Lane = fmt.Sprint("lane", i%3)
		j.Key = []string{"", "k"}[i%2]
		if i%5 == 0 {
			j.Due, j.Labels, j.State = time.Unix(3e9, 0), map[string]string{"l": "x"}, []byte("state")
		}
		if i%7 == 0 {
			j.Status, j.Ended, j.Error, j.Result = store.JobFailed, time.Unix(1e9, 0), "E", []byte("result")
		}
		if err := s.Push(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Take(t.Context(), "lane1", 3, time.Unix(2e9, 0), time.Unix(25e8, 0)); err != nil {
		t.Fatal(err)
	}
}

// state is all there is in a store.
func state(t *testing.T, s store.Store) []any {
	t.Helper()
	var all []any
	for r, err := range s.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	for brief, err := range s.FindJobs(t.Context(), store.JobQuery{Limit: 1000}) {
		if err != nil {
			t.Fatal(err)
		}
		j, err := s.Job(t.Context(), brief.ID)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, j)
	}
	lanes, err := s.Lanes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return append(all, lanes)
}

// A snapshot of one driver, brought into the other, is the same state, and goes
// on from there.
func TestSnapshots(t *testing.T) {
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		t.Run(name, func(t *testing.T) {
			url := postgresURL(t)
			var from snapshotter
			if name == "SQLite" {
				from = openSQLite(t, t.TempDir())
			} else {
				from = openPostgresAt(t, postgresURL(t))
			}
			defer closeStore(t, from)
			fill(t, from)
			want := state(t, from)
			dir := t.TempDir()
			path := filepath.Join(dir, store.File)
			if err := from.Snapshot(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			commit(t, from, put("later", "x"))
			if err := store.Import(t.Context(), url, path); err != nil {
				t.Fatal(err)
			}
			if err := store.Import(t.Context(), url, path); lambent.CodeOf(err) != lambent.CodeConflict {
				t.Errorf("import into what is not empty: %v", err)
			}
			pg, lite := openPostgresAt(t, url), openSQLite(t, dir)
			defer closeStore(t, pg)
			defer closeStore(t, lite)
			for _, s := range []store.Store{pg, lite} {
				if got := state(t, s); !reflect.DeepEqual(got, want) {
					t.Errorf("the state of %T is\n%+v, want\n%+v", s, got, want)
				}
				if next := commit(t, s, put("next", "x")); next != 3 {
					t.Errorf("the next revision of %T is %d", s, next)
				}
				j := numbered("next")
				j.Lane = "new"
				if err := s.Push(t.Context(), j); err != nil {
					t.Errorf("push to %T: %v", s, err)
				}
				if n, err := s.TrimJobs(t.Context(), time.Time{}, 1); err != nil || n != 6 {
					t.Errorf("trim of %T gives %d, %v", s, n, err)
				}
			}
		})
	}
}
