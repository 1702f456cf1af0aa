package store_test

import (
	"context"
	"testing"
	"time"

	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
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
