package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
	"lambent.dev/lambent/internal/store/storetest/postgres"
)

func TestMemoryConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Records {
		s := store.NewMemory()
		t.Cleanup(func() { closeStore(t, s) })
		return s
	})
}

func TestSQLiteConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Records {
		s := openSQLite(t, t.TempDir())
		t.Cleanup(func() { closeStore(t, s) })
		return s
	})
}

func TestMemoryQueues(t *testing.T) {
	storetest.RunJobs(t, func(t *testing.T) store.Jobs {
		s := store.NewMemory()
		t.Cleanup(func() { closeStore(t, s) })
		return s
	})
}

func TestSQLiteQueues(t *testing.T) {
	storetest.RunJobs(t, func(t *testing.T) store.Jobs {
		s := openSQLite(t, t.TempDir())
		t.Cleanup(func() { closeStore(t, s) })
		return s
	})
}

func TestPostgresConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Records { return openPostgres(t) })
}

func TestPostgresQueues(t *testing.T) {
	storetest.RunJobs(t, func(t *testing.T) store.Jobs { return openPostgres(t) })
}

// shared is the server that all tests share, each with a schema of its own.
var shared struct {
	once   sync.Once
	server *postgres.Server
	err    error
	names  atomic.Int64
}

// postgresURL is that of an empty schema.
func postgresURL(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = postgres.New(postgres.WithoutFsync) })
	if errors.Is(shared.err, postgres.ErrNotInstalled) {
		t.Skip(shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server.URL(fmt.Sprintf("s%d", shared.names.Add(1)))
}

func openPostgres(t testing.TB) *store.Postgres {
	t.Helper()
	s := openPostgresAt(t, postgresURL(t))
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func openPostgresAt(t testing.TB, url string) *store.Postgres {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := store.OpenPostgres(ctx, store.Options{Dir: t.TempDir(), URL: url})
	if err != nil {
		t.Fatalf("open the store: %v (%v)", err, errors.Unwrap(err))
	}
	return s
}

func openSQLite(t testing.TB, dir string) *store.SQLite {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := store.OpenSQLite(ctx, store.Options{Dir: dir})
	if err != nil {
		t.Fatalf("open the store in %s: %v", dir, err)
	}
	return s
}

func closeStore(t testing.TB, s store.Records) {
	if err := s.Close(); err != nil {
		t.Errorf("close the store: %v", err)
	}
}

// What is not on the disk yet is not shown.
func TestReadersSeeWhatIsOnTheDisk(t *testing.T) {
	var held atomic.Bool
	at, goOn := make(chan struct{}), make(chan struct{})
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: t.TempDir(), Point: func(name string) {
		if name == "store.after-commit" && held.CompareAndSwap(true, false) {
			close(at)
			<-goOn
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	commit(t, s, put("before", "1"))
	held.Store(true)
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := s.Commit(t.Context(), put("key", "1")); err != nil {
			t.Error(err)
		}
	})
	<-at
	readers := map[string]func(context.Context) error{
		"Get": func(ctx context.Context) error { _, err := s.Get(ctx, "key"); return err },
		"Scan": func(ctx context.Context) (err error) {
			for _, err = range s.Scan(ctx, "key") {
			}
			return err
		},
		"FindJobs": func(ctx context.Context) (err error) {
			for _, err = range s.FindJobs(ctx, store.JobQuery{}) {
			}
			return err
		},
	}
	for name, read := range readers {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if read(ctx) == nil {
			t.Errorf("%s does not wait for the disk", name)
		}
		cancel()
	}
	close(goOn)
	all.Wait()
	for name, read := range readers {
		if err := read(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
