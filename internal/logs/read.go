package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// filter is a query made ready for the scan.
type filter struct {
	q             Query
	after, before uint64
	from, to      int64 // milliseconds, [from, to)
	streams       map[string]bool
}

func newFilter(q Query) (*filter, error) {
	f := &filter{q: q, from: math.MinInt64, to: math.MaxInt64, before: math.MaxUint64}
	var err error
	if f.after, err = parseID(q.After); err != nil {
		return nil, err
	}
	if q.Before != "" {
		if f.before, err = parseID(q.Before); err != nil {
			return nil, err
		}
	}
	if !q.From.IsZero() {
		f.from = q.From.UnixMilli()
	}
	if !q.To.IsZero() {
		f.to = q.To.UnixMilli()
	}
	if len(q.Streams) > 0 && q.Prefix == "" {
		f.streams = make(map[string]bool, len(q.Streams))
		for _, name := range q.Streams {
			f.streams[name] = true
		}
	}
	return f, nil
}

// mayHold tells whether a segment is worth a scan, by its name and its index.
func (f *filter) mayHold(s segment) bool {
	if s.last <= f.after || s.first >= f.before || s.max < f.from || s.min >= f.to {
		return false
	}
	if f.q.RequestID != "" && !s.mayHoldRequest(f.q.RequestID) {
		return false
	}
	if !s.sealed || f.streams == nil && f.q.Prefix == "" {
		return true
	}
	list, err := s.indexedStreams()
	return err != nil || slices.ContainsFunc(list, func(st streamStat) bool { return f.wants(st.Name) })
}

func (f *filter) wants(stream string) bool {
	switch {
	case f.q.Prefix != "":
		return strings.HasPrefix(stream, f.q.Prefix)
	case f.streams != nil:
		return f.streams[stream]
	}
	return true
}

// match tells whether the scanner's line is asked for.
func (f *filter) match(sc *scanner) bool {
	l := &sc.line
	return l.id > f.after && l.id < f.before && l.at >= f.from && l.at < f.to &&
		(f.q.RequestID == "" || sc.request() == f.q.RequestID) && f.wants(sc.stream())
}

func (sc *scanner) event() Event {
	l := &sc.line
	return Event{
		ID: formatID(l.id), Time: millis(l.at), Ingested: millis(int64(l.id >> idShift)),
		Stream: sc.stream(), RequestID: sc.request(), Message: string(l.message),
	}
}

// Events implements Reader. Events come in the order in which they were taken
// in, which is the order of their IDs; what was logged before the call is among
// them. The group must exist.
func (s *Store) Events(ctx context.Context, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		f, err := newFilter(q)
		if err == nil {
			err = s.settle(q.Namespace, q.Group)
		}
		var list []segment
		if err == nil {
			list, err = s.segments(q.Namespace, q.Group)
		}
		if err != nil {
			yield(Event{}, err)
			return
		}
		if q.Backward {
			slices.Reverse(list)
		}
		left := q.Limit
		for _, seg := range list {
			if !f.mayHold(seg) {
				continue
			}
			events := seg.events(ctx, f)
			if q.Backward {
				events = backward(events)
			}
			for e, err := range events {
				if !yield(e, err) || err != nil {
					return
				}
				if left--; left == 0 {
					return
				}
			}
		}
	}
}

// checkEvery is how many lines are scanned between two looks at the context.
const checkEvery = 4096

// events scans one segment. One that has been removed meanwhile is empty.
func (s segment) events(ctx context.Context, f *filter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		file, err := s.openData()
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				yield(Event{}, fmt.Errorf("read log segment: %w", err))
			}
			return
		}
		defer func() { _ = file.Close() }() // it was only read
		sc := newScanner(file)
		for n := 0; sc.next(); n++ {
			if n%checkEvery == 0 && ctx.Err() != nil {
				yield(Event{}, ctx.Err())
				return
			}
			if f.match(sc) && !yield(sc.event(), nil) {
				return
			}
		}
	}
}

// openData opens a segment, under its sealed name if it has been sealed since it
// was listed.
func (s segment) openData() (*os.File, error) {
	file, err := os.Open(s.path())
	if err == nil || s.sealed || !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	list, err := listSegments(s.dir)
	if err != nil {
		return nil, err
	}
	for _, other := range list {
		if other.first == s.first {
			return os.Open(other.path())
		}
	}
	return nil, fs.ErrNotExist
}

// backward reverses the events of a segment, of which there are at most as many
// as fit into one.
func backward(events iter.Seq2[Event, error]) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		var list []Event
		for e, err := range events {
			if err != nil {
				yield(Event{}, err)
				return
			}
			list = append(list, e)
		}
		for _, e := range slices.Backward(list) {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// settle writes out what is buffered for a group in use.
func (s *Store) settle(namespace, name string) error {
	s.mu.Lock()
	g := s.groups[groupKey{namespace, name}]
	s.mu.Unlock()
	if g == nil {
		return nil
	}
	return g.flush()
}

// settleAll does so for all groups of a namespace: one that is new has no folder
// before.
func (s *Store) settleAll(namespace string) error {
	var list []*group
	s.mu.Lock()
	for key, g := range s.groups {
		if key.namespace == namespace {
			list = append(list, g)
		}
	}
	s.mu.Unlock()
	for _, g := range list {
		if err := g.flush(); err != nil {
			return err
		}
	}
	return nil
}

// segments lists a group's segments.
func (s *Store) segments(namespace, name string) ([]segment, error) {
	list, err := listSegments(s.groupDir(namespace, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noGroup()
	}
	if err != nil {
		return nil, fmt.Errorf("list log segments: %w", err)
	}
	return list, nil
}

// Groups implements Reader. They come sorted by name.
func (s *Store) Groups(ctx context.Context, namespace, prefix string) ([]Group, error) {
	if err := s.settleAll(namespace); err != nil {
		return nil, err
	}
	var list []Group
	err := s.eachGroup(ctx, namespace, func(dir string, gf groupFile) error {
		if !strings.HasPrefix(gf.Name, prefix) {
			return nil
		}
		g := Group{Name: gf.Name, Created: gf.Created, RetentionDays: gf.RetentionDays, Tags: gf.Tags}
		segs, err := listSegments(dir)
		for _, seg := range segs {
			if info, err := os.Stat(seg.path()); err == nil {
				g.Bytes += info.Size()
			}
		}
		list = append(list, g)
		return err
	})
	slices.SortFunc(list, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return list, err
}

// eachGroup calls do for each group of a namespace that is on the disk.
func (s *Store) eachGroup(ctx context.Context, namespace string, do func(dir string, gf groupFile) error) error {
	root := filepath.Join(s.o.Dir, escape(namespace))
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list log groups: %w", err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := filepath.Join(root, e.Name())
		gf, err := readGroupFile(dir)
		if err != nil {
			continue // being made or removed, or not ours
		}
		if err := do(dir, gf); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Streams implements Reader. They come sorted by name.
func (s *Store) Streams(ctx context.Context, namespace, group, prefix string) ([]StreamInfo, error) {
	if err := s.settle(namespace, group); err != nil {
		return nil, err
	}
	segs, err := s.segments(namespace, group)
	if err != nil {
		return nil, err
	}
	found := make(map[string]*StreamInfo)
	for _, seg := range segs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		stats, err := seg.streamStats()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read log segment: %w", err)
		}
		for _, st := range stats {
			if strings.HasPrefix(st.Name, prefix) {
				found[st.Name] = merge(found[st.Name], st)
			}
		}
	}
	gf, err := readGroupFile(s.groupDir(namespace, group))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read log group %s: %w", group, err)
	}
	for name, made := range gf.Streams {
		if info := found[name]; info != nil {
			info.Created = millis(made)
		} else if strings.HasPrefix(name, prefix) {
			found[name] = &StreamInfo{Name: name, Created: millis(made)}
		}
	}
	list := make([]StreamInfo, 0, len(found))
	for _, info := range found {
		list = append(list, *info)
	}
	slices.SortFunc(list, func(a, b StreamInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

func merge(into *StreamInfo, st streamStat) *StreamInfo {
	first, last := millis(st.First), millis(st.Last)
	if into == nil {
		return &StreamInfo{Name: st.Name, Created: first, First: first, Last: last, Bytes: st.Bytes}
	}
	into.First, into.Last = earlier(into.First, first), later(into.Last, last)
	into.Created = into.First
	into.Bytes += st.Bytes
	return into
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
