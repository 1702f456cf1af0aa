package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// asyncCalls measures events: how fast they are taken, how fast they are run
// against calls whose caller waits, how soon one is run, and what a long queue
// costs. Events are held until so many are there.
func asyncCalls(ctx context.Context, b *bed) ([]result, error) {
	sync, _, err := pair(ctx, b)
	if err != nil {
		return nil, err
	}
	kilobyte := fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("x", 1<<10-11))
	later, err := b.later(ctx, "echo", kilobyte)
	if err != nil {
		return nil, err
	}
	soon, err := soonStarted(later, b)
	if err != nil {
		return nil, err
	}
	accept := result{Name: "events of 1 KB accepted per second through HTTP, 64 connections", Unit: "1/s", Bar: 4000}
	drain := result{Name: "events run per second against synchronous throughput", Unit: "x", Bar: 0.7}
	for range b.rounds {
		direct, err := closedLoop(sync, 32, b.last)
		if err != nil {
			return nil, err
		}
		taken, rate, err := b.fillAndDrain(ctx, later, 0)
		if err != nil {
			return nil, err
		}
		accept.add(taken)
		drain.add(rate / direct.rate())
	}
	long, err := longQueue(ctx, b, later)
	return append([]result{accept, drain, soon}, long...), err
}

// later is an Invoke request of type Event.
func (b *bed) later(ctx context.Context, function string, payload []byte) (target, error) {
	r, err := http.NewRequest(http.MethodPost, b.api+"/2015-03-31/functions/"+function+"/invocations", bytes.NewReader(payload))
	if err != nil {
		return target{}, err
	}
	r.Header.Set("X-Amz-Invocation-Type", "Event")
	sum := sha256.Sum256(payload)
	if err := v4.NewSigner().SignHTTP(ctx, b.creds, r, hex.EncodeToString(sum[:]), "lambda", region, time.Now()); err != nil {
		return target{}, err
	}
	return newTarget(r)
}

// soonStarted takes the time from acceptance to start from the server's histogram.
func soonStarted(later target, b *bed) (result, error) {
	r := result{Name: "p99 from the acceptance of an event to its start, warm, one after the other", Unit: "ms", Bar: 10, Below: true}
	for round := range b.rounds + 1 {
		before, err := b.metrics()
		if err != nil {
			return r, err
		}
		if _, err := closedLoop(later, 1, b.last); err != nil {
			return r, err
		}
		after, err := b.drained(0)
		if err != nil {
			return r, err
		}
		if round > 0 {
			r.add(1000 * quantileOf("lambent_event_wait_seconds", before, after, .99))
		}
	}
	return r, nil
}

// fillAndDrain sends events for a while, or so many of them, to a function that may
// not run, then lets it run, and tells both rates.
func (b *bed) fillAndDrain(ctx context.Context, later target, count int) (accepted, run float64, err error) {
	if err := b.hold(ctx, true); err != nil {
		return 0, 0, err
	}
	before, err := b.metrics()
	if err != nil {
		return 0, 0, err
	}
	s, err := closedLoop(later, 64, b.last)
	n := len(s.latencies)
	for err == nil && n < count {
		var more sample
		if more, err = closedLoop(later, 64, b.last); err == nil {
			n += len(more.latencies)
			s = more // the rate with a full queue
		}
	}
	if err != nil {
		return 0, 0, err
	}
	if err := b.hold(ctx, false); err != nil {
		return 0, 0, err
	}
	run, err = b.drainRate(before.sum("lambent_events_ended_total"), n)
	return s.rate(), run, err
}

// drainRate watches n events end, and tells the rate of the middle: the first ones
// have met a function that may not run.
func (b *bed) drainRate(from float64, n int) (float64, error) {
	var begin time.Time
	var first float64
	// A look costs the server most of a millisecond, and the client as much.
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		m, err := b.metrics()
		if err != nil {
			return 0, err
		}
		ended := m.sum("lambent_events_ended_total") - from
		if begin.IsZero() && ended >= float64(n)/10 {
			begin, first = time.Now(), ended
		}
		if ended >= 0.9*float64(n) {
			rate := (ended - first) / time.Since(begin).Seconds()
			_, err := b.drained(0)
			return rate, err
		}
	}
	return 0, errors.New("the events do not end")
}

// longQueue fills the queue, and looks at what changes.
func longQueue(ctx context.Context, b *bed, later target) ([]result, error) {
	accept := result{Name: fmt.Sprintf("accepted per second with %d events waiting, against none", b.events), Unit: "x", Bar: 0.8}
	drain := result{Name: fmt.Sprintf("run per second with %d events waiting, against few", b.events), Unit: "x", Bar: 0.8}
	memory := result{Name: fmt.Sprintf("resident memory with %d events waiting", b.events), Unit: "MB"}
	ready := result{Name: fmt.Sprintf("restart to ready with %d events waiting", b.events), Unit: "ms", Bar: 3000, Below: true}
	empty, few, err := b.fillAndDrain(ctx, later, 0)
	if err != nil {
		return nil, err
	}
	if err := b.hold(ctx, true); err != nil {
		return nil, err
	}
	var s sample
	for n := 0; n < b.events; n += len(s.latencies) {
		if s, err = closedLoop(later, 64, b.last); err != nil {
			return nil, err
		}
	}
	accept.add(s.rate() / empty)
	mb, err := b.rss()
	if err != nil {
		return nil, err
	}
	memory.add(mb)
	b.stop()
	took, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	ready.add(float64(took.Milliseconds()))
	if err := b.hold(ctx, false); err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // the function is warm, and the first pause over
	begin, err := b.metrics()
	if err != nil {
		return nil, err
	}
	at := time.Now()
	time.Sleep(b.last)
	end, err := b.metrics()
	if err != nil {
		return nil, err
	}
	drain.add((end.sum("lambent_events_ended_total") - begin.sum("lambent_events_ended_total")) / time.Since(at).Seconds() / few)
	return []result{accept, drain, memory, ready}, nil
}

// hold has the events of the function echo wait, or lets them go.
func (b *bed) hold(ctx context.Context, on bool) error {
	return b.put(ctx, "/v1/functions/echo/settings", fmt.Appendf(nil, `{"holdEvents":%t}`, on))
}

// drained waits until no more than n events wait or run.
func (b *bed) drained(n float64) (metrics, error) {
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		m, err := b.metrics()
		if err != nil {
			return nil, err
		}
		if m.sum("lambent_events_accepted_total")-m.sum("lambent_events_ended_total") <= n {
			return m, nil
		}
	}
	return nil, errors.New("the events do not end")
}

// metrics are the server's samples by name and labels.
type metrics map[string]float64

func (b *bed) metrics() (metrics, error) {
	resp, err := http.Get(b.api + "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	m := metrics{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && strings.HasPrefix(name, "lambent_event") {
			m[name] = v
		}
	}
	return m, nil
}

// sum adds the samples of a metric up.
func (m metrics) sum(name string) (sum float64) {
	for key, v := range m {
		if key == name || strings.HasPrefix(key, name+"{") {
			sum += v
		}
	}
	return sum
}

// quantileOf is a quantile of what a histogram has seen between two readings.
func quantileOf(name string, before, after metrics, q float64) float64 {
	whole := after[name+"_count"] - before[name+"_count"]
	low, under := 0.0, 0.0
	for _, le := range []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900} {
		key := name + `_bucket{le="` + strconv.FormatFloat(le, 'g', -1, 64) + `"}`
		n := after[key] - before[key]
		if n >= q*whole && n > under {
			return low + (le-low)*(q*whole-under)/(n-under)
		}
		low, under = le, n
	}
	return low
}
