package async

import (
	"context"
	"errors"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// Letter is an event that never became a call, on its way to where such events go.
type Letter struct {
	Namespace, Function string // that it was for
	To                  lambent.Destination
	Body                []byte
	Attributes          map[string]string // beside the body, where the destination has room
	// ID names it: a second one of the name is the same.
	ID string
}

// Send keeps a letter, which is delivered as the record of a call is. The error is
// CodeUnavailable when it could not be kept.
func (s *Service) Send(ctx context.Context, l Letter) error {
	now := s.o.Now()
	j := store.Job{
		ID: derivedID("letter", l.ID), Lane: sendLane(l.Namespace, l.Function), Kind: KindDestination,
		Status: store.JobWaiting, Created: now,
		Body: join(head{Source: "schedule", To: &l.To, Attributes: l.Attributes}, l.Body),
	}
	if s.o.Deliverers[l.To.Service()] == nil {
		j.Status, j.Ended, j.Error = store.JobFailed, now, "NoDeliverer"
	}
	if err := s.o.Jobs.Push(ctx, j); err != nil && !errors.Is(err, store.ErrConflict) {
		return unavailable("keep the dead letter", err)
	}
	if j.Status == store.JobWaiting {
		s.box.fill(j.Lane, j.Due)
	}
	return nil
}
