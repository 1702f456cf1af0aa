package auth

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/httpwire"
)

// slowly has a client send a request's head at once and then its body, a part at each
// pause. It tells what it was answered, "" for nothing, and after how long.
func slowly(t *testing.T, h http.Handler, r *http.Request, part int, pause time.Duration) (status string, took time.Duration) {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	head, body, _ := bytes.Cut(wire.Bytes(), []byte("\r\n\r\n"))
	near, far := net.Pipe()
	l := httpwire.NewQueue(near.LocalAddr())
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { _ = srv.Serve(l) })
	defer func() { _ = srv.Close() }()
	l.Put(far)
	began := time.Now()
	work.Go(func() {
		_, err := near.Write(append(head, "\r\n\r\n"...))
		for err == nil && len(body) > 0 {
			time.Sleep(pause)
			n := min(part, len(body))
			_, err = near.Write(body[:n])
			body = body[n:]
		}
	})
	_ = near.SetReadDeadline(began.Add(time.Hour))
	line, _ := bufio.NewReader(near).ReadString('\n')
	_ = near.Close()
	return strings.TrimSpace(line), time.Since(began)
}

// TestSlowBodies is for who sends bodies so slowly that they hold connections: with a wrong
// signature, which is known only when all of the body is there, or with a good one.
func TestSlowBodies(t *testing.T) {
	body := strings.Repeat("x", 600<<10)
	for name, c := range map[string]struct {
		call
		part  int
		pause time.Duration
		most  time.Duration
		want  string
	}{
		"a stranger's, never":     {call{body: body, secret: "another"}, 1, time.Hour, 2 * time.Minute, "400"},
		"a stranger's, drop wise": {call{body: body, secret: "another"}, 1, 10 * time.Second, 2 * time.Minute, "400"},
		"our own, drop wise":      {call{body: body}, 1, 10 * time.Second, 2 * time.Minute, "400"},
		"our own, by modem":       {call{body: body}, 4 << 10, 500 * time.Millisecond, 2 * time.Minute, "200"},
		"our own, after a pause":  {call{body: body}, 600 << 10, 50 * time.Second, time.Minute, "200"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				status, took := slowly(t, handler(), c.signed(t), c.part, c.pause)
				if !strings.HasPrefix(status, "HTTP/1.1 "+c.want) || took > c.most {
					t.Errorf("after %v %q, want %s within %v", took, status, c.want, c.most)
				}
			})
		})
	}
}

// TestPatienceEndsWithTheBody has the next request on the connection come much later.
func TestPatienceEndsWithTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &deadlines{}
		r := call{body: "abc"}.signed(t)
		r.Body = io.NopCloser(strings.NewReader("abc"))
		handler().ServeHTTP(w, r)
		if len(w.set) < 2 || !w.set[len(w.set)-1].IsZero() {
			t.Errorf("the deadlines %v of a body, want the last one lifted", w.set)
		}
	})
}

// deadlines notes those that are set.
type deadlines struct{ set []time.Time }

func (*deadlines) Header() http.Header         { return http.Header{} }
func (*deadlines) Write(p []byte) (int, error) { return len(p), nil }
func (*deadlines) WriteHeader(int)             {}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}
