package linux

import (
	"context"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// coming is a blank that the reserve is making. A cold start that finds none ready
// gets it as soon as it is up: to start a runtime beside one that starts already would
// take both longer.
type coming struct {
	began time.Time
	late  chan struct{} // closed when a cold start waits for it
	out   chan *blank   // gets one for whoever waits, nil when it failed
	taken bool          // somebody waits; guarded by the reserve's mu
}

func newComing() *coming {
	return &coming{began: time.Now(), late: make(chan struct{}), out: make(chan *blank, 1)}
}

// fill makes a blank for the node, one that has not gone over its start if it is to be
// bare.
func (r *reserve) fill(n *node, bare bool) {
	c := newComing()
	r.mu.Lock()
	from, rt := n.zygote, n.stock.rt
	n.coming = c
	r.mu.Unlock()
	if from != nil && from.dead() {
		from = nil // which will be noticed
	}
	b, err := r.driver.newBlank(r.ctx, blankSpec{name: r.name(), rt: rt, from: from, bare: bare, late: c.late})
	if err != nil {
		r.mu.Lock()
		r.arrivedLocked(n, c, nil)
		r.mu.Unlock()
		r.failed(n.stock, err)
		return
	}
	b.cost = blankMemory(b.process.pid, from != nil)
	r.keep(n, b, c)
}

// keep adds a blank that has been made to the node's, unless a cold start waits for
// it. One that comes up while the reserve is being closed is ended: nobody would take
// it any more.
func (r *reserve) keep(n *node, b *blank, c *coming) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.node, b.taken = n, make(chan struct{})
	if r.closed && !c.taken {
		r.arrivedLocked(n, c, nil)
		r.buryLocked(b, false)
		return
	}
	n.stock.makes = (n.stock.makes + time.Since(c.began)) / 2
	if r.arrivedLocked(n, c, b) {
		return
	}
	n.add(b)
	r.work.Go(func() {
		select {
		case <-b.exited:
			r.lost(b)
		case <-b.taken:
		}
	})
}

// late waits for the blank that is being made for such a function, if one is, and is
// nil when none comes of it.
func (r *reserve) late(ctx context.Context, spec sandbox.Spec, edition int) (*blank, lambent.Origin) {
	n, c := r.join(spec)
	if c == nil {
		return nil, ""
	}
	var b *blank
	select {
	case b = <-c.out:
	case <-ctx.Done():
		if r.leave(c) {
			return nil, ""
		}
		b = <-c.out // it has just been handed over
	}
	if b == nil {
		return nil, ""
	}
	if b.dead() || b.edition != edition {
		r.bury(b, b.dead())
		return nil, ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n.stock.hits++
	n.stock.misses-- // which it was at first
	return b, lambent.OriginBlank
}

// join finds a blank that is being made and that nobody waits for yet.
func (r *reserve) join(spec sandbox.Spec) (*node, *coming) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stocks[spec.Runtime.Blank.Key]
	if s == nil || r.closed {
		return nil, nil
	}
	n := s.root()
	c := n.coming
	if c == nil || c.taken || n.price() > int64(spec.Version.MemoryMB)<<20*3/4 {
		return nil, nil
	}
	c.taken = true
	select {
	case <-c.late: // by one that has gone
	default:
		close(c.late)
	}
	return n, c
}

// leave ends the waiting; it is too late for that when it is false.
func (r *reserve) leave(c *coming) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(c.out) > 0 {
		return false
	}
	c.taken = false
	return true
}

// arrivedLocked ends the making of c, which b has come of, or nothing. It tells
// whether somebody waited and has it now.
func (r *reserve) arrivedLocked(n *node, c *coming, b *blank) bool {
	if n.coming == c {
		n.coming = nil
	}
	if !c.taken {
		return false
	}
	if b != nil {
		close(b.taken)
	}
	c.out <- b // there is room for one
	return true
}

// hasten gives the blank's start a full share of the processors once late is closed.
// The function that it returns ends the wait for that.
func (bl *blank) hasten(late <-chan struct{}) (stop func()) {
	if late == nil {
		return func() {}
	}
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-late:
			bl.group.settle()
		case <-over:
		}
	})
	return func() {
		close(over)
		watch.Wait()
	}
}
