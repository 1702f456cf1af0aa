package trigger

import (
	"container/heap"
	"iter"
	"time"

	"lambent.dev/lambent"
)

// entry is a schedule in memory. All of it is guarded by Room.mu.
type entry struct {
	s    *lambent.Schedule
	rev  int64
	plan plan

	fired   time.Time // the last time that it has called for
	due     time.Time // the time that it calls for next
	at      time.Time // when that is done: after due by the offset, or a retry
	attempt int       // hand-overs of due that have failed
	firing  bool      // it is being handed over: nobody else puts it into the queue
	place   int       // in the queue; -1 is outside
}

// queue is a heap of entries by when they are to be looked at.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.place = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.place = -1
	return e
}

// put adds e, or moves it to where it belongs now.
func (q *queue) put(e *entry) {
	if e.place >= 0 {
		heap.Fix(q, e.place)
		return
	}
	heap.Push(q, e)
}

// drop takes e out, if it is in.
func (q *queue) drop(e *entry) {
	if e.place >= 0 {
		heap.Remove(q, e.place)
	}
}

// until yields the entries that are due by a time, in no order. What is below a
// later one in the heap is not looked at.
func (q queue) until(to time.Time) iter.Seq[*entry] {
	return func(yield func(*entry) bool) { q.below(0, to, yield) }
}

func (q queue) below(i int, to time.Time, yield func(*entry) bool) bool {
	if i >= len(q) || q[i].at.After(to) {
		return true
	}
	return yield(q[i]) && q.below(2*i+1, to, yield) && q.below(2*i+2, to, yield)
}

// arrange puts e where its next time belongs. The caller holds Room.mu.
func (r *Room) arrange(e *entry) {
	if e.firing {
		return
	}
	// Times that were called for ahead of a clock that was set back since are to come. Of
	// one that is called for again the queue knows the name.
	if now := moment(); e.fired.After(now.Add(setBack)) {
		e.fired = now
	}
	e.due = time.Time{}
	if !e.s.Disabled {
		e.due = e.plan.next(e.fired)
	}
	e.attempt, e.at = 0, e.due.Add(e.plan.offset)
	if e.due.IsZero() {
		r.queue.drop(e)
		return
	}
	r.queue.put(e)
	if e.place == 0 {
		r.rouse()
	}
}

// rouse has Run look at the queue.
func (r *Room) rouse() {
	select {
	case r.wake <- struct{}{}:
	default: // it will
	}
}
