package async

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// Object is a call as people see it.
type Object struct {
	ID        string
	Kind      string // one of the Kind constants
	Namespace string
	Function  string
	Qualifier string
	Status    store.JobStatus
	Error     string // the class of the last error
	Source    string
	Priority  int
	Key       string
	Labels    map[string]string
	Created   time.Time
	Due       time.Time // of the next try, when it waits for one
	Started   time.Time // of the try that runs now
	Ended     time.Time
	Attempts  []Attempt
	Dropped   int // attempts before these, that are not kept
	Retries   int // used up
	Refused   int // tries that found no room
	Progress  json.RawMessage
	Condition string // of the end, as records name it
	Sent      []Sent
	RetryOf   string
	For       string // of a record for a destination: the call that it tells of
	To        string // and where it goes
	TraceID   string
	// Payload and Answer are of one call that was asked for, not of lists.
	Payload []byte
	Answer  *Answer
	Seq     int64 // where it is in the order of arrival, to go on from
}

// Answer is what a call has answered.
type Answer struct {
	Version       string
	ContentType   string
	FunctionError string
	ErrorType     string
	Payload       []byte
	Truncated     int // bytes that the payload had, if not all are kept
	Duration      time.Duration
	Billed        time.Duration
	MemoryMB      int
	MaxMemoryMB   int
	LogTail       string
}

// Query selects calls of a namespace. Zero members select all.
type Query struct {
	Namespace string
	Function  string
	Statuses  []store.JobStatus
	Kind      string
	Error     string
	Labels    map[string]string
	From, To  time.Time // of the acceptance
	Before    int64     // a Seq: only those that came before it
	Limit     int       // 100 when zero
}

// errNone is one error for what does not exist and for what is another's.
func errNone(id string) error {
	return lambent.Errorf(lambent.CodeNotFound, "there is no invocation %s", id)
}

// Get finds a call. What a server runs at this moment is only known there.
func (s *Service) Get(ctx context.Context, namespace, id string) (*Object, error) {
	for {
		held := s.holds(id)
		j, err := s.find(ctx, namespace, id)
		if err != nil {
			return nil, err
		}
		if o, here := s.object(&j); here || !held || j.Status != store.JobRunning {
			return o, nil
		} // else it has ended since the store was read, and what was known here is gone
	}
}

// holds tells whether a job is leased here.
func (s *Service) holds(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[id] != nil
}

func (s *Service) find(ctx context.Context, namespace, id string) (store.Job, error) {
	j, err := s.o.Jobs.Job(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return j, errNone(id)
	}
	if err != nil {
		return j, unavailable("read the invocation", err)
	}
	if owner, _ := ownerOf(j.Lane); owner != namespace {
		return j, errNone(id)
	}
	return j, nil
}

// List finds calls, last accepted first.
func (s *Service) List(ctx context.Context, q Query) ([]*Object, error) {
	find := store.JobQuery{
		Statuses: q.Statuses, Kind: q.Kind, Error: q.Error, Labels: q.Labels, From: q.From, To: q.To, Before: q.Before, Limit: q.Limit,
	}
	switch {
	case q.Function == "":
		find.Prefix = q.Namespace + "/"
	case q.Kind == KindDestination:
		find.Lane = sendLane(q.Namespace, q.Function)
	default:
		find.Lane = laneOf(q.Namespace, q.Function)
	}
	var found []*Object
	for j, err := range s.o.Jobs.FindJobs(ctx, find) {
		if err != nil {
			return nil, unavailable("search the invocations", err)
		}
		o, _ := s.object(&j)
		found = append(found, o)
	}
	return found, nil
}

// object is j with what is known here beyond the store, and whether it is leased
// here.
func (s *Service) object(j *store.Job) (o *Object, here bool) {
	namespace, function := ownerOf(j.Lane)
	o = &Object{
		ID: j.ID, Kind: j.Kind, Namespace: namespace, Function: function, Status: j.Status, Error: j.Error,
		Priority: j.Priority, Key: j.Key, Labels: j.Labels, Created: j.Created, Ended: j.Ended, Seq: j.Seq,
	}
	if j.Status == store.JobWaiting && j.Due.After(j.Created) {
		o.Due = j.Due
	}
	st := readState(j.State)
	s.mu.Lock()
	h := s.held[j.ID]
	if h != nil && j.Status == store.JobRunning {
		o.Started = h.started
		st.Progress = h.state.Progress
		if h.started.IsZero() && !h.ending {
			o.Status = store.JobWaiting // it is leased ahead
		}
	}
	s.mu.Unlock()
	o.Attempts, o.Dropped, o.Retries, o.Refused = st.Attempts, st.Dropped, st.Retries, st.Refused
	o.Progress, o.Condition, o.Sent = st.Progress, st.Condition, st.Sent
	if j.Body == nil {
		return o, h != nil
	}
	var hd head
	if o.Payload = split(j.Body, &hd); hd.Omitted > 0 {
		o.Payload = nil
	}
	o.Qualifier, o.Source, o.TraceID, o.RetryOf, o.For = hd.Qualifier, hd.Source, hd.Trace, hd.RetryOf, hd.For
	if hd.To != nil {
		o.To = hd.To.ARN
	}
	if j.Result != nil {
		var r outcome
		payload := split(j.Result, &r)
		o.Answer = &Answer{
			Version: r.Version, ContentType: r.ContentType, FunctionError: r.FunctionError, ErrorType: r.ErrorType, Payload: payload,
			Truncated: r.Truncated, Duration: r.Duration, Billed: r.Billed, MemoryMB: r.MemoryMB, MaxMemoryMB: r.MaxMemoryMB, LogTail: r.LogTail,
		}
	}
	return o, h != nil
}

// watch returns a channel that is closed when something about the job changes
// here.
func (s *Service) watch(id string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.watchers[id]
	if c == nil {
		c = make(chan struct{})
		s.watchers[id] = c
	}
	return c
}

// unwatch forgets a channel that nobody has to be told by any more. Who else waits
// for it asks the store.
func (s *Service) unwatch(id string, c <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers[id] == c {
		delete(s.watchers, id)
	}
}

// changed wakes who watches a job. The caller holds mu.
func (s *Service) changed(id string) {
	if c := s.watchers[id]; c != nil {
		delete(s.watchers, id)
		close(c)
	}
}

// askEvery is how often the store is asked about a job that is watched: another
// server may have it.
const askEvery = time.Second

// Watch calls see with the call as it is, and again whenever that has changed,
// until it has ended, see returns false, or ctx ends, which is no error.
func (s *Service) Watch(ctx context.Context, namespace, id string, see func(*Object) bool) error {
	var last []byte
	var change <-chan struct{}
	defer func() { s.unwatch(id, change) }()
	for {
		change = s.watch(id)
		o, err := s.Get(ctx, namespace, id)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		now := mustJSON([]any{o.Status, o.Started, len(o.Attempts), o.Progress})
		if string(now) != string(last) {
			last = now
			if !see(o) || o.Status.Ended() {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-change:
		case <-time.After(askEvery):
		}
	}
}

// Wait returns the call when it has ended, or as it is when ctx ends.
func (s *Service) Wait(ctx context.Context, namespace, id string) (*Object, error) {
	var last *Object
	err := s.Watch(ctx, namespace, id, func(o *Object) bool { last = o; return true })
	if err == nil && last == nil { // ctx had ended already
		return s.Get(context.WithoutCancel(ctx), namespace, id)
	}
	return last, err
}

// Cancel ends a call that waits or runs. The error is CodeConflict when it has
// ended already.
func (s *Service) Cancel(ctx context.Context, namespace, id string) (*Object, error) {
	s.wanted(id, +1)
	defer s.wanted(id, -1)
	for n := range cancelTries {
		j, err := s.find(ctx, namespace, id)
		if err != nil {
			return nil, err
		}
		if j.Status == store.JobCancelled && n > 0 { // when it arrived
			return s.Get(ctx, namespace, id)
		}
		if j.Status.Ended() {
			return nil, lambent.Errorf(lambent.CodeConflict, "the invocation has ended already: %s", j.Status).WithReason("AlreadyEnded")
		}
		if s.cancelHere(id) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			return s.Wait(ctx, namespace, id)
		}
		if s.o.Alone && j.Status == store.JobRunning { // it is on its way here, or its end to the store
			select {
			case <-ctx.Done():
			case <-time.After(onItsWay):
			}
			continue
		}
		c := store.Change{ID: id, Token: j.Token, Status: store.JobCancelled, Ended: s.o.Now(), Error: "Cancelled"}
		if j.Status == store.JobWaiting {
			c.Token = 0
		}
		errs, err := s.o.Jobs.Change(ctx, c)
		if err != nil {
			return nil, unavailable("cancel the invocation", err)
		}
		if errs[0] == nil {
			s.countEnd(&j, c.Status)
			s.mu.Lock()
			s.changed(id)
			s.mu.Unlock()
			s.box.fill(j.Lane, time.Time{}) // the next one with its key may go
			return s.Get(ctx, namespace, id)
		}
	}
	return nil, lambent.Errorf(lambent.CodeUnavailable, "the invocation changes hands; try again")
}

// How often it is tried to cancel a job, and how long to wait for one that was leased and
// is on its way to the dispatcher.
const (
	cancelTries = 50
	onItsWay    = 20 * time.Millisecond
)

// wanted counts who wants a job cancelled that may be about to arrive.
func (s *Service) wanted(id string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancels[id] += n; s.cancels[id] == 0 {
		delete(s.cancels, id)
	}
}

// cancelHere cancels a job that this server holds.
func (s *Service) cancelHere(id string) bool {
	s.mu.Lock()
	h := s.held[id]
	here := h != nil && !h.ending && !h.lost // else its end is decided, or another's
	if here {
		h.cancelled = true
		h.cancel()
	}
	waits := here && h.started.IsZero()
	s.mu.Unlock()
	if waits { // it is leased ahead: it need not wait for its turn
		s.box.tell(func(d *dispatcher) { d.drop(h) })
	}
	return here
}

// drop ends a cancelled job that is in a buffer.
func (d *dispatcher) drop(h *held) {
	l := h.lane
	for i := range l.buffer {
		if l.buffer[i] != h {
			continue
		}
		l.buffer = append(l.buffer[:i:i], l.buffer[i+1:]...)
		d.count(h, -1)
		d.uncommitted++
		d.work.Go(func() {
			e, _ := d.s.before(h, d.s.o.Now())
			d.s.leaves(h)
			select {
			case d.s.ends <- e:
			case <-d.calls.Done():
			}
		})
		d.settle(l)
		return
	}
}

// Retry makes the same call again, under a new id. The call must have ended.
func (s *Service) Retry(ctx context.Context, namespace, id string) (string, error) {
	j, err := s.find(ctx, namespace, id)
	if err != nil {
		return "", err
	}
	if !j.Status.Ended() {
		return "", lambent.Errorf(lambent.CodeConflict, "the invocation has not ended: it is %s", j.Status).WithReason("NotEnded")
	}
	var h head
	payload := split(j.Body, &h)
	if h.Omitted > 0 {
		return "", lambent.Errorf(lambent.CodeInvalid, "the payload of %s had %d bytes, too many to keep", id, h.Omitted)
	}
	if h.To != nil {
		return s.sendAgain(ctx, &j, h, payload)
	}
	again, _, err := s.Accept(ctx, Request{
		Invocation: s.again(&j, &h, payload), Priority: j.Priority, Key: j.Key, Labels: j.Labels, retryOf: id,
	})
	return again, err
}

// sendAgain makes a record's job again that has ended.
func (s *Service) sendAgain(ctx context.Context, j *store.Job, h head, payload []byte) (string, error) {
	h.RetryOf = j.ID
	again := store.Job{ID: NewID(), Lane: j.Lane, Kind: j.Kind, Status: store.JobWaiting, Created: s.o.Now()}
	if err := s.address(&again, &h); err != nil {
		return "", err
	}
	again.Body = join(h, payload)
	if err := s.o.Jobs.Push(ctx, again); err != nil {
		return "", unavailable("keep the record", err)
	}
	s.box.fill(again.Lane, time.Time{})
	return again.ID, nil
}

func (s *Service) again(j *store.Job, h *head, payload []byte) *lambent.Invocation {
	namespace, function := ownerOf(j.Lane)
	return &lambent.Invocation{
		RequestID: NewID(), Namespace: namespace, Function: function, Qualifier: h.Qualifier, Payload: payload,
		ClientContext: h.Context, TraceID: h.Trace, Source: "retry", Arrived: s.o.Now(),
	}
}

// Replayed is an event that was run again: what became of it first, and then.
type Replayed struct {
	Was *Object
	ID  string // of the second run
	Now *lambent.Result
}

// Replay runs a call's event against another version or alias, now. Nothing is kept
// of it.
func (s *Service) Replay(ctx context.Context, namespace, id, qualifier string) (*Replayed, error) {
	j, err := s.find(ctx, namespace, id)
	if err != nil {
		return nil, err
	}
	var h head
	payload := split(j.Body, &h)
	switch {
	case h.To != nil:
		return nil, lambent.Errorf(lambent.CodeInvalid, "%s is the record of an end on its way: there is nothing to replay", id)
	case h.Omitted > 0:
		return nil, lambent.Errorf(lambent.CodeInvalid, "the payload of %s had %d bytes, too many to keep", id, h.Omitted)
	}
	inv := s.again(&j, &h, payload)
	inv.Qualifier, inv.Source, inv.WantTail = qualifier, "replay", true
	now, err := s.o.Invoker.Invoke(ctx, inv)
	if err != nil {
		return nil, err
	}
	was, _ := s.object(&j)
	return &Replayed{Was: was, ID: inv.RequestID, Now: now}, nil
}
