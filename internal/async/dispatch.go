package async

import (
	"context"
	"sync"
	"time"

	"lambent.dev/lambent/internal/store"
)

// Bounds of what is held in memory while a million events wait.
const (
	maxBuffered    = 512      // jobs of a lane that are leased ahead
	maxHeldJobs    = 4096     // leased ahead altogether
	maxHeldBytes   = 64 << 20 // of their bodies
	maxFetches     = 8        // at the same time
	maxFetch       = 128      // jobs at once
	firstFetch     = 16       // of a lane whose jobs' sizes are not known
	maxUncommitted = 4096     // ends that the store does not have yet
)

// pollEvery is how often the store is asked for lanes that others have filled,
// and lookAgain how soon after a Take has emptied a lane.
const (
	pollEvery = time.Second
	lookAgain = 50 * time.Millisecond
)

// inbox is what other goroutines tell the dispatcher.
type inbox struct {
	wake chan struct{} // has an element when there is something

	mu     sync.Mutex // guards the rest
	filled map[string]time.Time
	notes  []func(*dispatcher)
}

// fill tells that a lane has a job that is due at a time; zero is at once.
func (b *inbox) fill(lane string, due time.Time) {
	if due.IsZero() {
		due = time.Unix(0, 0)
	}
	b.mu.Lock()
	if b.filled == nil {
		b.filled = map[string]time.Time{}
	}
	if at, ok := b.filled[lane]; !ok || due.Before(at) {
		b.filled[lane] = due
	}
	b.mu.Unlock()
	b.poke()
}

// tell has the dispatcher do something.
func (b *inbox) tell(do func(*dispatcher)) {
	b.mu.Lock()
	b.notes = append(b.notes, do)
	b.mu.Unlock()
	b.poke()
}

func (b *inbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) empty() (filled map[string]time.Time, notes []func(*dispatcher)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	filled, notes = b.filled, b.notes
	b.filled, b.notes = nil, nil
	return filled, notes
}

// dispatcher decides which job runs next. One goroutine owns it; fetches, calls
// and commits run beside it and tell it by the inbox.
type dispatcher struct {
	s     *Service
	calls context.Context // of what outlasts the end of the dispatcher
	work  sync.WaitGroup  // fetches, workers and extensions
	idle  chan call       // to a worker that has nothing to do
	leave chan struct{}   // closed for those workers to end

	lanes  map[string]*lane
	spaces map[string]*space
	ready  queue[*space]     // namespaces with a lane that can start a job
	timed  queue[*timedLane] // lanes that wait for a moment
	timers map[*lane]*timedLane
	hungry []*lane // lanes to fetch for

	turn        int64
	running     int
	fetching    int
	buffered    int
	bytes       int
	uncommitted int
	stopping    bool
	looking     bool
	look        time.Time // when to ask for the lanes
	extend      time.Time // when to extend leases
}

func newDispatcher(s *Service, calls context.Context) *dispatcher {
	return &dispatcher{
		s: s, calls: calls, idle: make(chan call), leave: make(chan struct{}),
		lanes: map[string]*lane{}, spaces: map[string]*space{}, timers: map[*lane]*timedLane{},
		ready: queue[*space]{less: func(a, b *space) bool { return fairer(a.running, b.running, a.served, b.served) }},
		timed: queue[*timedLane]{less: func(a, b *timedLane) bool { return a.at.Before(b.at) }},
	}
}

// run hands out jobs until ctx ends, and returns when the last call is over, or the store
// does not answer. What it has begun beside itself ends with calls at the latest.
func (d *dispatcher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	var cut, end <-chan time.Time
	for {
		d.take()
		if d.stopping && d.running+d.uncommitted+d.fetching == 0 {
			return
		}
		now := d.s.o.Now()
		if !d.stopping {
			d.upkeep(now)
			d.fetch(now)
			d.start(now)
		}
		timer.Reset(d.rest(now))
		select {
		case <-d.s.box.wake:
		case <-timer.C:
		case <-done:
			done, cut = nil, time.After(d.s.o.Drain)
			d.stop()
		case <-cut:
			cut, end = nil, time.After(flushTime)
			d.s.cutCalls()
		case <-end: // the store does not answer: what is left is leased, and taken up again
			return
		}
	}
}

// take does what others have told.
func (d *dispatcher) take() {
	filled, notes := d.s.box.empty()
	for name, due := range filled {
		d.filled(name, due)
	}
	for _, do := range notes {
		do(d)
	}
}

// filled notes that a lane has something at a time.
func (d *dispatcher) filled(name string, due time.Time) {
	if d.stopping {
		return
	}
	l := d.lane(name)
	if l.next.IsZero() || due.Before(l.next) {
		l.next = due
	}
	d.settle(l)
}

// lane finds or makes the lane of that name.
func (d *dispatcher) lane(name string) *lane {
	if l := d.lanes[name]; l != nil {
		return l
	}
	owner, _ := ownerOf(name)
	sp := d.spaces[owner]
	if sp == nil {
		sp = &space{name: owner, inReady: -1}
		sp.ready.less = func(a, b *lane) bool { return fairer(a.running, b.running, a.served, b.served) }
		d.spaces[owner] = sp
	}
	sp.lanes++
	l := &lane{name: name, space: sp, inReady: -1, inTimed: -1, window: window{size: firstWindow}}
	d.lanes[name] = l
	return l
}

// settle puts a lane where it belongs after a change: among those that can start,
// those to fetch for, those that wait for a moment, or away.
func (d *dispatcher) settle(l *lane) {
	now := d.s.o.Now()
	if len(l.buffer) > 0 && !l.paused.After(now) && l.running < d.most(l) {
		l.space.ready.put(l)
	} else {
		l.space.ready.drop(l)
	}
	if len(l.space.ready.items) > 0 {
		d.ready.put(l.space)
	} else {
		d.ready.drop(l.space)
	}
	var at time.Time
	if len(l.buffer) > 0 && l.paused.After(now) {
		at = l.paused
	}
	if !l.next.IsZero() && !l.fetching && len(l.buffer) < maxBuffered/2 {
		switch {
		case !l.next.After(now):
			l.fetching = true // until fetched has it
			d.hungry = append(d.hungry, l)
		case at.IsZero() || l.next.Before(at):
			at = l.next
		}
	}
	d.wakeAt(l, at)
	if len(l.buffer) == 0 && l.running == 0 && !l.fetching && l.next.IsZero() {
		delete(d.lanes, l.name)
		if l.space.lanes--; l.space.lanes == 0 {
			delete(d.spaces, l.space.name)
		}
	}
}

// most is how many jobs of a lane may run at the same time: its window, and never
// all slots, so that another lane finds one at once.
func (d *dispatcher) most(l *lane) int {
	limit := d.s.o.Concurrency
	if limit >= 8 {
		limit -= limit / 4
	}
	return min(int(l.window.size), limit)
}

func (d *dispatcher) wakeAt(l *lane, at time.Time) {
	t := d.timers[l]
	switch {
	case at.IsZero():
		if t != nil {
			d.timed.drop(t)
			delete(d.timers, l)
		}
	case t == nil:
		t = &timedLane{lane: l, at: at}
		d.timers[l] = t
		d.timed.put(t)
	default:
		t.at = at
		d.timed.put(t)
	}
}

// rest is how long there is nothing to do.
func (d *dispatcher) rest(now time.Time) time.Duration {
	if d.stopping {
		return pollEvery
	}
	wait := d.extend.Sub(now)
	if !d.looking { // its answer wakes
		wait = min(wait, d.look.Sub(now))
	}
	if t, ok := d.timed.first(); ok {
		wait = min(wait, t.at.Sub(now))
	}
	return min(max(wait, 0), pollEvery)
}

// upkeep does what its time has come for.
func (d *dispatcher) upkeep(now time.Time) {
	for t, ok := d.timed.first(); ok && !t.at.After(now); t, ok = d.timed.first() {
		d.wakeAt(t.lane, time.Time{})
		d.settle(t.lane)
	}
	if third := d.s.o.Lease / 3; !d.extend.After(now) || d.extend.Sub(now) > third {
		if !d.extend.IsZero() {
			d.extendLeases(now)
		}
		d.extend = now.Add(third)
	}
	// A look that is too far ahead is one of before the clock was set back.
	if (!d.look.After(now) || d.look.Sub(now) > pollEvery) && !d.looking {
		if d.running == 0 {
			close(d.leave)
			d.leave = make(chan struct{})
		}
		d.looking = true
		d.look = now.Add(pollEvery)
		d.work.Go(func() {
			lanes, err := d.s.o.Jobs.Lanes(d.calls)
			d.s.box.tell(func(d *dispatcher) { d.looked(lanes, err) })
		})
	}
}

// looked takes in what the store says of its lanes.
func (d *dispatcher) looked(lanes []store.Lane, err error) {
	d.looking = false
	if err != nil {
		d.s.o.Log.Warn("look for events", "err", err)
		return
	}
	waiting := 0
	for i := range lanes {
		waiting += lanes[i].Waiting
		if !lanes[i].Next.IsZero() && !d.stopping {
			d.filled(lanes[i].Name, lanes[i].Next)
		}
	}
	d.s.looked(lanes, waiting)
}

// fetch begins to lease jobs for lanes that have run low.
func (d *dispatcher) fetch(now time.Time) {
	for len(d.hungry) > 0 && d.fetching < maxFetches && d.buffered < maxHeldJobs && (d.bytes < maxHeldBytes || d.buffered == 0) {
		l := d.hungry[0]
		d.hungry = d.hungry[1:]
		room := max(maxHeldBytes-d.bytes, 0) / max(l.size, 1) / 2
		limit := max(1, min(maxBuffered-len(l.buffer), maxHeldJobs-d.buffered, room, maxFetch))
		if l.size == 0 {
			limit = min(limit, firstFetch)
		}
		l.next = time.Time{}
		d.fetching++
		d.work.Go(func() {
			jobs, err := d.s.o.Jobs.Take(d.calls, l.name, limit, now, now.Add(d.s.lease()))
			d.s.box.tell(func(d *dispatcher) { d.fetched(l, jobs, limit, err) })
		})
	}
}

// fetched takes in leased jobs.
func (d *dispatcher) fetched(l *lane, jobs []store.Job, limit int, err error) {
	d.fetching--
	l.fetching = false
	now := d.s.o.Now()
	switch {
	case err != nil:
		d.s.o.Log.Warn("take events", "lane", l.name, "err", err)
		l.next = now.Add(pollEvery)
	case len(jobs) == limit:
		l.next = now // there may be more
	case d.look.Sub(now) > lookAgain:
		d.look = now.Add(lookAgain) // it will tell when the next one is due
	}
	for i := range jobs {
		if d.s.known(&jobs[i]) {
			continue // a lease passed while the job ran here: it goes on
		}
		h := newHeld(d.calls, jobs[i], l)
		d.s.hold(h)
		l.buffer = append(l.buffer, h)
		d.count(h, 1)
		l.size = max(len(h.job.Body), l.size-l.size/16, 1)
	}
	if d.stopping {
		d.giveBack(l)
	}
	d.settle(l)
}

// count counts a job that is in a buffer now, or no more.
func (d *dispatcher) count(h *held, n int) {
	d.buffered += n
	d.bytes += n * len(h.job.Body)
}

// start begins calls as long as there are jobs and room.
func (d *dispatcher) start(now time.Time) {
	for d.running < d.s.o.Concurrency && d.uncommitted < maxUncommitted/2 {
		sp, ok := d.ready.first()
		if !ok {
			return
		}
		l, _ := sp.ready.first()
		h := l.buffer[0]
		l.buffer[0] = nil
		if l.buffer = l.buffer[1:]; len(l.buffer) == 0 {
			l.buffer = nil
		}
		d.count(h, -1)
		d.turn++
		l.served, sp.served = d.turn, d.turn
		l.running++
		sp.running++
		d.running++
		d.uncommitted++
		d.settle(l)
		d.hand(call{h, now})
	}
}

// call is a job that is to be run now.
type call struct {
	h   *held
	now time.Time
}

// hand gives a call to an idle worker, or to a new one. A goroutine for each call would
// let its stack grow each time: 3 % of what an event takes.
func (d *dispatcher) hand(c call) {
	select {
	case d.idle <- c:
	default:
		leave := d.leave
		d.work.Go(func() {
			for {
				d.s.perform(d.calls, c.h, c.now)
				select {
				case c = <-d.idle:
				case <-leave:
					return
				}
			}
		})
	}
}

// performed notes that a call is over; v says how it went.
func (d *dispatcher) performed(h *held, v verdict) {
	l := h.lane
	l.running--
	l.space.running--
	d.running--
	if v.busy {
		l.window.refused()
		l.pause = min(max(2*l.pause, firstPause), 2*longPause)
		l.paused = d.s.o.Now().Add(l.pause + time.Duration(d.s.o.Rand()*float64(l.pause)/4))
	} else {
		l.pause = 0
	}
	if v.ran {
		l.window.ran(v.took)
	}
	if v.again { // it is still leased and goes first
		d.uncommitted--
		l.buffer = append([]*held{h}, l.buffer...)
		d.count(h, 1)
		if d.stopping {
			d.giveBack(l)
		}
	}
	d.settle(l)
}

// stop gives back what does not run.
func (d *dispatcher) stop() {
	d.stopping = true
	close(d.leave)
	for _, l := range d.lanes {
		l.next = time.Time{}
		d.giveBack(l)
	}
	d.hungry = nil
}

func (d *dispatcher) giveBack(l *lane) {
	for _, h := range l.buffer {
		d.count(h, -1)
		e := ending{h: h, change: store.Change{ID: h.job.ID, Status: store.JobWaiting, Uncounted: true, Error: h.job.Error}}
		select {
		case d.s.ends <- e:
			d.uncommitted++
		default: // the store is slow: the lease passes
		}
	}
	l.buffer = nil
}
