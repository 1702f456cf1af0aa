// Package prepare owns what is made ahead of a version's first start: archives of
// Java class data, byte code of Python packages, compiled modules. It has a queue of versions, works on one at
// a time and only while the server is idle, runs the function's runtime in a
// sandbox of the usual driver in a mode that loads the handler, or has an
// application answer once, and ends. It keeps the files that come of it in the
// prepared folder of the data directory, under a key of everything they depend on
// and with their hash. What it makes is an advantage and never a condition: a
// preparation that fails is logged, and the version starts without. It stands
// beside the pool, which asks it at each cold start; it knows no instance and no
// invocation.
package prepare

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
)

// Options are the room's neighbours and limits.
type Options struct {
	Dir       string // the prepared folder; made when it is missing
	Driver    sandbox.Driver
	Artifacts Artifacts
	Runtimes  Runtimes
	// Logs gets what a SnapStart version writes while it is prepared, as on AWS.
	// Nil is nobody; other versions' output is dropped.
	Logs logs.Writer
	// Environment is what a version's runtime finds, by its log stream.
	Environment func(v *lambent.Version, stream string) []string
	Region      string
	// Busy tells that there is more important work; nil is never.
	Busy func() bool
	// Current tells that the version is still there as it was; nil is always.
	Current func(v *lambent.Version) bool
	// Settings are those of a version's function; nil is none. One that wants no
	// reserve has nothing made ahead either: none of its code runs before a call
	// asks for it, and each of its starts is from nothing.
	Settings func(namespace, function string) lambent.Settings
	// MaxBytes bounds the folder; 0 is 2 GiB.
	MaxBytes int64
	NewID    func() string
	Log      *slog.Logger
}

// Artifacts gives directories of unpacked code.
type Artifacts interface {
	Use(ctx context.Context, d lambent.Digest) (dir string, release func(), err error)
}

// Runtimes says what can be made, and how.
type Runtimes interface {
	Resolve(v *lambent.Version) (sandbox.Runtime, error)
	PrepareKey(v *lambent.Version) (key string, ok bool)
	Base(v *lambent.Version) []runtimes.Making
	Prepare(v *lambent.Version, code string, layers []string, dir string) ([]runtimes.Making, error)
	Prepared(rt sandbox.Runtime, dir, key string) (with sandbox.Runtime, mount string)
}

// Bounds of the queue and of one preparation.
const (
	maxQueue  = 1000
	maxTime   = 2 * time.Minute
	idleCheck = 250 * time.Millisecond
	maxBusy   = 30 * time.Second // a version that waited longer is let through
	// After a failure a version is not tried again for firstRest, after each further
	// one for twice as long: what a full disk, or no memory, has broken comes back, and
	// one that always fails costs little.
	firstRest = time.Minute
	longRest  = 6 * time.Hour
)

// Room is safe for use from any goroutine.
type Room struct {
	o    Options
	disk disk
	wake chan struct{} // holds a token while there may be something to do

	mu      sync.Mutex // guards the rest; never held while calling out
	ready   map[string]*entry
	waiting map[string]bool // keys in queue or in work
	queue   []job
	failed  map[string]failure // by key, until it succeeds
}

// entry is what is prepared under one key.
type entry struct {
	pins  int
	used  time.Time
	bytes int64
	code  lambent.Digest
	sizes map[string]int64
	gone  bool // to be removed with the last pin
}

// failure is what is known of a key that could not be prepared.
type failure struct {
	rest  time.Duration // before the next try
	until time.Time
}

type job struct {
	key   string
	v     *lambent.Version
	since time.Time
}

// Open makes or opens the folder. What is in it is used once Run has compared it
// with its hash.
func Open(o Options) (*Room, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 2 << 30
	}
	d, err := openDisk(o.Dir)
	if err != nil {
		return nil, lambent.Errorf(lambent.CodeUnavailable, "open the prepared folder: %w", err)
	}
	return &Room{
		o: o, disk: d, wake: make(chan struct{}, 1),
		ready: map[string]*entry{}, waiting: map[string]bool{}, failed: map[string]failure{},
	}, nil
}

// Want queues v's preparation unless that is done, under way, or has failed lately. It
// never blocks.
func (r *Room) Want(v *lambent.Version) {
	if key, ok := r.key(v); ok && v.State == lambent.StateActive {
		r.want(key, v)
	}
}

// key names what is to be made for v; ok is false where that is nothing.
func (r *Room) key(v *lambent.Version) (key string, ok bool) {
	if r.o.Settings != nil && r.o.Settings(v.Namespace, v.Function).NoReserve {
		return "", false
	}
	return r.o.Runtimes.PrepareKey(v)
}

func (r *Room) want(key string, v *lambent.Version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ready[key] != nil || r.waiting[key] || time.Now().Before(r.failed[key].until) || len(r.queue) >= maxQueue {
		return
	}
	r.waiting[key] = true
	r.queue = append(r.queue, job{key, v, time.Now()})
	select {
	case r.wake <- struct{}{}:
	default: // awake already
	}
}

// Use returns rt as it is started with what was prepared for v, and the directory
// for [sandbox.Spec.Cache], which may be "". release lets go of it, once or more.
// ok is false where nothing is prepared; it is then queued.
func (r *Room) Use(v *lambent.Version, rt sandbox.Runtime) (with sandbox.Runtime, dir string, release func(), ok bool) {
	key, ok := r.key(v)
	if !ok {
		return rt, "", nil, false
	}
	release, sizes, ok := r.pin(key)
	if ok && !r.disk.whole(key, sizes) {
		r.o.Log.Warn("dropped a damaged preparation", "key", key)
		r.drop(key)
		release()
		ok = false
	}
	if !ok {
		r.want(key, v)
		return rt, "", nil, false
	}
	with, dir = r.o.Runtimes.Prepared(rt, r.disk.at(key), key)
	return with, dir, release, true
}

func (r *Room) pin(key string) (release func(), sizes map[string]int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.ready[key]
	if e == nil {
		return nil, nil, false
	}
	e.pins++
	e.used = time.Now()
	return sync.OnceFunc(func() { r.unpin(key, e) }), e.sizes, true
}

// drop makes an entry unavailable; it is removed with its last pin.
func (r *Room) drop(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.ready[key]; e != nil {
		e.gone = true
		delete(r.ready, key)
	}
}

func (r *Room) unpin(key string, e *entry) {
	r.mu.Lock()
	e.pins--
	// What takes its place, or is about to, has the same folder.
	last := e.gone && e.pins == 0 && r.ready[key] == nil && !r.waiting[key]
	r.mu.Unlock()
	if last {
		r.remove(key)
	}
}

// Optimized tells whether starts of v use what was prepared for it.
func (r *Room) Optimized(v *lambent.Version) bool {
	key, ok := r.key(v)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready[key] != nil
}

// Run works until ctx ends. The job that it is at is then given up.
func (r *Room) Run(ctx context.Context) error {
	r.recall(ctx)
	for ctx.Err() == nil {
		j, ok := r.next()
		if !ok {
			select {
			case <-ctx.Done():
			case <-r.wake:
			}
			continue
		}
		if !r.calm(ctx, j) {
			return nil
		}
		r.done(j, r.prepare(ctx, j))
		r.trim(nil)
	}
	return nil
}

// next takes the job that has waited longest.
func (r *Room) next() (job, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return job{}, false
	}
	j := r.queue[0]
	r.queue = r.queue[1:]
	return j, true
}

// calm waits until the server has nothing better to do, for a while. It is false
// when ctx has ended.
func (r *Room) calm(ctx context.Context, j job) bool {
	for r.o.Busy != nil && r.o.Busy() && time.Since(j.since) < maxBusy {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(idleCheck):
		}
	}
	return true
}

// done records what came of a job.
func (r *Room) done(j job, err error) {
	r.mu.Lock()
	delete(r.waiting, j.key)
	if err == nil {
		delete(r.failed, j.key)
	} else {
		if len(r.failed) > maxQueue {
			clear(r.failed) // forgotten failures are tried again
		}
		rest := min(max(2*r.failed[j.key].rest, firstRest), longRest)
		r.failed[j.key] = failure{rest: rest, until: time.Now().Add(rest)}
	}
	r.mu.Unlock()
	if err != nil {
		r.o.Log.Info("did not prepare a version", "function", j.v.Function, "version", j.v.Number, "err", err)
	}
}

// show makes what is on the disk under key available.
func (r *Room) show(key string, m manifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready[key] = &entry{used: time.Now(), bytes: m.Bytes, code: m.Code, sizes: m.Sizes}
}

// recall makes what an earlier server prepared available, as far as it is whole.
func (r *Room) recall(ctx context.Context) {
	for _, key := range r.disk.keys() {
		if ctx.Err() != nil {
			return
		}
		m, err := r.disk.verify(key)
		if err != nil {
			r.o.Log.Warn("dropped a damaged preparation", "key", key, "err", err)
			r.remove(key)
			continue
		}
		r.show(key, m)
	}
}

// Collect drops what belongs to code that is not alive, and returns the bytes
// that will be free once no instance uses it.
func (r *Room) Collect(alive map[lambent.Digest]bool) (freed int64, err error) {
	return r.trim(func(e *entry) bool { return !alive[e.code] }), nil
}

// trim takes away the entries that match, and the longest unused ones above the
// bound.
func (r *Room) trim(match func(*entry) bool) (freed int64) {
	var gone []string
	r.mu.Lock()
	var total int64
	for _, e := range r.ready {
		total += e.bytes
	}
	for len(r.ready) > 0 {
		key := r.victim(match, total > r.o.MaxBytes)
		if key == "" {
			break
		}
		e := r.ready[key]
		delete(r.ready, key)
		total -= e.bytes
		freed += e.bytes
		if e.gone = true; e.pins == 0 {
			gone = append(gone, key)
		}
	}
	r.mu.Unlock()
	for _, key := range gone {
		r.remove(key)
	}
	return freed
}

// victim is called with mu held.
func (r *Room) victim(match func(*entry) bool, full bool) (key string) {
	var oldest time.Time
	for k, e := range r.ready {
		if match != nil && match(e) {
			return k
		}
		if full && e.pins == 0 && (key == "" || e.used.Before(oldest)) {
			key, oldest = k, e.used
		}
	}
	return key
}

// remove takes away files that nothing refers to any more.
func (r *Room) remove(key string) {
	if err := r.disk.remove(key); err != nil {
		r.o.Log.Warn("cannot remove a preparation", "key", key, "err", err)
	}
}

// discard is the output of a run that nobody reads.
type discard struct{}

// WriteLine drops the line.
func (discard) WriteLine(time.Time, []byte) {}

// tail is the output of a run without a function: its last line says what is wrong.
type tail struct {
	mu   sync.Mutex // guards line
	line string
}

// WriteLine keeps the line.
func (t *tail) WriteLine(_ time.Time, p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line = string(p[:min(len(p), 500)])
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.line
}
