package runtimeapi

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// pipeListener is a listener whose connections are net.Pipes: a round trip
// without the kernel.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial() (net.Conn, error) {
	near, far := net.Pipe()
	l.conns <- far
	return near, nil
}

// fastRuntime is a runtime that spends as little as it can, so that what is
// measured is the session: it answers every event with two bytes.
func fastRuntime(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	next := []byte("GET " + baseInvoke + "next HTTP/1.1\r\nHost: x\r\n\r\n")
	post := []byte("POST " + baseInvoke + "req/response HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	for {
		if _, err := c.Write(next); err != nil {
			return
		}
		if skipAnswer(r) != nil {
			return
		}
		if _, err := c.Write(post); err != nil {
			return
		}
		if skipAnswer(r) != nil {
			return
		}
	}
}

func skipAnswer(r *bufio.Reader) error {
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			_, err := r.Discard(length)
			return err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	b.Run("tcp", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		roundTrips(b, l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) })
	})
	b.Run("pipe", func(b *testing.B) {
		l := newPipeListener()
		roundTrips(b, l, l.dial)
	})
}

// The warm path has a budget; a round trip that suddenly costs more shows here
// and not first in somebody's latency.
func TestRoundTripAllocations(t *testing.T) {
	const budget = 24
	l := newPipeListener()
	s := NewSession(Options{})
	served, ended := make(chan error, 1), make(chan struct{})
	go func() { served <- s.Serve(l) }()
	c, err := l.dial()
	if err != nil {
		t.Fatal(err)
	}
	go func() { fastRuntime(c); close(ended) }()
	got := testing.AllocsPerRun(500, func() {
		if _, err := s.Invoke(context.Background(), event("req", "{}")); err != nil {
			t.Error(err)
		}
		<-s.Ready()
	})
	if got > budget {
		t.Errorf("a round trip makes %.0f allocations, the budget is %d", got, budget)
	}
	s.Close()
	<-ended
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func roundTrips(b *testing.B, l net.Listener, dial func() (net.Conn, error)) {
	s := NewSession(Options{})
	served, ended := make(chan error, 1), make(chan struct{})
	go func() { served <- s.Serve(l) }()
	c, err := dial()
	if err != nil {
		b.Fatal(err)
	}
	go func() { fastRuntime(c); close(ended) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	ev := sandbox.Event{
		RequestID: "req", Payload: []byte(`{"key":"value"}`), Deadline: time.Now().Add(time.Hour),
		FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:f", TraceID: "Root=1-00000000-000000000000000000000000",
	}
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if _, err := s.Invoke(ctx, ev); err != nil {
			b.Fatal(err)
		}
		<-s.Ready()
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	s.Close()
	<-ended
	if err := <-served; err != nil {
		b.Error(err)
	}
}

// cpu is the processor time of this process, which says more than the wall clock
// on a machine that does other things.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
