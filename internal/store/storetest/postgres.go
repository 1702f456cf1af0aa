package storetest

import (
	"errors"
	"testing"

	"lambent.dev/lambent/internal/store/storetest/postgres"
)

// NewPostgres is a PostgreSQL server for one test, which it skips where there is none
// installed, and which closes it.
func NewPostgres(t testing.TB, settings ...string) *postgres.Server {
	t.Helper()
	p, err := postgres.New(settings...)
	if errors.Is(err, postgres.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}
