// Package async runs invocations later: it keeps each one as a durable job, hands
// the jobs out fairly, tries them again by the rules of their function, tells
// destinations of their end, and answers what became of them. It owns the forms
// that a job's bytes have and everything about when a job is run; it refuses to
// know a caller's dialect, to run code (that is the spine's, below it) and to keep
// anything by itself: what it knows of a job outside of the store can be lost at
// any moment. The front doors are above it, the spine, the catalog and the store
// below.
package async

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/telemetry"
)

// Invoker is the spine. A function that fails is a Result; an error is a
// [lambent.Error].
type Invoker interface {
	Invoke(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error)
}

// Catalog answers from memory what there is to run and by which rules.
type Catalog interface {
	Get(namespace, function, qualifier string) (catalog.Entry, error)
	// EventConfigOf is nil where nothing was configured.
	EventConfigOf(namespace, function, qualifier string) *lambent.EventConfig
}

// Deliverer brings records to one kind of destination. An error whose code is
// CodeInvalid, CodeNotFound or CodeDenied is final; others are tried again.
type Deliverer interface {
	Deliver(ctx context.Context, d Delivery) error
}

// Delivery is one record on its way.
type Delivery struct {
	ID        string // the same at every try
	Namespace string // of the function whose call has ended
	To        lambent.Destination
	Record    []byte
	// Attributes go beside the record where the destination has room for them: a
	// dead-letter queue gets RequestID, ErrorCode and ErrorMessage.
	Attributes map[string]string
	TraceID    string
}

// Options are the room's neighbours and limits. Jobs, Invoker, Catalog and Region
// are required.
type Options struct {
	Jobs    store.Jobs
	Invoker Invoker
	Catalog Catalog
	Metrics *telemetry.Metrics // may be nil
	Log     *slog.Logger       // discarded when nil
	Region  string
	// Concurrency is how many calls run at the same time; 16 when zero. It is less
	// than the account's limit, so that callers who wait find room.
	Concurrency int
	// Lease is how long a job stays this server's when nothing is heard of it; 30 s
	// when zero.
	Lease time.Duration
	// Alone tells that no other process works on Jobs: what is leased when this one
	// starts was left behind, and leases do not pass while it runs.
	Alone bool
	// Pace stretches the delays between the tries that AWS prescribes; 1 when zero.
	Pace float64
	// MaxWaiting bounds the events that wait; beyond it they are refused. 0 is no
	// bound.
	MaxWaiting int
	// KeepFor and KeepBytes bound what is remembered of calls that have ended.
	KeepFor   time.Duration
	KeepBytes int64
	// Drain is how long calls may go on when the room stops; 4 s when zero.
	Drain time.Duration
	// Deliverers are the doors to destinations by the service in their ARN. One for
	// "lambent", HTTP endpoints, is there unless it is given.
	Deliverers map[string]Deliverer
	// May tells why the role of a version does not let its records go to a function, by the
	// function's ARN; nil is that it does, and without it all do.
	May func(from *lambent.Version, function string) error
	// Operator is the namespace whose HTTP endpoints may be anywhere; those of all
	// others have public addresses or such in Networks.
	Operator string
	Networks []netip.Prefix
	// Now, Rand (0 to below 1) and NewID (UUIDs) are the world's when nil.
	Now   func() time.Time
	Rand  func() float64
	NewID func() string
}

// Service is safe for use from any goroutine. [Service.Run] does the work; without
// it events are taken and wait.
type Service struct {
	o    Options
	box  inbox
	ends chan ending

	mu       sync.Mutex               // guards what follows
	held     map[string]*held         // leased jobs, by id
	cancels  map[string]int           // calls of Cancel that have not returned, by job
	watchers map[string]chan struct{} // closed when something about the job has changed
	waiting  int                      // events that wait, as of the last look
	oldest   map[string]time.Time     // since when jobs wait in the store, by lane, as of the last look
}

// New makes the room.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.NewID == nil {
		o.NewID = uuid.NewString
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 16
	}
	if o.Lease <= 0 {
		o.Lease = 30 * time.Second
	}
	if o.Drain <= 0 {
		o.Drain = 4 * time.Second
	}
	if o.Pace <= 0 {
		o.Pace = 1
	}
	doors := map[string]Deliverer{"lambent": newEndpoints(o)}
	for service, d := range o.Deliverers {
		doors[service] = d
	}
	o.Deliverers = doors
	return &Service{
		o: o, box: inbox{wake: make(chan struct{}, 1)}, ends: make(chan ending, maxUncommitted),
		held: map[string]*held{}, cancels: map[string]int{}, watchers: map[string]chan struct{}{}, oldest: map[string]time.Time{},
	}
}

// flushTime is how long the store may take to be told of the last ends.
const flushTime = 4 * time.Second

// Run hands out jobs until ctx ends. Calls that run then are let go on for a
// little, and what is left is given back.
func (s *Service) Run(ctx context.Context) error {
	if s.o.Alone {
		if err := s.recover(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	var parts sync.WaitGroup
	parts.Go(func() { s.trim(ctx) })
	parts.Go(func() { s.watchOldest(ctx) })
	// Calls and their ends outlast ctx.
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	flush := make(chan struct{})
	n := committers
	if s.o.Alone {
		n = 1
	}
	for range n {
		parts.Go(func() { s.commit(calls, flush) })
	}
	d := newDispatcher(s, calls)
	d.run(ctx)
	close(flush)
	late := time.AfterFunc(flushTime, stop) // the store does not answer
	defer late.Stop()
	parts.Wait()
	d.work.Wait()
	return nil
}

// recover gives back what an earlier server had leased.
func (s *Service) recover(ctx context.Context) error {
	var left []store.Change
	for j, err := range s.o.Jobs.FindJobs(ctx, store.JobQuery{Statuses: []store.JobStatus{store.JobRunning}, Limit: 1 << 30}) {
		if err != nil {
			return unavailable("read the jobs of an earlier server", err)
		}
		left = append(left, store.Change{ID: j.ID, Token: j.Token, Status: store.JobWaiting, Error: j.Error})
	}
	for len(left) > 0 {
		n := min(len(left), maxBatch)
		if _, err := s.o.Jobs.Change(ctx, left[:n]...); err != nil {
			return unavailable("give back the jobs of an earlier server", err)
		}
		left = left[n:]
	}
	return nil
}

// trimEvery is how often the records of old calls are dropped.
const trimEvery = time.Minute

func (s *Service) trim(ctx context.Context) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := time.Unix(0, 0)
		if s.o.KeepFor > 0 {
			before = s.o.Now().Add(-s.o.KeepFor)
		}
		for ctx.Err() == nil {
			n, err := s.o.Jobs.TrimJobs(ctx, before, s.o.KeepBytes)
			if err != nil {
				s.o.Log.Warn("drop old invocations", "err", err)
			}
			if n == 0 || err != nil {
				break
			}
		}
	}
}

func unavailable(what string, err error) error {
	if errors.Is(err, context.Canceled) {
		return &lambent.Error{Code: lambent.CodeCanceled, Message: "the request ended before the store could " + what, Cause: err}
	}
	e := &lambent.Error{Code: lambent.CodeUnavailable, Message: "the store could not " + what, Cause: err}
	if reason := lambent.ReasonOf(err); reason != "" {
		e.Reason, e.Message = reason, e.Message+": "+err.Error()
	}
	return e
}
