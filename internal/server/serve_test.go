package server

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/httpwire"
)

// TestBodyThatNobodyReads is for a client that announces a body to a path that takes none,
// sends nothing of it, and later sends it all the same.
func TestBodyThatNobodyReads(t *testing.T) {
	for late, want := range map[time.Duration]int{5 * time.Second: 2, time.Hour: 1} {
		synctest.Test(t, func(t *testing.T) {
			s := &Server{log: slog.New(slog.DiscardHandler)}
			srv := s.newHTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) }))
			near, far := net.Pipe()
			l := httpwire.NewQueue(far.LocalAddr())
			var work sync.WaitGroup
			work.Go(func() { _ = srv.Serve(l) })
			l.Put(far)
			work.Go(func() {
				request := "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
				_, _ = fmt.Fprint(near, request)
				time.Sleep(late)
				_, err := fmt.Fprint(near, "abc", request)
				if err == nil {
					time.Sleep(time.Second)
					_, _ = fmt.Fprint(near, "abc")
				}
			})
			time.AfterFunc(30*time.Minute, func() { _ = near.Close() })
			began := time.Now()
			text, err := io.ReadAll(near)
			if got := strings.Count(string(text), "HTTP/1.1 405"); got != want || err != nil || time.Since(began) > 15*time.Minute {
				t.Errorf("a body that came after %v: %d answers, want %d, and %v after %v", late, got, want, err, time.Since(began))
			}
			_ = srv.Close()
			work.Wait()
		})
	}
}
