package httpwire

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// serving runs a server that tells its name, and ends it with the test.
func serving(t *testing.T, name string, enter chan<- struct{}, leave <-chan struct{}, adopt ...net.Conn) (*Server, string) {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hot/slow" {
			enter <- struct{}{}
			<-leave
		}
		_, _ = io.WriteString(w, name)
	})
	s := NewServer(Options{
		Handler: h, Takes: takesHot, Header: 8 << 10, HeaderTimeout: long, Idle: long, Adopt: adopt,
		Other: &http.Server{Handler: h},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		_ = s.Other.Close()
		<-done
	})
	return s, l.Addr().String()
}

// talker is a client's connection.
type talker struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func talk(t *testing.T, address string) *talker {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	return &talker{t, nc, bufio.NewReader(nc)}
}

func (c *talker) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads an answer, and wants it from that server.
func (c *talker) hear(server string, closes bool) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != server || resp.Close != closes {
		c.t.Errorf("answer of %q, connection closes: %v, %v; want %q, %v", body, resp.Close, err, server, closes)
	}
}

func post(path string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
}

func TestParkedConnectionsGoOn(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	s, address := serving(t, "old", enter, leave)
	used, fresh, busy, half := talk(t, address), talk(t, address), talk(t, address), talk(t, address)
	used.say(post("/hot"))
	used.hear("old", false)
	busy.say(post("/hot/slow"))
	<-enter
	half.say("POST /hot HTTP")
	time.Sleep(20 * time.Millisecond) // it has been read

	type outcome struct {
		files []*os.File
		err   error
	}
	parked := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), long)
		defer cancel()
		files, err := s.Park(ctx, 10)
		parked <- outcome{files, err}
	}()
	time.Sleep(20 * time.Millisecond)
	used.say(post("/hot")) // to nobody, as yet
	half.say(strings.TrimPrefix(post("/hot"), "POST /hot HTTP"))
	half.hear("old", true)
	close(leave)
	busy.hear("old", true)

	out := <-parked
	if out.err != nil || len(out.files) != 2 {
		t.Fatalf("%d connections are parked, want 2: %v", len(out.files), out.err)
	}
	var conns []net.Conn
	for _, f := range out.files {
		nc, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, nc)
	}
	serving(t, "new", nil, nil, conns...)
	used.hear("new", false)
	fresh.say("GET /other HTTP/1.1\r\nHost: h\r\n\r\n") // net/http's
	fresh.hear("new", false)
	used.say(post("/hot"))
	used.hear("new", false)
}

func TestTooManyParkedConnectionsAreClosed(t *testing.T) {
	s, address := serving(t, "old", nil, nil)
	for range 5 {
		c := talk(t, address)
		c.say(post("/hot"))
		c.hear("old", false)
	}
	files, err := s.Park(t.Context(), 3)
	if err != nil || len(files) != 3 {
		t.Fatalf("%d are kept, want 3: %v", len(files), err)
	}
	for _, f := range files {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
