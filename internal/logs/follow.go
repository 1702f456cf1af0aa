package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"time"

	"lambent.dev/lambent"
)

const (
	// maxFollowers bounds the callers that follow one group.
	maxFollowers = 128
	// gather is how long a follower waits for more after the first new line.
	gather = 50 * time.Millisecond
)

// follower is told of new lines, and reads them from the files at its own pace:
// a slow one costs no memory and misses nothing that retention leaves.
type follower struct{ more chan struct{} }

func (f *follower) wake() { signal(f.more) }

// Follow implements Reader. The group need not exist yet. It ends when ctx does,
// without an error, or when the caller stops.
func (s *Store) Follow(ctx context.Context, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := s.follow(ctx, q, func(e Event) bool { return yield(e, nil) }); err != nil && ctx.Err() == nil {
			yield(Event{}, err)
		}
	}
}

func (s *Store) follow(ctx context.Context, q Query, yield func(Event) bool) error {
	f, err := newFilter(q)
	if err != nil {
		return err
	}
	g := s.acquire(q.Namespace, q.Group)
	defer s.release(g)
	fw := &follower{more: make(chan struct{}, 1)}
	if err := g.subscribe(fw); err != nil {
		return err
	}
	defer g.unsubscribe(fw)
	if q.After == "" && q.From.IsZero() {
		f.after = g.position()
	}
	left := q.Limit
	cur := cursor{dir: g.files.dir}
	defer cur.close()
	for {
		if err := g.flush(); err != nil {
			return err
		}
		stop, err := cur.advance(ctx, f, func(e Event) bool {
			left--
			return yield(e) && left != 0
		})
		if err != nil || stop {
			return err
		}
		if !fw.wait(ctx) {
			return nil
		}
	}
}

// wait returns when there is more; false is the end of ctx.
func (f *follower) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-f.more:
	}
	t := time.NewTimer(gather)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (g *group) subscribe(f *follower) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.followers) >= maxFollowers {
		return lambent.Errorf(lambent.CodeThrottled, "too many callers follow log group %s", g.name)
	}
	if g.followers == nil {
		g.followers = make(map[*follower]struct{})
	}
	g.followers[f] = struct{}{}
	return nil
}

func (g *group) unsubscribe(f *follower) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.followers, f)
}

// position is before every event that is still to come.
func (g *group) position() uint64 {
	now := uint64(g.store.now().UnixMilli()) << idShift
	g.mu.Lock()
	defer g.mu.Unlock()
	// Nothing was logged in this group object yet: an earlier one cannot have
	// been in this millisecond's future.
	return max(g.last, now-1)
}

// cursor is a place in a group's segments that moves forward.
type cursor struct {
	dir  string
	at   uint64 // first id of the segment that is open
	file *os.File
	scan *scanner
}

func (c *cursor) close() {
	if c.file != nil {
		_ = c.file.Close() // it was only read
		c.file = nil
	}
}

// advance yields what the segments hold beyond the cursor; stop tells that the
// caller wants no more.
func (c *cursor) advance(ctx context.Context, f *filter, yield func(Event) bool) (stop bool, err error) {
	for {
		if stop, err := c.drain(ctx, f, yield); stop || err != nil {
			return stop, err
		}
		next, ok, err := c.next(f)
		if err != nil || !ok {
			return false, err
		}
		// What was written to the old one before the new one began.
		if stop, err := c.drain(ctx, f, yield); stop || err != nil {
			return stop, err
		}
		file, err := next.openData()
		if errors.Is(err, fs.ErrNotExist) {
			c.at = next.first
			continue
		}
		if err != nil {
			return false, fmt.Errorf("read log segment: %w", err)
		}
		c.close()
		c.at, c.file, c.scan = next.first, file, newScanner(file)
	}
}

func (c *cursor) drain(ctx context.Context, f *filter, yield func(Event) bool) (stop bool, err error) {
	if c.file == nil {
		return false, nil
	}
	for n := 1; c.scan.next(); n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return true, ctx.Err()
		}
		if f.match(c.scan) && !yield(c.scan.event()) {
			return true, nil
		}
	}
	return false, nil
}

// next is the segment after the one that is open.
func (c *cursor) next(f *filter) (segment, bool, error) {
	list, err := listSegments(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return segment{}, false, nil
	}
	if err != nil {
		return segment{}, false, fmt.Errorf("list log segments: %w", err)
	}
	for _, s := range list {
		if s.first > c.at && s.last > f.after && s.max >= f.from {
			return s, true, nil
		}
	}
	return segment{}, false, nil
}
