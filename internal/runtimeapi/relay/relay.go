// Package relay hands what happens in one instance to the programs in it that have
// asked for it by the Telemetry API (AWS Lambda developer guide, "Accessing real-time
// telemetry data for extensions using the Telemetry API") or its predecessor, the Logs
// API: it checks subscriptions, buffers events for each subscriber within bounds, counts what it has to drop, and
// delivers batches to a port inside the instance. It decides nothing about the instance
// and makes no events of its own but those about itself; its neighbour is the session
// above it.
package relay

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is a type of events that can be subscribed to.
type Kind uint8

// The kinds, in the order of their names.
const (
	Platform Kind = iota
	Function
	Extension
	kinds
)

var kindNames = [kinds]string{"platform", "function", "extension"}

// Options are a relay's surroundings.
type Options struct {
	// Dial connects to a port of the instance's loopback.
	Dial func(ctx context.Context, port int) (net.Conn, error)
	// Reserved is the port of the Runtime API, which nobody can subscribe with.
	Reserved int
	// Budget bounds what this relay and others hold together; nil does not.
	Budget *Budget
	// Log gets deliveries that failed, at debug level; nil discards it.
	Log *slog.Logger
}

// Bounds of what is kept for those who have not subscribed yet.
const (
	maxEarly      = 1000
	maxEarlyBytes = 256 << 10
)

// Relay belongs to one instance. Its methods may be called from any goroutine; those
// that take events do not wait for anybody.
type Relay struct {
	o    Options
	http *http.Transport
	gate gate
	work sync.WaitGroup // for the goroutine of each subscriber
	ctx  context.Context
	end  context.CancelFunc
	// wanted tells that somebody has subscribed, or still may.
	wanted atomic.Bool

	// mu guards the rest.
	mu          sync.Mutex
	subscribers []*subscriber
	early       []early // what has happened so far; nil once sealed
	earlyBytes  int
	sealed      bool
}

// early is an event that a later subscriber is still to be told.
type early struct {
	kind Kind
	json []byte
}

// New makes the relay of an instance that begins to initialise. Close ends it.
func New(o Options) *Relay {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{o: o}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.http = r.transport()
	r.wanted.Store(true)
	return r
}

// Wanted tells whether anybody takes events or, before the end of the
// initialisation, may want to.
func (r *Relay) Wanted() bool { return r.wanted.Load() }

// Add takes an event, as [Encode] makes it, which is the relay's from now on.
func (r *Relay) Add(kind Kind, json []byte) {
	if !r.wanted.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(kind, json)
}

func (r *Relay) addLocked(kind Kind, json []byte) {
	if !r.sealed && len(r.early) < maxEarly && r.earlyBytes+len(json) <= maxEarlyBytes {
		r.early = append(r.early, early{kind, json})
		r.earlyBytes += len(json)
	}
	for _, s := range r.subscribers {
		s.add(kind, json)
	}
}

// Seal ends the time for subscriptions.
func (r *Relay) Seal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sealed, r.early = true, nil
	r.wanted.Store(len(r.subscribers) > 0)
}

// Subscribe takes the subscription in body for the extension of that name. A second
// one replaces the first. first tells that nobody had subscribed before; refused is
// why there is no subscription, or nil.
func (r *Relay) Subscribe(api API, name string, body []byte) (first bool, refused *Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sealed || r.ctx.Err() != nil {
		return false, api.closed("is closed")
	}
	want, refused := parse(api, body, r.o.Reserved)
	if refused != nil {
		return false, refused
	}
	first = len(r.subscribers) == 0
	state := "Already subscribed"
	if s := r.named(name); s != nil {
		if !s.change(want) {
			return false, api.closed("is closed: the extension has subscribed by the other one")
		}
	} else {
		state = "Subscribed"
		s = newSubscriber(r, name, want)
		for _, e := range r.early {
			s.add(e.kind, e.json)
		}
		r.subscribers = append(r.subscribers, s)
		r.work.Go(s.run)
	}
	r.addLocked(Platform, Encode(time.Now(), api.event(), struct {
		Name  string   `json:"name"`
		State string   `json:"state"`
		Types []string `json:"types"`
	}{name, state, want.types()}))
	return first, nil
}

// named finds a subscriber. The caller holds mu.
func (r *Relay) named(name string) *subscriber {
	for _, s := range r.subscribers {
		if s.name == name {
			return s
		}
	}
	return nil
}

// Flush delivers what there is without waiting for more, and returns when that is
// done or ctx has ended.
func (r *Relay) Flush(ctx context.Context) {
	if !r.wanted.Load() {
		return
	}
	r.mu.Lock()
	told := make([]<-chan struct{}, 0, len(r.subscribers))
	for _, s := range r.subscribers {
		told = append(told, s.flush())
	}
	r.mu.Unlock()
	for _, c := range told {
		select {
		case <-c:
		case <-ctx.Done():
			return
		case <-r.ctx.Done():
			return
		}
	}
}

// Pause delivers what there is, for as long as ctx lets it, and then nothing more
// until Resume: nobody in the instance can take it.
func (r *Relay) Pause(ctx context.Context) {
	r.Flush(ctx)
	r.gate.shut()
}

// Resume ends Pause.
func (r *Relay) Resume() { r.gate.open() }

// Close drops what has not been delivered, and returns when nothing of the relay
// runs any more. It may be called again.
func (r *Relay) Close() {
	r.mu.Lock()
	r.end() // nobody subscribes from here on
	r.mu.Unlock()
	r.wanted.Store(false)
	r.work.Wait()
}

// gate lets pass unless it is shut. The zero value is open.
type gate struct {
	mu     sync.Mutex // guards opened
	opened chan struct{}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// pass waits until the gate is open; it is false if ctx ends first.
func (g *gate) pass(ctx context.Context) bool {
	for {
		g.mu.Lock()
		opened := g.opened
		g.mu.Unlock()
		if opened == nil {
			return ctx.Err() == nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return false
		}
	}
}

// Budget is memory that several relays share.
type Budget struct{ left atomic.Int64 }

// NewBudget makes one of so many bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{}
	b.left.Store(bytes)
	return b
}

// take is false when there is not as much left.
func (b *Budget) take(n int) bool {
	if b == nil {
		return true
	}
	if b.left.Add(int64(-n)) < 0 {
		b.left.Add(int64(n))
		return false
	}
	return true
}

func (b *Budget) give(n int) {
	if b != nil {
		b.left.Add(int64(n))
	}
}
