package async

import (
	"context"
	"time"

	"lambent.dev/lambent/internal/telemetry"
)

// Counts tells what waits and runs, and since when calls do: leased ahead or not, a job
// waits until it is tried.
func (s *Service) Counts() telemetry.EventCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := telemetry.EventCounts{Waiting: s.waiting}
	now := s.o.Now()
	for _, h := range s.held {
		switch {
		case h.ending:
		case !h.started.IsZero():
			c.Running++
		case h.head.To != nil:
			c.Waiting++
		default:
			c.Waiting++
			c.Oldest = max(c.Oldest, now.Sub(h.waitsSince()))
		}
	}
	for lane, at := range s.oldest {
		if !isSendLane(lane) { // whose endpoint may be gone for hours
			c.Oldest = max(c.Oldest, now.Sub(at)) // one that is not due yet has no age
		}
	}
	return c
}

// Queue tells what waits and runs of one function's calls, as [Service.Counts] does of all.
// What another server has leased ahead counts as running.
func (s *Service) Queue(ctx context.Context, namespace, function string) (c telemetry.EventCounts, err error) {
	lanes, err := s.o.Jobs.Lanes(ctx)
	if err != nil {
		return c, unavailable("look for the events that wait", err)
	}
	name := laneOf(namespace, function)
	for i := range lanes {
		if lanes[i].Name == name {
			c.Waiting, c.Running = lanes[i].Waiting, lanes[i].Running
		}
	}
	now := s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		if h.job.Lane == name && h.started.IsZero() && !h.ending {
			c.Running--
			c.Waiting++
			c.Oldest = max(c.Oldest, now.Sub(h.waitsSince()))
		}
	}
	if at, ok := s.oldest[name]; ok {
		c.Oldest = max(c.Oldest, now.Sub(at))
	}
	c.Running = max(c.Running, 0) // some may have ended since the store was asked
	return c, nil
}

// waitsSince is since when a held job waits, by the store's rule.
func (h *held) waitsSince() time.Time {
	if h.job.Error == "" {
		return later(h.job.Created, h.head.After)
	}
	return h.job.Created
}

// watchOldest asks the store now and then since when jobs wait, as long as some do. It
// costs a look into each lane with such jobs, and a hundredth of the time at the most.
func (s *Service) watchOldest(ctx context.Context) {
	rest := time.NewTimer(pollEvery)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rest.C:
		}
		began := time.Now()
		s.mu.Lock()
		some := s.waiting > 0
		s.mu.Unlock()
		if some {
			s.lookForOldest(ctx)
		}
		rest.Reset(max(pollEvery, 100*time.Since(began)))
	}
}

func (s *Service) lookForOldest(ctx context.Context) {
	oldest, err := s.o.Jobs.Oldest(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.o.Log.Warn("look for the oldest events", "err", err)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting > 0 { // else they were taken meanwhile
		s.oldest = oldest
	}
}
