package trigger

import (
	"container/heap"
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/telemetry"
)

// Bounds of the work: how many calls are handed over and marked together, how many of
// them at the same time, and the longest sleep, after which the clock on the wall may
// be another one.
const (
	maxBatch  = 512
	handovers = 32
	longest   = time.Minute
)

// Delays between two tries to hand a call over.
const (
	firstDelay = time.Second
	lastDelay  = time.Minute
	giveWay    = 5 * time.Second // to servers that may know the function
)

// firing is one call of a schedule on its way to the queue.
type firing struct {
	e       *entry
	s       *lambent.Schedule
	due     time.Time
	planned time.Time // due and the offset
	attempt int
	final   bool // it is the last call of a schedule that is deleted then

	over  bool          // it has been handed over, or never will be
	retry time.Duration // else it is tried again after this; 0 is at once
}

// Run hands over what is due until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	if !r.o.Alone {
		work.Go(func() { r.follow(ctx) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		for batch := r.take(time.Now()); len(batch) > 0; batch = r.take(time.Now()) {
			r.fire(ctx, batch)
			if ctx.Err() != nil {
				return nil
			}
		}
		timer.Reset(r.idle(time.Now()))
	}
}

// idle is how long there is nothing to do.
func (r *Room) idle(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return longest
	}
	return max(0, min(longest, r.queue[0].at.Sub(now)))
}

// take claims calls whose time has come.
func (r *Room) take(now time.Time) []*firing {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look(now)
	var out []*firing
	for len(out) < maxBatch && len(r.queue) > 0 && !r.queue[0].at.After(now) {
		e := heap.Pop(&r.queue).(*entry)
		if e.attempt == 0 {
			e.due = e.plan.due(e.fired, now)
		}
		if e.due.IsZero() { // the clock was set back
			r.arrange(e)
			continue
		}
		e.firing = true
		f := &firing{e: e, s: e.s, due: e.due, planned: e.due.Add(e.plan.offset), attempt: e.attempt}
		f.final = e.s.DeleteAfter && e.plan.next(e.due).IsZero()
		out = append(out, f)
	}
	return out
}

// setBack is by how much the clock on the wall is behind what it has been when it was set
// back. Less is the difference between the clocks of two servers.
const setBack = time.Minute

// look has all schedules wait for their next times as of now when the clock was set back:
// what they have waited for is far ahead. The caller holds mu.
func (r *Room) look(now time.Time) {
	now = now.Round(0) // what stays right when the clock is set is no help here
	if now.Before(r.seen.Add(-setBack)) {
		for _, e := range r.of {
			r.arrange(e)
		}
	}
	r.seen = now
}

// fire hands calls over, and then notes which: what a server that is killed in
// between hands over again is known to the queue by its name.
func (r *Room) fire(ctx context.Context, batch []*firing) {
	var work errgroup.Group
	work.SetLimit(handovers)
	for _, f := range batch {
		work.Go(func() error { r.hand(ctx, f); return nil })
	}
	_ = work.Wait() // none fails
	r.point("trigger.handed")
	var ops []store.Op
	for _, f := range batch {
		if f.over && !f.final {
			ops = append(ops, store.Op{Key: keyOf(f.s).mark(), Value: []byte(f.due.UTC().Format(time.RFC3339))})
		}
	}
	r.mark(ctx, ops)
	for _, f := range batch {
		r.settle(ctx, f)
	}
}

// mark writes the times that were called for. A server that stops has time for that.
func (r *Room) mark(ctx context.Context, ops []store.Op) {
	if len(ops) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if _, err := r.o.Records.Commit(ctx, ops...); err != nil {
		r.o.Log.Error("note the times of schedules", "count", len(ops), "err", err) // they are known here
	}
}

func (r *Room) point(name string) {
	if r.o.Point != nil {
		r.o.Point(name)
	}
}

// settle gives the entry back to the queue. It may have been changed meanwhile, or
// be gone.
func (r *Room) settle(ctx context.Context, f *firing) {
	r.mu.Lock()
	e, rev := f.e, f.e.rev
	there := r.of[keyOf(f.s)] == e
	same := there && e.s == f.s
	e.firing = false
	switch {
	case f.over:
		e.fired = later(e.fired, f.due)
		if there {
			r.arrange(e)
		}
	case same && f.due.After(e.fired): // a schedule that was changed, or called elsewhere, has no retry
		e.at = time.Now().Add(f.retry)
		if f.retry > 0 {
			e.attempt++
		}
		r.queue.put(e)
	case there:
		r.arrange(e)
	}
	r.mu.Unlock()
	if f.over && same && f.final {
		err := r.remove(ctx, keyOf(f.s), rev)
		if _, _, gone := r.find(keyOf(f.s)); err != nil && gone == nil && ctx.Err() == nil {
			r.o.Log.Warn("delete schedule after its last call", "schedule", f.s.Name, "group", f.s.Group, "err", err)
		}
	}
}

// hand gives one call to the queue and decides what becomes of it.
func (r *Room) hand(ctx context.Context, f *firing) {
	age := time.Since(f.planned)
	if age > f.s.MaxAge && f.attempt == 0 { // the server was down
		r.o.Log.Warn("a schedule's time was missed", "schedule", f.s.Name, "group", f.s.Group, "fn", f.s.Function, "due", f.due)
		r.o.Metrics.ScheduleFired(f.s.Namespace, telemetry.FiringMissed, age)
		f.over = true
		return
	}
	id := r.executionID(f)
	payload := r.event(f, id)
	again, err := r.accept(ctx, f.s, id, payload)
	switch code := lambent.CodeOf(err); {
	case err == nil && again, lambent.ReasonOf(err) == "IdempotencyMismatch": // an earlier try has come through
		f.over = true
	case err == nil:
		f.over = true
		r.o.Metrics.ScheduleFired(f.s.Namespace, telemetry.FiringDone, age)
	case ctx.Err() != nil: // the server stops: the next one goes on
	case transient(code) && f.attempt < f.s.MaxRetries && age < f.s.MaxAge:
		f.retry = min(firstDelay<<min(f.attempt, 10), lastDelay)
	case code == lambent.CodeNotFound && !r.o.Alone && f.attempt == 0: // another server may have the function
		f.retry = giveWay
	case code == lambent.CodeNotFound && !r.o.Alone && r.marked(ctx, f): // and had
		f.over = true
	default:
		f.over = true
		r.o.Log.Warn("schedule failed", "schedule", f.s.Name, "group", f.s.Group, "fn", f.s.Function, "due", f.due, "err", err)
		r.o.Metrics.ScheduleFired(f.s.Namespace, telemetry.FiringFailed, age)
		r.bury(ctx, f, payload, err)
	}
}

// accept gives a call to the queue, if the schedule may make it; again tells that it had
// been given there before.
func (r *Room) accept(ctx context.Context, s *lambent.Schedule, id string, payload []byte) (again bool, err error) {
	if r.o.May != nil {
		if err := r.o.May(s); err != nil {
			return false, err
		}
	}
	_, again, err = r.o.Queue.Accept(ctx, async.Request{
		Invocation:  &lambent.Invocation{Namespace: s.Namespace, Function: s.Function, Qualifier: s.Qualifier, Payload: payload, Source: "schedule"},
		Idempotency: "schedule " + id,
	})
	return again, err
}

// transient tells whether trying again can help.
func transient(code lambent.Code) bool {
	return code == lambent.CodeUnavailable || code == lambent.CodeTimeout || code == lambent.CodeThrottled || code == lambent.CodeInternal
}

// bury sends the event to the dead-letter queue, with attributes as the EventBridge
// Scheduler user guide has them ("Configuring a schedule's dead-letter queue").
func (r *Room) bury(ctx context.Context, f *firing, payload []byte, failure error) {
	if f.s.DeadLetter == "" {
		return
	}
	id := r.executionID(f)
	attributes := map[string]string{
		"ERROR_CODE": string(lambent.CodeOf(failure)), "ERROR_MESSAGE": failure.Error(), "EXECUTION_ID": id,
		"RETRY_ATTEMPTS": strconv.Itoa(f.attempt), "SCHEDULED_TIME": f.due.UTC().Format(time.RFC3339),
		"SCHEDULE_ARN": f.s.ARN(r.o.Region), "TARGET_ARN": f.s.Target, "IS_PAYLOAD_TRUNCATED": "false",
	}
	err := r.o.Queue.Send(ctx, async.Letter{
		Namespace: f.s.Namespace, Function: f.s.Function, To: lambent.Destination{ARN: f.s.DeadLetter},
		Body: payload, Attributes: attributes, ID: id,
	})
	if err != nil {
		r.o.Log.Error("send dead letter", "schedule", f.s.Name, "group", f.s.Group, "err", err)
	}
}

// executionID names a call: the same time of the same schedule has always the same
// one.
func (r *Room) executionID(f *firing) string {
	name := keyOf(f.s).record() + " " + f.s.Created.UTC().Format(time.RFC3339Nano) + " " + f.due.UTC().Format(time.RFC3339Nano)
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String()
}

// scheduledEvent is what a call gets whose schedule has no input, in the shape of
// AWS's scheduled events.
type scheduledEvent struct {
	Version    string   `json:"version"`
	ID         string   `json:"id"`
	DetailType string   `json:"detail-type"`
	Source     string   `json:"source"`
	Account    string   `json:"account"`
	Time       string   `json:"time"`
	Region     string   `json:"region"`
	Resources  []string `json:"resources"`
	Detail     string   `json:"detail"` // a text of JSON, as AWS sends it
}

// event is the payload of a call.
func (r *Room) event(f *firing, id string) []byte {
	arn, at := f.s.ARN(r.o.Region), f.due.UTC().Format(time.RFC3339)
	if f.s.Input != "" {
		return []byte(fill(f.s.Input, arn, at, id, f.attempt+1))
	}
	text, _ := json.Marshal(scheduledEvent{ // strings always encode
		Version: "0", ID: id, DetailType: "Scheduled Event", Source: "aws.scheduler", Account: f.s.Namespace,
		Time: at, Region: r.o.Region, Resources: []string{arn}, Detail: "{}",
	})
	return text
}
