package trigger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// The records, as JSON under these keys:
//
//	schedule/<ns>/<group>/<name>   lambent.Schedule
//	schedulegroup/<ns>/<name>      lambent.ScheduleGroup
//	fired/<ns>/<group>/<name>      the last time that it has called for, RFC 3339
//
// A schedule's record changes with the schedule only: the times that pass leave its
// revision as it is.

// commitTimeout bounds how long a write waits for the store.
const commitTimeout = 30 * time.Second

// Open reads the schedules that there are. What is due is looked at by [Room.Run].
func Open(ctx context.Context, o Options) (*Room, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Room{o: o, wake: make(chan struct{}, 1), of: map[key]*entry{}, groups: map[groupKey]*group{}, count: map[string]int{}, inputs: map[string]int{}}
	left, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	return r, r.dropMarks(ctx, left)
}

// load makes the room what the store has, and gives the times of schedules that there
// are not.
func (r *Room) load(ctx context.Context) (map[key]time.Time, error) {
	fired, err := r.loadMarks(ctx)
	if err != nil {
		return nil, err
	}
	gone := r.known()
	for rec, err := range r.o.Records.Scan(ctx, "schedule") { // groups, too
		if err != nil {
			return nil, fmt.Errorf("read schedules: %w", err)
		}
		r.heed(rec, fired)
		delete(gone, rec.Key)
	}
	for name, rev := range gone {
		r.heed(store.Record{Key: name, Revision: rev + 1}, nil)
	}
	return fired, nil
}

// known are the revisions of all records that the room has, by their keys.
func (r *Room) known() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]int64, len(r.of)+len(r.groups))
	for k, e := range r.of {
		all[k.record()] = e.rev
	}
	for k, g := range r.groups {
		all[k.record()] = g.rev
	}
	return all
}

// heed makes the room know a record as it is now, or that it was deleted. Of fired
// it takes the last time of a schedule that is new here.
func (r *Room) heed(rec store.Record, fired map[key]time.Time) {
	kind, _, _ := strings.Cut(rec.Key, "/")
	var err error
	switch kind {
	case "schedule":
		err = r.heedSchedule(rec, fired)
	case "schedulegroup":
		err = r.heedGroup(rec)
	case "fired":
		err = r.heedMark(rec)
	}
	if err != nil {
		r.o.Log.Error("read schedule", "key", rec.Key, "err", err)
	}
}

func (r *Room) heedSchedule(rec store.Record, fired map[key]time.Time) error {
	k, err := parseKey(rec.Key)
	if err != nil {
		return err
	}
	var s lambent.Schedule
	var p plan
	if rec.Value != nil {
		if err := json.Unmarshal(rec.Value, &s); err != nil {
			return err
		}
		if p, err = planOf(&s); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.of[k]
	switch {
	case rec.Value == nil && e != nil && e.rev < rec.Revision:
		r.forget(k)
	case rec.Value != nil:
		r.install(k, &s, p, rec.Revision, fired[k])
	}
	delete(fired, k)
	return nil
}

func (r *Room) loadMarks(ctx context.Context) (map[key]time.Time, error) {
	fired := map[key]time.Time{}
	for rec, err := range r.o.Records.Scan(ctx, "fired/") {
		if err != nil {
			return nil, fmt.Errorf("read the times of schedules: %w", err)
		}
		k, at, err := parseMark(rec)
		if err != nil {
			r.o.Log.Error("read the time of a schedule", "key", rec.Key, "err", err)
			continue
		}
		fired[k] = at
	}
	return fired, nil
}

func parseMark(rec store.Record) (k key, at time.Time, err error) {
	if k, err = parseKey(rec.Key); err == nil {
		at, err = time.Parse(time.RFC3339, string(rec.Value))
	}
	return k, at, err
}

// dropMarks forgets the times of schedules that were deleted while they were called.
func (r *Room) dropMarks(ctx context.Context, left map[key]time.Time) error {
	var ops []store.Op
	for k := range left {
		ops = append(ops, store.Op{Key: k.mark(), Delete: true})
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := r.o.Records.Commit(ctx, ops...)
	return err
}

var errKey = errors.New("unknown key")

// parseKey reads the key of a schedule's record, or of its mark.
func parseKey(text string) (key, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 4 {
		return key{}, errKey
	}
	return key{parts[1], parts[2], parts[3]}, nil
}

// install makes s what the schedule of a key is, of which fired is the last time, if it
// is new here. The caller holds mu.
func (r *Room) install(k key, s *lambent.Schedule, p plan, rev int64, fired time.Time) {
	e := r.of[k]
	if e == nil {
		e = &entry{s: &lambent.Schedule{}, place: -1, fired: fired}
		r.of[k] = e
		r.count[k.namespace]++
	}
	if rev > e.rev { // else this one is here, or a later change has overtaken it
		r.inputs[k.namespace] += len(s.Input) - len(e.s.Input)
		e.s, e.plan, e.rev = s, p, rev
		r.arrange(e)
	}
}

// forget takes a schedule out, if it is there. The caller holds mu.
func (r *Room) forget(k key) {
	if e := r.of[k]; e != nil {
		r.queue.drop(e)
		delete(r.of, k)
		r.count[k.namespace]--
		r.inputs[k.namespace] -= len(e.s.Input)
	}
}

// commit makes s what the schedule of its name is, in the store first; rev is the
// revision that it takes the place of, 0 for none.
func (r *Room) commit(ctx context.Context, s *lambent.Schedule, p plan, rev int64) error {
	value, err := json.Marshal(s)
	if err != nil {
		return &lambent.Error{Code: lambent.CodeInternal, Message: "the schedule could not be written", Cause: err}
	}
	k := keyOf(s)
	return r.write(ctx, k, func(revision int64) { r.install(k, s, p, revision, time.Time{}) }, store.Op{Key: k.record(), Value: value, Check: true, If: rev})
}

// remove deletes a schedule that has a revision.
func (r *Room) remove(ctx context.Context, k key, rev int64) error {
	return r.write(ctx, k, func(int64) { r.forget(k) },
		store.Op{Key: k.record(), Delete: true, Check: true, If: rev}, store.Op{Key: k.mark(), Delete: true})
}

// write commits a change of one schedule and applies it.
func (r *Room) write(ctx context.Context, k key, apply func(revision int64), ops ...store.Op) error {
	return r.change(ctx, "Schedule "+k.name, apply, func(ctx context.Context) error { return r.refresh(ctx, k.record()) }, ops...)
}

// change commits what is asked for, whether or not who asks stays, and applies it. After a
// failure the store alone knows whether it was applied, and is asked by refresh.
func (r *Room) change(ctx context.Context, what string, apply func(revision int64), refresh func(context.Context) error, ops ...store.Op) error {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	revision, err := r.o.Records.Commit(bound, ops...)
	if err != nil {
		if err := refresh(bound); err != nil {
			r.o.Log.Error("reread after a failed write", "what", what, "err", err)
		}
		return failed(err, what)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	apply(revision)
	return nil
}

// refresh brings what a record says back to what the store has.
func (r *Room) refresh(ctx context.Context, name string) error {
	rec, err := r.o.Records.Get(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		rec, err = store.Record{Key: name, Revision: math.MaxInt64}, nil
	}
	if err == nil {
		r.heed(rec, nil)
	}
	return err
}

// failed is the error of a write.
func failed(err error, what string) error {
	if errors.Is(err, store.ErrConflict) {
		return &lambent.Error{Code: lambent.CodeConflict, Message: what + " is being changed by another request.", Cause: err}
	}
	return &lambent.Error{
		Code: lambent.CodeUnavailable, Reason: lambent.ReasonOf(err), Cause: err,
		Message: cmp.Or(what, "The schedule") + " could not be written.",
	}
}
