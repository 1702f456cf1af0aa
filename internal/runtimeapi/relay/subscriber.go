package relay

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"
)

// subscriber is one who gets batches of events, from a goroutine of its own. What waits
// for it may reach twice what it has asked for, so that it does not lose anything while
// a batch is on its way; beyond that events are dropped and counted.
type subscriber struct {
	relay *Relay
	name  string
	wake  chan struct{} // has room for one: something about the buffer has changed
	// conn is kept to a listener of lines at the port connTo; both are of run's goroutine.
	conn   net.Conn
	connTo int

	// mu guards the rest.
	mu      sync.Mutex
	want    subscription
	held    [][]byte
	size    int       // of held, in bytes
	since   time.Time // when the first of held came
	lost    int       // events that were dropped, and are not told of yet
	lostSum int       // their bytes
	waiting []chan struct{}
}

func newSubscriber(r *Relay, name string, want subscription) *subscriber {
	return &subscriber{relay: r, name: name, want: want, wake: make(chan struct{}, 1)}
}

// change has it get something else, or get it elsewhere, from now on. It is false, and
// nothing changes, if that is asked for by another API.
func (s *subscriber) change(want subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.want.api != want.api {
		return false
	}
	s.want = want
	s.poke()
	return true
}

// add takes an event if it is of a kind that is wanted.
func (s *subscriber) add(kind Kind, json []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.want.kinds[kind]:
	case s.want.api == Logs:
		for _, e := range older(s.want.schema, json) {
			s.addLocked(e)
		}
	default:
		s.addLocked(json)
	}
}

func (s *subscriber) addLocked(json []byte) {
	if len(s.held) >= 2*s.want.items || s.size+len(json) > 2*s.want.bytes || !s.relay.o.Budget.take(len(json)) {
		s.lost++
		s.lostSum += len(json)
		return
	}
	if len(s.held) == 0 {
		s.since = time.Now()
		s.poke()
	}
	s.held = append(s.held, json)
	s.size += len(json)
	if len(s.held) == s.want.items || s.size >= s.want.bytes {
		s.poke()
	}
}

// poke has run look at the buffer.
func (s *subscriber) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// flush asks for delivery now; the channel is closed when it is over.
func (s *subscriber) flush() <-chan struct{} {
	c := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, c)
	s.poke()
	return c
}

// run delivers until the relay is closed.
func (s *subscriber) run() {
	defer s.discard()
	for s.await() {
		b, waiting := s.take()
		if len(b.events) > 0 {
			s.deliver(b)
		}
		for _, c := range waiting {
			close(c)
		}
	}
}

// await waits until there is a batch to deliver; it is false once the relay is closed.
func (s *subscriber) await() bool {
	timer := time.NewTimer(maxTimeout * time.Millisecond)
	defer timer.Stop()
	for {
		wait, some := s.due(time.Now())
		if some && wait <= 0 {
			return s.relay.gate.pass(s.relay.ctx)
		}
		if some {
			timer.Reset(wait)
		}
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.relay.ctx.Done():
			return false
		}
	}
}

// due is when the next batch is to go; some is false when there is nothing to wait for.
func (s *subscriber) due(now time.Time) (wait time.Duration, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.waiting) > 0, len(s.held) >= s.want.items, s.size >= s.want.bytes:
		return 0, true
	case len(s.held) == 0:
		return 0, false
	}
	return s.since.Add(s.want.timeout).Sub(now), true
}

// batch is what is delivered at once.
type batch struct {
	want          subscription
	events        [][]byte
	size          int // what of it the budget counts
	lost, lostSum int // what its first event tells of
}

// take empties the buffer.
func (s *subscriber) take() (b batch, waiting []chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting, s.waiting = s.waiting, nil
	if len(s.held) == 0 {
		return b, waiting
	}
	b = batch{want: s.want, events: s.held, size: s.size}
	s.held, s.size = nil, 0
	if s.lost > 0 && s.want.kinds[Platform] {
		b.lost, b.lostSum = s.lost, s.lostSum
		s.lost, s.lostSum = 0, 0
		b.events = append([][]byte{dropped(b.lost, b.lostSum)}, b.events...)
	}
	return b, waiting
}

// Attempts at a batch: the listener may not be there yet, or may be restarting. The
// last one is a good three seconds after the first.
const (
	attempts     = 6
	firstBackoff = 100 * time.Millisecond
)

// deliver sends a batch, or counts it as dropped.
func (s *subscriber) deliver(b batch) {
	defer s.relay.o.Budget.give(b.size)
	ctx := s.relay.ctx
	for n, wait := 1, firstBackoff; ; n, wait = n+1, 2*wait {
		err := s.send(ctx, b)
		if err == nil {
			return
		}
		s.relay.o.Log.Debug("deliver telemetry", "extension", s.name, "attempt", n, "err", err)
		if n == attempts || !rest(ctx, wait) || !s.relay.gate.pass(ctx) {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(b.events)
	if b.lost > 0 {
		n-- // it was ours
	}
	s.lost += n + b.lost
	s.lostSum += b.size + b.lostSum
}

// rest waits; it is false if ctx ends first.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// discard gives back what is left when the relay is closed.
func (s *subscriber) discard() {
	b, waiting := s.take()
	s.relay.o.Budget.give(b.size)
	for _, c := range waiting {
		close(c)
	}
	s.hangUp()
}

// array is a JSON array of the events.
func (b *batch) array() []byte {
	out := append(make([]byte, 0, b.size+len(b.events)+256), '[')
	return append(append(out, bytes.Join(b.events, []byte{','})...), ']')
}

// lines are the events, each on a line of its own.
func (b *batch) lines() []byte {
	return append(bytes.Join(b.events, []byte{'\n'}), '\n')
}
