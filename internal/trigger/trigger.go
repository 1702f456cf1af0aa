// Package trigger makes asynchronous calls of what happens outside: today of the
// times of schedules, as Amazon EventBridge Scheduler has them. It owns what
// schedules and groups of them there are, each a record, and the decision when one
// is due; it refuses to run anything and to try a call again that the queue has
// taken, which is what package async is for, below it. The doors that create
// schedules are beside it and speak to it through interfaces of theirs; grammar and
// calendar are package cron's.
package trigger

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	_ "time/tzdata" // the host may have no zones

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/scale"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/telemetry"
)

// Queue takes calls that are made later.
type Queue interface {
	// Accept keeps a call; its Idempotency makes a second one of the name the same.
	Accept(ctx context.Context, r async.Request) (id string, again bool, err error)
	// Send keeps an event that could not become a call.
	Send(ctx context.Context, l async.Letter) error
}

// Options are the room's neighbours. Records, Queue and Region are required.
type Options struct {
	Records store.Records
	Queue   Queue
	Region  string
	Alone   bool // no other server changes the records
	// May tells why a schedule's role does not let it call its function; nil is that it
	// does, and without it all do.
	May func(s *lambent.Schedule) error
	// Trusts tells whether a schedule's role lets the scheduler have it, or is not on
	// record; without it all do.
	Trusts  func(s *lambent.Schedule) bool
	Metrics *telemetry.Metrics // may be nil
	Log     *slog.Logger       // discarded when nil
	// Point, if set, is called between two durable writes that belong together; a
	// crash test ends the process there.
	Point func(name string)
}

// Limits of one namespace. AWS's are a million schedules, on request more, and 500
// groups. The inputs of all schedules are in memory.
const (
	maxSchedules = 100_000
	maxInputs    = 64 << 20 // bytes
	maxGroups    = 500
)

// Room is safe for use from any goroutine. [Room.Run] does the work; without it
// schedules are kept and wait.
type Room struct {
	o    Options
	wake chan struct{} // something is due earlier than Run believes

	mu     sync.Mutex // guards what follows; never held while calling out
	of     map[key]*entry
	groups map[groupKey]*group
	count  map[string]int // schedules by namespace
	inputs map[string]int // bytes of their inputs
	queue  queue          // of those with a time to come
	seen   time.Time      // the clock on the wall, when Run looked at it last
}

// key names a schedule, groupKey a group.
type (
	key      struct{ namespace, group, name string }
	groupKey struct{ namespace, name string }
)

func (k key) record() string      { return "schedule/" + k.namespace + "/" + k.group + "/" + k.name }
func (k key) mark() string        { return "fired/" + k.namespace + "/" + k.group + "/" + k.name }
func (k groupKey) record() string { return "schedulegroup/" + k.namespace + "/" + k.name }

func keyOf(s *lambent.Schedule) key { return key{s.Namespace, s.Group, s.Name} }

// Create makes a schedule, in [lambent.DefaultGroup] where it has no group. A second
// one with the same Token is the first. The errors: CodeInvalid, CodeNotFound for the
// group, CodeConflict, and CodeConflict with the reason "Quota".
func (r *Room) Create(ctx context.Context, s lambent.Schedule) (*lambent.Schedule, error) {
	now := moment()
	s.Created, s.Modified, s.Since = now, now, now.Truncate(time.Second)
	p, err := r.check(&s)
	if err != nil {
		return nil, err
	}
	if err := checkStart(&s, now); err != nil {
		return nil, err
	}
	switch old, err := r.admit(&s); {
	case err != nil:
		return nil, err
	case old != nil:
		return old, nil
	}
	if err := r.commit(ctx, &s, p, 0); err != nil {
		return nil, err
	}
	return &s, r.keepGrouped(ctx, &s)
}

// keepGrouped takes a schedule back whose group was deleted while it was made: with the
// group all went that was in it then.
func (r *Room) keepGrouped(ctx context.Context, s *lambent.Schedule) error {
	r.mu.Lock()
	there, rev := r.groupLocked(s.Namespace, s.Group), int64(0)
	if e := r.of[keyOf(s)]; e != nil {
		rev = e.rev
	}
	r.mu.Unlock()
	if there || rev == 0 {
		return nil
	}
	if err := r.remove(ctx, keyOf(s), rev); err != nil {
		return err
	}
	return noGroup(s.Group)
}

// admit tells whether there is room for s; the schedule it gives is there already, by
// the same request.
func (r *Room) admit(s *lambent.Schedule) (*lambent.Schedule, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.of[keyOf(s)]; e != nil {
		if s.Token != "" && e.s.Token == s.Token {
			return e.s, nil
		}
		return nil, lambent.Errorf(lambent.CodeConflict, "Schedule %s already exists.", s.Name)
	}
	if !r.groupLocked(s.Namespace, s.Group) {
		return nil, noGroup(s.Group)
	}
	if r.count[s.Namespace] >= maxSchedules {
		return nil, lambent.Errorf(lambent.CodeConflict, "The number of schedules is at its limit of %d.", maxSchedules).WithReason("Quota")
	}
	return nil, r.fits(s, 0)
}

// fits tells whether there is room for the input of s, which takes the place of one of some
// bytes. The caller holds mu.
func (r *Room) fits(s *lambent.Schedule, old int) error {
	if len(s.Input) > old && r.inputs[s.Namespace]+len(s.Input)-old > maxInputs {
		return lambent.Errorf(lambent.CodeConflict, "The inputs of all schedules are at their limit of %d bytes.", maxInputs).WithReason("Quota")
	}
	return nil
}

// Update makes s what the schedule of its name is. Its times begin anew when they
// have changed, or when it is enabled. The errors are those of [Room.Create].
func (r *Room) Update(ctx context.Context, s lambent.Schedule) (*lambent.Schedule, error) {
	old, rev, err := r.find(keyIn(s.Namespace, s.Group, s.Name))
	if err != nil {
		return nil, err
	}
	now := moment()
	s.Created, s.Modified, s.Since, s.Token = old.Created, now, old.Since, old.Token
	p, err := r.check(&s)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	err = r.fits(&s, len(old.Input))
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	same := s.Expression == old.Expression && s.Timezone == old.Timezone && s.Start.Equal(old.Start)
	if !same {
		err = checkStart(&s, now)
	}
	if !same || old.Disabled && !s.Disabled {
		s.Since = now.Truncate(time.Second)
		p.since(&s)
	}
	if err != nil {
		return nil, err
	}
	return &s, r.commit(ctx, &s, p, rev)
}

// Delete deletes a schedule; group "" is [lambent.DefaultGroup].
func (r *Room) Delete(ctx context.Context, namespace, groupName, name string) error {
	k := keyIn(namespace, groupName, name)
	_, rev, err := r.find(k)
	if err != nil {
		return err
	}
	return r.remove(ctx, k, rev)
}

// Schedule finds a schedule; group "" is [lambent.DefaultGroup].
func (r *Room) Schedule(namespace, groupName, name string) (*lambent.Schedule, error) {
	s, _, err := r.find(keyIn(namespace, groupName, name))
	return s, err
}

// Schedules lists those of a group, of all where group is "", whose name begins with
// prefix, by group and name.
func (r *Room) Schedules(namespace, groupName, prefix string) []*lambent.Schedule {
	var out []*lambent.Schedule
	r.mu.Lock()
	for k, e := range r.of {
		if k.namespace == namespace && (groupName == "" || k.group == groupName) && strings.HasPrefix(k.name, prefix) {
			out = append(out, e.s)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b *lambent.Schedule) int {
		return strings.Compare(a.Group+"/"+a.Name, b.Group+"/"+b.Name)
	})
	return out
}

// Times are the next n calls of a schedule, without its window, and the last time
// that it has called; zero is none.
func (r *Room) Times(namespace, groupName, name string, n int) (next []time.Time, last time.Time) {
	r.mu.Lock()
	e := r.of[keyIn(namespace, groupName, name)]
	if e == nil {
		r.mu.Unlock()
		return nil, last
	}
	p, last, off := e.plan, e.fired, e.s.Disabled
	r.mu.Unlock()
	if off {
		return nil, last
	}
	for at := p.next(later(last, moment())); !at.IsZero() && len(next) < n; at = p.next(at) {
		next = append(next, at)
	}
	return next, last
}

// Soon are the calls that schedules will make between two moments.
func (r *Room) Soon(from, to time.Time) []scale.Call {
	var out []scale.Call
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := range r.queue.until(to) {
		if !e.at.Before(from) && e.attempt == 0 {
			out = append(out, scale.Call{Namespace: e.s.Namespace, Function: e.s.Function, Qualifier: e.s.Qualifier, At: e.at})
		}
	}
	return out
}

func keyIn(namespace, groupName, name string) key {
	if groupName == "" {
		groupName = lambent.DefaultGroup
	}
	return key{namespace, groupName, name}
}

func (r *Room) find(k key) (*lambent.Schedule, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.of[k]; e != nil {
		return e.s, e.rev, nil
	}
	if !r.groupLocked(k.namespace, k.group) {
		return nil, 0, noGroup(k.group)
	}
	return nil, 0, lambent.Errorf(lambent.CodeNotFound, "Schedule %s does not exist.", k.name)
}

// moment is now as records keep it.
func moment() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
