package httpwire

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// What a handler flushes is there before it goes on, by either server alike.
func TestFlush(t *testing.T) {
	goOn := make(chan struct{})
	r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		control := http.NewResponseController(w)
		if q.URL.Path == "/hot/length" {
			w.Header().Set("Content-Length", "6")
		}
		if err := control.Flush(); err != nil { // the head alone
			t.Error(err)
		}
		for _, part := range []string{"one", "two"} {
			<-goOn
			if _, err := io.WriteString(w, part); err != nil {
				t.Error(err)
			}
			if err := control.Flush(); err != nil {
				t.Error(err)
			}
		}
	}))
	for _, addr := range []string{r.ours, r.plain} {
		for _, target := range []string{"/hot", "/hot/length"} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(long))
			if _, err := io.WriteString(c, "POST "+target+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"one", "two"} {
				goOn <- struct{}{}
				got := make([]byte, 3)
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
					t.Errorf("%s: %q, %v", target, got, err)
				}
			}
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Errorf("%s ends with %q, %v", target, rest, err)
			}
			_ = c.Close()
		}
	}
}

// The deadlines of a handler are for its own request: one that is lifted after the
// body does not end the request, and a late body is an error of the read.
func TestReadDeadline(t *testing.T) {
	r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		control := http.NewResponseController(w)
		if err := control.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			http.Error(w, "late", http.StatusRequestTimeout)
			return
		}
		if err := control.SetReadDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		select {
		case <-q.Context().Done():
			http.Error(w, "the client has gone", http.StatusInternalServerError)
		case <-time.After(300 * time.Millisecond):
			_, _ = w.Write(body)
		}
	}))
	for _, addr := range []string{r.ours, r.plain} {
		if out := r.talk(addr, "POST /hot HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"); len(out) != 1 || out[0].body != "body" {
			t.Errorf("answers %+v", out)
		}
		if out := r.talk(addr, "POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo"); len(out) != 1 || out[0].status != http.StatusRequestTimeout {
			t.Errorf("a late body answers %+v", out)
		}
	}
}

// A client that reads nothing holds an answer for no longer than it may.
func TestWriteBodyIsNotHeldUp(t *testing.T) {
	done := make(chan error, 1)
	body := make([]byte, 32<<20)
	r := newRig(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
		done <- WriteBody(w, body, 100*time.Millisecond)
	}))
	for _, addr := range []string{r.ours, r.plain} {
		c := r.dial(addr)
		if _, err := io.WriteString(c, "POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err == nil {
				t.Error("all of it was taken by nobody")
			}
		case <-time.After(long):
			t.Fatal("the answer still waits")
		}
	}
}
