package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// wire hands connections on to a PostgreSQL server, until they fall silent: then nothing
// goes through those that there are, and nobody is told, as when a host is gone.
type wire struct {
	listener net.Listener
	to       string
	work     sync.WaitGroup

	mu    sync.Mutex // guards the rest
	conns []net.Conn
	quiet chan struct{} // closed when the connections of now are silent
	gone  bool          // those that come are, too
}

func newWire(t *testing.T, dir, to string) *wire {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, to: filepath.Join(to, ".s.PGSQL.5432"), quiet: make(chan struct{})}
	w.work.Go(w.accept)
	t.Cleanup(func() {
		_ = l.Close() // ends accept
		w.silence(true)
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close() // ends its copying
		}
		w.mu.Unlock()
		w.work.Wait()
	})
	return w
}

func (w *wire) accept() {
	for {
		a, err := w.listener.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("unix", w.to)
		if err != nil {
			_ = a.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, a, b)
		quiet := w.quiet
		w.mu.Unlock()
		w.work.Go(func() { hand(a, b, quiet) })
		w.work.Go(func() { hand(b, a, quiet) })
	}
}

// hand copies until an end, or until it is silent: then it takes all and gives nothing.
func hand(to, from net.Conn, quiet <-chan struct{}) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-quiet:
			_, _ = io.Copy(io.Discard, from) // until it is closed
			return
		default:
		}
		if n > 0 {
			_, _ = to.Write(buffer[:n]) // the other direction ends, too
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// silence ends what there is, and, if the host is gone, what comes until it is back.
func (w *wire) silence(gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.gone {
		close(w.quiet)
	}
	if w.gone = gone; !gone {
		w.quiet = make(chan struct{})
	}
}

// wired is a store whose connections go through a wire.
func wired(t *testing.T) (*store.Postgres, *wire) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes many seconds")
	}
	link := postgresURL(t)
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := newWire(t, dir, u.Query().Get("host"))
	s := openPostgresAt(t, strings.Replace(link, u.Query().Get("host"), dir, 1))
	t.Cleanup(func() { closeStore(t, s) })
	return s, w
}

// Who writes to a database that is gone learns it soon, also one who has come while others
// waited; and when it is back, it takes all again.
func TestWritesToASilentDatabase(t *testing.T) {
	t.Parallel()
	s, w := wired(t)
	commit(t, s, put("key", "value"))
	w.silence(true)
	var all sync.WaitGroup
	for i := range 8 {
		time.Sleep(500 * time.Millisecond)
		all.Go(func() {
			began := time.Now()
			err := s.Push(t.Context(), numbered(fmt.Sprint(i)))
			if took := time.Since(began); lambent.ReasonOf(err) != store.ReasonDatabase || took > 9*time.Second {
				t.Errorf("push %d: %v after %s", i, err, took)
			}
		})
	}
	all.Go(func() {
		if _, err := s.TrimJobs(t.Context(), time.Now(), 0); lambent.ReasonOf(err) != store.ReasonDatabase {
			t.Errorf("trim: %v", err)
		}
	})
	all.Wait()
	w.silence(false)
	for end := time.Now().Add(time.Minute); ; {
		err := s.Push(t.Context(), numbered(fmt.Sprint(time.Now().UnixNano())))
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is back: %v", err)
		}
	}
}

// A database that says nothing any more is not waited for longer than a few seconds,
// whatever is asked for, and all goes on when it is there again.
func TestSilentDatabaseIsGivenUp(t *testing.T) {
	t.Parallel()
	s, w := wired(t)
	commit(t, s, put("key", "value"))
	if err := s.Push(t.Context(), numbered("1")); err != nil {
		t.Fatal(err)
	}
	reads := map[string]func(context.Context) error{
		"get":    func(ctx context.Context) error { _, err := s.Get(ctx, "key"); return err },
		"job":    func(ctx context.Context) error { _, err := s.Job(ctx, "1"); return err },
		"lanes":  func(ctx context.Context) error { _, err := s.Lanes(ctx); return err },
		"oldest": func(ctx context.Context) error { _, err := s.Oldest(ctx); return err },
		"scan": func(ctx context.Context) error {
			for _, err := range s.Scan(ctx, "") {
				return err
			}
			return nil
		},
		"watch": func(ctx context.Context) error {
			for _, err := range s.Watch(ctx, "", 0) {
				return err
			}
			return errors.New("it has ended")
		},
	}
	ask := func() map[string]error {
		var mu sync.Mutex // guards found
		found := map[string]error{}
		var all sync.WaitGroup
		for name, read := range reads {
			all.Go(func() {
				err := read(t.Context())
				mu.Lock()
				defer mu.Unlock()
				found[name] = err
			})
		}
		all.Wait()
		return found
	}
	for name, err := range ask() { // and so there are as many connections
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.silence(false)
	began := time.Now()
	for name, err := range ask() {
		if lambent.ReasonOf(err) != store.ReasonDatabase || errors.Is(err, context.Canceled) {
			t.Errorf("%s of a silent database: %v", name, err)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it was waited for for %s", took)
	}
	for end := time.Now().Add(time.Minute); ; { // some of its connections may have had nothing to do
		found := ask()
		maps.DeleteFunc(found, func(_ string, err error) bool { return err == nil })
		if len(found) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is there again: %v", found)
		}
	}
}
