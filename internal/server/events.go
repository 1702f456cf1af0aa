package server

import (
	"context"

	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/trigger"
)

// openEvents makes the room of asynchronous calls, and the memory of the others.
func (s *Server) openEvents(context.Context) error {
	c := s.config.Async
	concurrency := c.Concurrency
	if concurrency == 0 {
		concurrency = max(1, s.config.Instances.Concurrency*9/10)
	}
	s.events = async.New(async.Options{
		Jobs: s.records, Invoker: s.invoke, Catalog: s.catalog, Metrics: s.metrics, Log: s.log, Region: s.config.Region,
		Concurrency: concurrency, Lease: c.Lease, Alone: s.config.Store.URL == "", Pace: c.Pace, MaxWaiting: c.MaxWaiting,
		Drain: s.config.Drain, KeepFor: c.KeepFor, KeepBytes: int64(c.KeepBytes), Operator: s.config.Account, Networks: c.Prefixes(),
		May: s.mayDeliver,
	})
	s.keeper = s.events.NewKeeper(c.Sample)
	s.metrics.WatchEvents(s.events.Counts)
	return nil
}

// openTriggers opens the room that makes such calls at the times of schedules.
func (s *Server) openTriggers(ctx context.Context) (err error) {
	s.triggers, err = trigger.Open(ctx, trigger.Options{
		Records: s.records, Queue: s.events, Region: s.config.Region, Alone: s.config.Store.URL == "", Metrics: s.metrics, Log: s.log, Point: s.hooks.Point,
		May: s.maySchedule, Trusts: s.trustsSchedule,
	})
	return err
}
