package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sides are a target and the bare handler that it is compared with.
type sides struct{ ours, bare target }

// offered loads a target in two other ways than closedLoop does: with wrk, where
// it is installed, beside the bare handler, for the same bar; and at fixed rates,
// whatever the answers do.
func (b *bed) offered(ctx context.Context, name string, bar float64, t sides) ([]result, error) {
	const last = time.Second
	byWrk := result{Name: name + ": throughput against the bare handler, 32 connections, by wrk", Unit: "x", Bar: bar}
	rates := []int{500, 2000}
	var p50, p99 []result
	for _, rate := range rates {
		at := fmt.Sprintf("%s: at %d requests per second, ", name, rate)
		p50, p99 = append(p50, result{Name: at + "p50", Unit: "µs"}), append(p99, result{Name: at + "p99", Unit: "µs"})
	}
	absent := ""
	for range min(b.rounds, 3) {
		base, err := b.wrk(ctx, t.bare, b.last)
		with := 0.0
		if err == nil {
			with, err = b.wrk(ctx, t.ours, b.last)
		}
		switch {
		case err == nil:
			byWrk.add(with / base)
		case errors.Is(err, exec.ErrNotFound):
			absent = because(err)
		default:
			return nil, err
		}
		for i, rate := range rates {
			s, err := openLoop(t.ours, 32, rate, last)
			if err != nil {
				return nil, err
			}
			p50[i].add(micros(s.quantile(.5)))
			p99[i].add(micros(s.quantile(.99)))
		}
	}
	byWrk.Name += absent
	out := []result{byWrk}
	for i := range rates {
		out = append(out, p50[i], p99[i])
	}
	return out, nil
}

var wrkRate = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)

// wrk is what it reaches with 32 connections on one thread, in requests per second.
func (b *bed) wrk(ctx context.Context, t target, last time.Duration) (float64, error) {
	program, err := exec.LookPath("wrk")
	if err != nil {
		return 0, err
	}
	script := filepath.Join(b.data, "wrk.lua")
	var lua strings.Builder
	lua.WriteString(`local r = "`)
	for _, c := range t.request {
		fmt.Fprintf(&lua, `\%03d`, c)
	}
	lua.WriteString("\"\nrequest = function() return r end\n")
	if err := os.WriteFile(script, []byte(lua.String()), 0o600); err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, program, "-t1", "-c32", "-d"+last.String(), "-s", script, "http://"+t.addr+"/").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	found := wrkRate.FindSubmatch(out)
	if found == nil || bytes.Contains(out, []byte("Non-2xx")) {
		return 0, fmt.Errorf("wrk: %s", out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// errOverload is the error of an open loop whose requests are not answered in time.
var errOverload = errors.New("answers came more slowly than requests")

// openLoop sends requests at a fixed rate over n connections. A latency counts
// from the moment at which the request was due, and a request that finds all
// connections busy waits for one: so a stall shows in all the requests that it
// holds up, and not in one of them.
func openLoop(t target, n, rate int, last time.Duration) (sample, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l, err := newLoader(t, n)
	if err != nil {
		return sample{}, err
	}
	defer l.close()
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return sample{}, err
	}
	defer unix.Close(timer)
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(timer)}); err != nil {
		return sample{}, err
	}
	o := &opening{loader: l, timer: timer, every: time.Second / time.Duration(rate), begin: time.Now()}
	o.most = int(last / o.every)
	for _, c := range l.conns {
		o.idle = append(o.idle, c)
	}
	err = o.run(o.begin.Add(last + 5*time.Second))
	l.sample.took = time.Since(o.begin)
	slices.Sort(l.sample.latencies)
	return l.sample, err
}

// opening is an open loop on its way.
type opening struct {
	*loader
	timer      int
	begin      time.Time
	every      time.Duration
	sent, most int
	idle       []*connection
}

func (o *opening) run(until time.Time) error {
	var events [64]unix.EpollEvent
	buf := make([]byte, 64<<10)
	for len(o.sample.latencies) < o.most {
		if err := o.offer(); err != nil {
			return err
		}
		if time.Now().After(until) {
			return errOverload
		}
		n, err := unix.EpollWait(o.epoll, events[:], 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			c := o.conns[int(e.Fd)]
			if c == nil { // the timer
				_, _ = unix.Read(o.timer, buf[:8])
				continue
			}
			whole, err := o.receive(c, buf)
			if err != nil {
				return err
			}
			if whole {
				o.idle = append(o.idle, c)
			}
		}
	}
	return nil
}

// offer sends what is due, as far as connections are free, and sets the timer for
// the request after that.
func (o *opening) offer() error {
	for o.sent < o.most && len(o.idle) > 0 {
		due := o.begin.Add(time.Duration(o.sent) * o.every)
		if wait := time.Until(due); wait > 0 {
			return unix.TimerfdSettime(o.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}, nil)
		}
		c := o.idle[len(o.idle)-1]
		o.idle = o.idle[:len(o.idle)-1]
		if err := o.send(c, due); err != nil {
			return err
		}
		o.sent++
	}
	return nil
}
