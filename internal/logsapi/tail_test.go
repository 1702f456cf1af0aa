package logsapi

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/logs"
)

// timed is a connection's side of an answer.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (w *timed) SetWriteDeadline(at time.Time) error {
	w.deadline = at
	return nil
}

// tail follows the group until the door stops or the tail ends, which it tells.
func tail(t *testing.T, d *door, w *timed) (ended bool) {
	t.Helper()
	out, err := d.startLiveTail(t.Context(), caller{auth.DefaultAccount, "us-east-1"}, []byte(`{"logGroupIdentifiers":["`+group+`"]}`))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out.(*liveTail).serve(ctx, w)
	return ctx.Err() == nil
}

// TestLiveTailEnds with the server, and when its group cannot be followed; the next
// request on its connection has all the time that it needs.
func TestLiveTailEnds(t *testing.T) {
	s := start(t)
	if err := s.store.CreateGroup(t.Context(), auth.DefaultAccount, group, nil); err != nil {
		t.Fatal(err)
	}
	stopping := make(chan struct{})
	close(stopping)
	w := &timed{ResponseRecorder: httptest.NewRecorder()}
	if !tail(t, &door{Options{Reader: s.store, Stopping: stopping, Log: slog.New(slog.DiscardHandler)}, nil}, w) || w.Body.Len() == 0 || !w.deadline.IsZero() {
		t.Errorf("with the server: %d bytes, deadline %v", w.Body.Len(), w.deadline)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var followers sync.WaitGroup
	defer followers.Wait()
	defer cancel()
	const most, more = 128, 8
	var refused atomic.Int32
	for range most + more {
		followers.Go(func() {
			for range s.store.Follow(ctx, logs.Query{Namespace: auth.DefaultAccount, Group: group}) {
				refused.Add(1)
			}
		})
	}
	for end := time.Now().Add(5 * time.Second); refused.Load() < more && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if !tail(t, &door{Options{Reader: s.store, Log: slog.New(slog.DiscardHandler)}, nil}, w) {
		t.Error("it went on without what it is to follow")
	}
}
