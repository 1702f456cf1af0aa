package async

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// Request is a call to be made later.
type Request struct {
	// Invocation says what is called with what. Its RequestID, if set, becomes the
	// call's id.
	Invocation *lambent.Invocation
	At         time.Time // not before; zero is at once
	Priority   int       // higher goes first, -1000 to 1000
	Key        string    // calls of a function with one key run one at a time, in order
	// Idempotency, if set, names the call: a second one of the name is the same.
	Idempotency string
	Labels      map[string]string
	retryOf     string
}

// Bounds of a Request. They are ours.
const (
	MaxLabels   = 16
	maxLabel    = 256 // bytes of a name or value
	maxKey      = 256 // bytes
	maxPriority = 1000
	maxAhead    = 366 * 24 * time.Hour
)

// Accept keeps a call and returns its id when it is durable; again tells that its
// idempotency key had brought it here before. The errors: CodeNotFound for what
// does not exist, CodeInvalid, CodeTooLarge, CodeConflict for an idempotency key
// that stands for another call, and CodeUnavailable when the call could not be
// kept, or may not have been.
func (s *Service) Accept(ctx context.Context, r Request) (id string, again bool, err error) {
	j, err := s.job(r, lambent.CauseOf(ctx))
	if err != nil {
		return "", false, err
	}
	if s.full() {
		return "", false, lambent.Errorf(lambent.CodeUnavailable, "%d events wait: no more are taken until some have been run", s.o.MaxWaiting).WithReason("QueueFull")
	}
	err = s.o.Jobs.Push(ctx, j)
	if errors.Is(err, store.ErrConflict) && r.Idempotency != "" {
		return j.ID, true, s.same(ctx, &j)
	}
	if err != nil {
		return "", false, unavailable("keep the event", err)
	}
	s.o.Metrics.EventAccepted(r.Invocation.Namespace, r.Invocation.Function)
	s.box.fill(j.Lane, j.Due)
	return j.ID, false, nil
}

func (s *Service) full() bool {
	if s.o.MaxWaiting == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting >= s.o.MaxWaiting
}

// job checks r and makes a job of it.
func (s *Service) job(r Request, by lambent.Cause) (store.Job, error) {
	inv := r.Invocation
	if len(inv.Payload) > lambent.MaxAsyncPayload {
		return store.Job{}, lambent.Errorf(lambent.CodeTooLarge, "%d byte payload is too large for the Event invocation type (limit %d bytes)",
			len(inv.Payload), lambent.MaxAsyncPayload)
	}
	entry, err := s.o.Catalog.Get(inv.Namespace, inv.Function, inv.Qualifier)
	if err != nil {
		return store.Job{}, err
	}
	if entry.Version.App != nil {
		return store.Job{}, lambent.Errorf(lambent.CodeInvalid, "%s is an HTTP application, which takes no events", inv.Function)
	}
	now := s.o.Now()
	if err := r.check(now); err != nil {
		return store.Job{}, err
	}
	h := head{Qualifier: inv.Qualifier, Version: inv.Version, Context: inv.ClientContext, Trace: inv.TraceID, Source: inv.Source, RetryOf: r.retryOf, Cause: by}
	j := store.Job{
		ID: inv.RequestID, Lane: laneOf(inv.Namespace, inv.Function), Kind: KindEvent, Status: store.JobWaiting,
		Key: r.Key, Priority: r.Priority, Labels: r.Labels, Created: now,
	}
	if r.At.After(now) {
		j.Due, h.After = r.At, r.At
	}
	switch {
	case r.Idempotency != "":
		j.ID = derivedID("idempotency", inv.Namespace, inv.Function, r.Idempotency)
	case j.ID == "":
		j.ID = NewID()
	}
	j.Body = join(h, inv.Payload)
	return j, nil
}

// NewID makes the id of a call: a UUID that grows with time, so that the store's
// index does too.
func NewID() string {
	id, err := uuid.NewV7()
	if err != nil { // no randomness: it panics everywhere else
		return uuid.NewString()
	}
	return id.String()
}

func (r *Request) check(now time.Time) error {
	refuse := func(format string, args ...any) error {
		return lambent.Errorf(lambent.CodeInvalid, format, args...).WithReason("InvalidRequest")
	}
	switch {
	case len(r.Labels) > MaxLabels:
		return refuse("there are %d labels; at most %d are allowed", len(r.Labels), MaxLabels)
	case len(r.Key) > maxKey || len(r.Idempotency) > maxKey || !isText(r.Key):
		return refuse("a key is text of at most %d bytes", maxKey)
	case r.Priority < -maxPriority || r.Priority > maxPriority:
		return refuse("the priority %d is not from %d to %d", r.Priority, -maxPriority, maxPriority)
	case r.At.Sub(now) > maxAhead:
		return refuse("a call can be put off for at most %s", fmt.Sprint(maxAhead))
	}
	for name, value := range r.Labels {
		if name == "" || len(name) > maxLabel || len(value) > maxLabel || !isText(name) || !isText(value) {
			return refuse("the label %.40q has no name, more than %d bytes, or such as are no text", name, maxLabel)
		}
	}
	return nil
}

// isText tells whether every store can keep a text that jobs are found by.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// same checks that the call that is there is the one that j would be.
func (s *Service) same(ctx context.Context, j *store.Job) error {
	there, err := s.o.Jobs.Job(ctx, j.ID)
	if err != nil {
		return unavailable("read the event", err)
	}
	var a, b head
	if !bytes.Equal(split(there.Body, &a), split(j.Body, &b)) || a.Qualifier != b.Qualifier {
		return lambent.Errorf(lambent.CodeConflict, "the idempotency key stands for another call already: %s", j.ID).WithReason("IdempotencyMismatch")
	}
	return nil
}
