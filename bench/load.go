package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
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

// closedLoop sends the request over and over on each of n connections, the next
// one when the answer is there, for the given time.
func closedLoop(t target, n int, last time.Duration) (sample, error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards all and errs
		all  []time.Duration
		fail error
	)
	begin := time.Now()
	for range n {
		wg.Go(func() {
			mine, err := connection(t, begin.Add(last))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
			if err != nil {
				fail = err
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	return sample{took: time.Since(begin), latencies: all}, fail
}

// connection is one closed loop. It reads answers with a minimal parser of its
// own, so that the client's share of the processors is small.
func connection(t target, until time.Time) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", t.addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReaderSize(conn, 8<<10)
	var latencies []time.Duration
	for begin := time.Now(); begin.Before(until); {
		if _, err := conn.Write(t.request); err != nil {
			return latencies, err
		}
		if err := skipAnswer(r); err != nil {
			return latencies, err
		}
		end := time.Now()
		latencies = append(latencies, end.Sub(begin))
		begin = end
	}
	return latencies, nil
}

// skipAnswer reads one HTTP answer and fails unless it is a 200 with a
// Content-Length.
func skipAnswer(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	var first string
	if !ok {
		first = string(bytes.TrimSpace(status)) // the slice is good until the next read
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if name, value, found := bytes.Cut(line, []byte(": ")); found && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return fmt.Errorf("answer with Content-Length %q", value)
			}
		}
	}
	if !ok || length < 0 {
		body, _ := r.Peek(min(max(length, 0), r.Buffered()))
		return fmt.Errorf("answer %s, Content-Length %d: %s", first, length, body)
	}
	_, err = r.Discard(length)
	return err
}
