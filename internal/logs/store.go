package logs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
)

const (
	flushEvery = 500 * time.Millisecond // at most, between a line and the disk
	tendEvery  = time.Minute            // idle groups are let go
	keepIdle   = 30 * time.Second       // a file that is not written to stays open
	maxOpen    = 256                    // files kept open between flushes
	keepPooled = 1 << 20                // a larger buffer is not kept
)

// Options configure [Open].
type Options struct {
	Dir string
	// MaxAge is how long events are kept where a group says nothing else; zero
	// is for ever.
	MaxAge time.Duration
	// MaxBytes is how much all groups may hold on the disk; beyond it the oldest
	// segments go. Zero is no limit.
	MaxBytes int64
	Log      *slog.Logger
	Now      func() time.Time
}

// Store is the log room. It implements [Reader] and [Writer].
type Store struct {
	o   Options
	now func() time.Time

	buffered atomic.Int64 // bytes in all buffers
	fresh    atomic.Int64 // bytes written since the last sweep
	drops    atomic.Int64 // lines
	wake     chan struct{}
	urgent   chan struct{}
	buffers  sync.Pool // of []byte

	mu     sync.Mutex // guards the rest, and the groups' refs
	groups map[groupKey]*group
	queue  []*group // with something to flush
}

type groupKey struct{ namespace, name string }

var (
	_ Reader = (*Store)(nil)
	_ Writer = (*Store)(nil)
)

// Open makes the store's folder. It reads nothing: groups are looked up when
// they are used.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, lambent.Errorf(lambent.CodeInvalid, "the log room needs a folder")
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("open log room: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Store{
		o: o, now: o.Now, groups: make(map[groupKey]*group),
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
	}, nil
}

// Run writes what is buffered to the disk, at the latest half a second after it
// was logged, and enforces retention, until ctx ends. What is buffered by then is
// written before it returns.
func (s *Store) Run(ctx context.Context) error {
	tend := time.NewTicker(tendEvery)
	defer tend.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flushQueue()
			s.closeFiles(0)
			return nil
		case <-tend.C:
			s.tend(ctx)
		case <-s.wake:
			s.linger(ctx)
			s.flushQueue()
			if s.o.MaxBytes > 0 && s.fresh.Load() > s.o.MaxBytes/16 {
				s.sweep(ctx)
			}
		}
	}
}

// linger lets lines gather, unless a buffer is filling.
func (s *Store) linger(ctx context.Context) {
	t := time.NewTimer(flushEvery)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.urgent:
	case <-ctx.Done():
	}
}

// tend lets go of what is idle and removes what is old.
func (s *Store) tend(ctx context.Context) {
	s.closeFiles(keepIdle)
	s.sweep(ctx)
}

// enqueue marks g for the next flush.
func (s *Store) enqueue(g *group) {
	s.mu.Lock()
	s.queue = append(s.queue, g)
	s.mu.Unlock()
	signal(s.wake)
}

// hurry makes the next flush come at once.
func (s *Store) hurry() { signal(s.urgent) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// flushQueue flushes the groups that have something, each for one buffer, so
// that one that writes much delays the others by no more than that.
func (s *Store) flushQueue() {
	s.mu.Lock()
	queue := s.queue
	s.queue = nil
	s.mu.Unlock()
	for _, g := range queue {
		_ = g.flush() // it has been logged and counted
	}
}

// closeFiles closes the files that were not used for that long, and forgets the
// groups that nobody uses.
func (s *Store) closeFiles(idle time.Duration) {
	limit := s.now().Add(-idle)
	s.mu.Lock()
	list := make([]*group, 0, len(s.groups))
	for key, g := range s.groups {
		list = append(list, g)
		if g.refs == 0 && !g.idle.After(limit) {
			delete(s.groups, key)
		}
	}
	s.mu.Unlock()
	for _, g := range list {
		f := &g.files
		f.mu.Lock()
		if !f.used.After(limit) {
			f.closeFile()
		}
		f.mu.Unlock()
	}
}

// tooManyFiles tells whether a file that was just written to is to be closed.
func (s *Store) tooManyFiles() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.groups) > maxOpen
}

// Open implements Writer.
func (s *Store) Open(namespace, group, name string) Stream {
	if len(name) > maxName {
		name = name[:maxName]
	}
	return &stream{g: s.acquire(namespace, group), name: name, keeping: true, fresh: true}
}

// acquire gives the group of this name, and keeps it until release.
func (s *Store) acquire(namespace, name string) *group {
	key := groupKey{namespace, name}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[key]
	if g == nil {
		g = &group{store: s, namespace: namespace, name: name, resume: true}
		g.files.dir = s.groupDir(namespace, name)
		s.groups[key] = g
	}
	g.refs++
	return g
}

// release undoes acquire. A group that nobody uses is forgotten after a while;
// until then its segment need not be looked for again.
func (s *Store) release(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.refs--; g.refs == 0 {
		g.idle = s.now()
	}
}

// groupDir is the folder of a group.
func (s *Store) groupDir(namespace, name string) string {
	return filepath.Join(s.o.Dir, escape(namespace), escape(name))
}

// takeBuffer and giveBuffer reuse buffers between flushes.
func (s *Store) takeBuffer() []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 4096)
}

func (s *Store) giveBuffer(b []byte) {
	s.buffered.Add(-int64(len(b)))
	if cap(b) <= keepPooled {
		s.buffers.Put(&b)
	}
}

// written counts bytes towards the next sweep.
func (s *Store) written(n int64) { s.fresh.Add(n) }

// lost reports dropped lines and failed writes.
func (s *Store) lost(g *group, lines int64, err error) {
	s.drops.Add(lines)
	if err != nil {
		s.o.Log.Error("function log could not be written", "group", g.name, "ns", g.namespace, "err", err)
		return
	}
	s.o.Log.Warn("function log lines were dropped", "group", g.name, "ns", g.namespace, "lines", lines)
}

// Stats are counters for the metrics.
type Stats struct {
	Buffered int64 // bytes
	Dropped  int64 // lines
	Groups   int   // in use
}

// Stats reads the counters.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Buffered: s.buffered.Load(), Dropped: s.drops.Load(), Groups: len(s.groups)}
}

// noGroup and hasGroup are AWS's answers about a group's existence.
func noGroup() error {
	return (&lambent.Error{Code: lambent.CodeNotFound, Message: "The specified log group does not exist."}).WithReason("ResourceNotFoundException")
}

func hasGroup() error {
	return (&lambent.Error{Code: lambent.CodeConflict, Message: "The specified log group already exists"}).WithReason("ResourceAlreadyExistsException")
}
