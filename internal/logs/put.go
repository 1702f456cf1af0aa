package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"lambent.dev/lambent"
)

// maxMade is how many streams without events a group remembers. Beyond it the oldest
// are forgotten: who makes one for each process would make more for ever.
const maxMade = 1000

// PutEvent is an event that a caller has written, and not a function's output.
type PutEvent struct {
	Time    time.Time
	Message string // is kept as it is
}

// MaxPut bounds what [Store.Put] takes at once, in bytes of messages and in events,
// MaxEvent the message of one (PutLogEvents, CloudWatch Logs API reference).
const (
	MaxPut       = 1 << 20
	MaxPutEvents = 10_000
	MaxEvent     = maxLine - 1
)

// Events of other times are not kept (PutLogEvents, CloudWatch Logs API reference).
const (
	maxFuture = 2 * time.Hour
	maxPast   = 14 * 24 * time.Hour
)

// CreateStream makes an empty stream of a group. One that exists is a conflict.
func (s *Store) CreateStream(ctx context.Context, namespace, group, name string) error {
	_, exists, err := s.knows(ctx, namespace, group, name)
	if err == nil && exists {
		err = hasStream()
	}
	if err != nil {
		return err
	}
	return s.editGroup(namespace, group, func(gf *groupFile) error {
		if _, exists := gf.Streams[name]; exists {
			return hasStream()
		}
		if gf.Streams == nil {
			gf.Streams = map[string]int64{}
		}
		if len(gf.Streams) >= maxMade {
			names := slices.Collect(maps.Keys(gf.Streams))
			delete(gf.Streams, slices.MinFunc(names, func(a, b string) int { return cmp.Compare(gf.Streams[a], gf.Streams[b]) }))
		}
		gf.Streams[name] = s.now().UnixMilli()
		return nil
	})
}

// knows tells whether a group has a stream: one that was made, or has events.
func (s *Store) knows(ctx context.Context, namespace, group, name string) (groupFile, bool, error) {
	if err := s.settle(namespace, group); err != nil { // a group that is new has no folder before
		return groupFile{}, false, err
	}
	gf, err := readGroupFile(s.groupDir(namespace, group))
	if errors.Is(err, fs.ErrNotExist) {
		return gf, false, noGroup()
	}
	if err != nil {
		return gf, false, fmt.Errorf("read log group %s: %w", group, err)
	}
	if _, made := gf.Streams[name]; made {
		return gf, true, nil
	}
	list, err := s.Streams(ctx, namespace, group, name)
	return gf, slices.ContainsFunc(list, func(st StreamInfo) bool { return st.Name == name }), err
}

// Kept tells which events of a [Store.Put] were kept: from both Expired, by the group's
// retention, and TooOld up to TooNew.
type Kept struct{ Expired, TooOld, TooNew int }

// Put adds events to a stream that there is, in the order of their times, and returns
// when they are on the disk. They must be within [MaxPut], [MaxPutEvents] and
// [MaxEvent]. CodeThrottled is for a server that is given more than it can write.
func (s *Store) Put(ctx context.Context, namespace, group, name string, events []PutEvent) (Kept, error) {
	gf, exists, err := s.knows(ctx, namespace, group, name)
	if err == nil && !exists {
		err = (&lambent.Error{Code: lambent.CodeNotFound, Message: "The specified log stream does not exist."}).WithReason("ResourceNotFoundException")
	}
	if err != nil {
		return Kept{}, err
	}
	now := s.now()
	before := func(t time.Time) int {
		i, _ := slices.BinarySearchFunc(events, t, func(e PutEvent, t time.Time) int { return e.Time.Compare(t) })
		return i
	}
	kept := Kept{TooOld: before(now.Add(-maxPast)), TooNew: before(now.Add(maxFuture))}
	if age := s.keeps(&gf); age > 0 {
		kept.Expired = before(now.Add(-age))
	}
	return kept, s.put(namespace, group, name, events[min(kept.TooNew, max(kept.Expired, kept.TooOld)):kept.TooNew])
}

func (s *Store) put(namespace, group, name string, events []PutEvent) error {
	st := &stream{g: s.acquire(namespace, group), name: name, exact: true}
	if err := st.g.flush(); err != nil || s.buffered.Load() > maxBuffered-maxBuffer {
		s.release(st.g)
		return cmp.Or(err, tooFast())
	}
	kept := true
	for i := 0; kept && i < len(events); i++ {
		kept = st.write(events[i].Time, []byte(events[i].Message))
	}
	if err := st.Close(); err != nil {
		return &lambent.Error{Code: lambent.CodeUnavailable, Message: "The events could not be written.", Cause: err}
	}
	if !kept { // functions have filled the buffer meanwhile
		return tooFast()
	}
	return nil
}

func tooFast() error {
	return (&lambent.Error{Code: lambent.CodeThrottled, Message: "Rate exceeded"}).WithReason("ThrottlingException")
}

// hasStream is AWS's answer about a stream that is to be made.
func hasStream() error {
	return (&lambent.Error{Code: lambent.CodeConflict, Message: "The specified log stream already exists"}).WithReason("ResourceAlreadyExistsException")
}
