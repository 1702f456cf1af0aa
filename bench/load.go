package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// target is one prepared request: its bytes are made once, so that making and
// signing it is no part of what is measured.
type target struct {
	addr    string
	request []byte
}

// newTarget freezes a request.
func newTarget(r *http.Request) (target, error) {
	var buf bytes.Buffer
	if err := r.Write(&buf); err != nil {
		return target{}, fmt.Errorf("write request: %w", err)
	}
	return target{addr: r.URL.Host, request: buf.Bytes()}, nil
}

// sample is what one closed loop saw.
type sample struct {
	took      time.Duration
	latencies []time.Duration // sorted
}

func (s sample) rate() float64 { return float64(len(s.latencies)) / s.took.Seconds() }

func (s sample) quantile(q float64) time.Duration {
	if len(s.latencies) == 0 {
		return 0
	}
	return s.latencies[min(int(q*float64(len(s.latencies))), len(s.latencies)-1)]
}

// loader is a closed loop over several connections, on one thread with an epoll
// of its own: the machine has few processors, and what the client takes of them
// is missing on both sides that are compared.
type loader struct {
	target target
	epoll  int
	conns  map[int]*connection
	sample sample
}

// connection has one request under way.
type connection struct {
	fd     int
	began  time.Time
	answer []byte // as far as it has come
}

// closedLoop sends the request over and over on each of n connections, the next
// one when the answer is there, for the given time.
func closedLoop(t target, n int, last time.Duration) (sample, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l, err := newLoader(t, n)
	if err != nil {
		return sample{}, err
	}
	defer l.close()
	begin := time.Now()
	err = l.run(begin.Add(last))
	l.sample.took = time.Since(begin)
	slices.Sort(l.sample.latencies)
	return l.sample, err
}

// newLoader makes n connections.
func newLoader(t target, n int) (*loader, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &loader{target: t, epoll: epoll, conns: map[int]*connection{}}
	for range n {
		if err := l.connect(); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *loader) close() {
	for fd := range l.conns {
		_ = unix.Close(fd)
	}
	_ = unix.Close(l.epoll)
}

func (l *loader) connect() error {
	addr, err := net.ResolveTCPAddr("tcp4", l.target.addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.conns[fd] = &connection{fd: fd}
	to := &unix.SockaddrInet4{Port: addr.Port}
	copy(to.Addr[:], addr.IP.To4())
	return errors.Join(
		unix.Connect(fd, to),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}),
	)
}

func (l *loader) run(until time.Time) error {
	for _, c := range l.conns {
		if err := l.send(c, time.Now()); err != nil {
			return err
		}
	}
	var events [64]unix.EpollEvent
	buf := make([]byte, 64<<10)
	for time.Now().Before(until) {
		n, err := unix.EpollWait(l.epoll, events[:], 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			c := l.conns[int(e.Fd)]
			whole, err := l.receive(c, buf)
			if err == nil && whole {
				err = l.send(c, time.Now())
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// send sends the request; its latency counts from began.
func (l *loader) send(c *connection, began time.Time) error {
	c.began, c.answer = began, c.answer[:0]
	n, err := unix.Write(c.fd, l.target.request)
	if err == nil && n < len(l.target.request) {
		err = errors.New("request too long for one write")
	}
	return err
}

// receive reads what has come; whole tells that it is all of the answer.
func (l *loader) receive(c *connection, buf []byte) (whole bool, err error) {
	n, err := unix.Read(c.fd, buf)
	if err != nil || n == 0 {
		return false, fmt.Errorf("read answer: connection closed (%w)", err)
	}
	c.answer = append(c.answer, buf[:n]...)
	if whole, err = complete(c.answer); whole {
		l.sample.latencies = append(l.sample.latencies, time.Since(c.began))
	}
	return whole, err
}

var (
	okStatus      = []byte("HTTP/1.1 20") // 202 for an event
	endOfHead     = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

// complete tells whether an answer is all there. It fails unless it is a 200 or a 202 with
// a Content-Length.
func complete(answer []byte) (bool, error) {
	head := bytes.Index(answer, endOfHead)
	if head < 0 {
		return false, nil
	}
	if !bytes.HasPrefix(answer, okStatus) {
		return false, fmt.Errorf("answer %.500s", answer)
	}
	at := bytes.Index(answer[:head], contentLength)
	if at < 0 {
		return false, fmt.Errorf("answer without a length: %.500s", answer)
	}
	value := answer[at+len(contentLength) : head]
	if end := bytes.IndexByte(value, '\r'); end >= 0 {
		value = value[:end]
	}
	length, err := strconv.Atoi(string(value))
	if err != nil {
		return false, fmt.Errorf("answer with Content-Length %q", value)
	}
	return len(answer) >= head+len(endOfHead)+length, nil
}
