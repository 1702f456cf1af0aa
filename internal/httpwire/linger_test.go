package httpwire

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestEarlyAnswerIsRead has clients send all of a large body before they look at the
// answer, which came without it: by either server they get it whole.
func TestEarlyAnswerIsRead(t *testing.T) {
	early := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, strings.Repeat("too much ", 1000))
	})
	r := newRig(t, early)
	closing := make(chan struct{})
	srv := &http.Server{Handler: early, ReadHeaderTimeout: time.Second}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(Gently(l, closing)) }()
	t.Cleanup(func() {
		close(closing)
		_ = srv.Close()
		<-served
	})
	for name, addr := range map[string]string{"ours": r.ours, "net/http": l.Addr().String()} {
		c := r.dial(addr)
		if _, err := io.WriteString(c, "POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 1<<20)
		for n := range 64 {
			if _, err := c.Write(part); err != nil {
				t.Errorf("%s: after %d MB: %v", name, n, err)
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if b, err := io.ReadAll(res.Body); err != nil || len(b) != 9000 || res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d, %d bytes, %v", name, res.StatusCode, len(b), err)
		}
		_ = res.Body.Close()
	}
}

// TestLingeringEnds: a client that sends for ever, or nothing more, is not waited for.
func TestLingeringEnds(t *testing.T) {
	for name, c := range map[string]struct {
		every, want time.Duration
	}{"for ever": {lingerQuiet / 5, lingerTime}, "nothing more": {time.Hour, lingerQuiet}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it is waiting that takes its time
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			sends := time.NewTicker(c.every)
			over := make(chan struct{})
			var work sync.WaitGroup
			work.Go(func() {
				for {
					select {
					case <-sends.C:
						_, _ = client.Write([]byte("x"))
					case <-over:
						return
					}
				}
			})
			began := time.Now()
			linger(nc)
			if took := time.Since(began); took < c.want-100*time.Millisecond || took > c.want+3*time.Second {
				t.Errorf("it took %v, want %v", took, c.want)
			}
			close(over)
			work.Wait()
			sends.Stop()
			_ = nc.Close()
		})
	}
}
