package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
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

// skipAnswer reads one HTTP answer and fails unless it is a 200.
func skipAnswer(r *bufio.Reader) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("answer %s: %s", resp.Status, body)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	return resp.Body.Close()
}
