package trigger

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/store"
)

// Several servers may have one store. Each knows all schedules and hands over what is
// due: the queue takes a call of one name once. What one has changed or handed over the
// others learn by watching the records.

// rest is how long a store is left alone that could not be watched.
const rest = time.Second

// follow learns what other servers change until ctx ends. A deletion that was heard of
// late may bring a schedule back that was deleted here, until it is heard of itself.
func (r *Room) follow(ctx context.Context) {
	for {
		both, watching := errgroup.WithContext(ctx)
		for _, prefix := range []string{"schedule", "fired/"} {
			both.Go(func() error { return r.watch(watching, prefix) })
		}
		err := both.Wait()
		if ctx.Err() != nil {
			return
		}
		r.o.Log.Warn("other servers' schedules cannot be followed at the moment", "err", err)
		// Of what was deleted meanwhile nothing may be known any more.
		for err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(rest):
			}
			_, err = r.load(ctx)
		}
	}
}

// watch ends with an error.
func (r *Room) watch(ctx context.Context, prefix string) error {
	for rec, err := range r.o.Records.Watch(ctx, prefix, 0) {
		if err != nil {
			return err
		}
		r.heed(rec, nil)
	}
	return ctx.Err()
}

// marked tells whether a server has called for a firing's time.
func (r *Room) marked(ctx context.Context, f *firing) bool {
	rec, err := r.o.Records.Get(ctx, keyOf(f.s).mark())
	if err != nil {
		return false
	}
	_, at, err := parseMark(rec)
	return err == nil && !at.Before(f.due)
}

// heedMark learns that a time was called for.
func (r *Room) heedMark(rec store.Record) error {
	if rec.Value == nil {
		return nil // with its schedule
	}
	k, at, err := parseMark(rec)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.of[k]; e != nil && at.After(e.fired) {
		e.fired = at
		r.arrange(e)
	}
	return nil
}
