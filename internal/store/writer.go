package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"sync"
)

// groupBytes ends a group: a transaction does not grow beyond this by more than
// one request.
const groupBytes = 8 << 20

// writer is the one goroutine that writes, with another that has the disk keep it:
// the transaction of one group is made while the group before is synced.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn // the only one; it lives as long as the writer
	log   *slog.Logger
	point func(string)
	wal   *syncer // of the write-ahead log

	queue   chan *request // unbuffered: what is received is also answered
	stopped chan struct{}
	loop    sync.WaitGroup

	// disk is a token: who has it may commit, and the disk's goroutine has it while
	// it works on what synced brings.
	disk   chan struct{}
	synced chan []*request
	worn   chan struct{} // tells the checkpointer that the log has grown

	// Only the loop uses these after the opening.
	stmts  map[string]*sql.Stmt
	counts counts
	lanes  *laneBook           // the loop writes it, and readers see what is committed
	taken  map[string]jobState // of running jobs, by id; those that are missing are read

	mu      sync.Mutex    // guards what follows
	broken  error         // set when the disk's state is unknown; nothing is written then
	pending int64         // groups that were given to the disk
	durable int64         // of them, those that it has
	changed chan struct{} // closed and replaced after every group
}

// counts are the numbers that go on from one transaction to the next; the table
// "counter" keeps them.
type counts struct {
	revision int64 // of the last batch of records
	seq      int64 // of the last job
	ended    int64 // bytes of the jobs that have ended
}

// request is one caller's write on its way.
type request struct {
	size int // bytes, about
	// apply does it within the group's transaction. Its error is the disk's; what
	// is refused is the caller's own business, and has written nothing.
	apply func(ctx context.Context) error
	// early has it answered before the disk has it: who asks needs to know only that
	// no other request comes before. It is on the disk before whatever is written later.
	early bool
	err   error
	done  chan struct{} // closed when err is set
}

func openWriter(ctx context.Context, path string, o Options) (*writer, error) {
	// With synchronous=NORMAL a commit is in the log, and the log is not on the disk:
	// that is the business of the disk's goroutine.
	db, err := sql.Open("sqlite", dsn(path, writeCache, "synchronous(NORMAL)", "wal_autocheckpoint(4000)", "journal_size_limit(16777216)"))
	if err != nil {
		return nil, err
	}
	w := &writer{
		db: db, log: o.Log, point: o.Point, stmts: map[string]*sql.Stmt{}, lanes: newLaneBook(), taken: map[string]jobState{},
		queue: make(chan *request), stopped: make(chan struct{}), changed: make(chan struct{}),
		disk: make(chan struct{}, 1), synced: make(chan []*request), worn: make(chan struct{}, 1),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.point == nil {
		w.point = func(string) {}
	}
	err = w.prepare(ctx)
	if err == nil {
		var log *os.File
		if log, err = os.OpenFile(path+"-wal", os.O_RDWR, 0); err == nil {
			w.wal = newSyncer(log)
		}
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.disk <- struct{}{}
	w.loop.Go(w.run) // stop waits for them
	w.loop.Go(w.keep)
	w.loop.Go(func() { w.checkpoints(path) })
	return w, nil
}

func (w *writer) prepare(ctx context.Context) (err error) {
	if w.conn, err = w.db.Conn(ctx); err != nil {
		return err
	}
	if err := migrate(ctx, w.conn); err != nil {
		return err
	}
	for _, text := range writeStatements {
		if w.stmts[text], err = w.conn.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // close does it
			return err
		}
	}
	for name, value := range w.counts.byName() {
		if err := w.conn.QueryRowContext(ctx, `SELECT value FROM counter WHERE name = ?`, name).Scan(value); err != nil {
			return err
		}
	}
	return w.loadLanes(ctx)
}

func (c *counts) byName() map[string]*int64 {
	return map[string]*int64{"revision": &c.revision, "seq": &c.seq, "ended": &c.ended}
}

// do hands a write to the loop and waits for what becomes of it. ctx counts until
// the loop takes it up.
func (w *writer) do(ctx context.Context, doing string, r *request) error {
	r.done = make(chan struct{})
	select {
	case w.queue <- r:
	case <-ctx.Done():
		return canceled(doing, ctx.Err())
	case <-w.stopped:
		return closed(doing)
	}
	<-r.done
	if r.err != nil {
		return fail(doing, r.err)
	}
	return nil
}

// run makes transactions of the requests, until stop.
func (w *writer) run() {
	defer close(w.synced)
	for {
		select {
		case first := <-w.queue:
			w.write(first)
		case <-w.stopped:
			return
		}
	}
}

// write makes one transaction of first and of what comes while the disk is busy,
// and hands it on. A request that is refused leaves the others alone; a fault of the
// disk is everyone's, also of those who were refused, since what they were compared
// with is gone.
func (w *writer) write(first *request) {
	before := w.counts
	group, err := w.transact(first)
	if err != nil {
		w.counts = before
		w.lanes.drop()
		clear(w.taken)
		w.log.Error("commit failed", "requests", len(group), "err", err)
		w.answer(group, err)
		w.disk <- struct{}{}
		return
	}
	w.lanes.publish()
	var rest []*request
	for _, r := range group {
		if r.early {
			close(r.done)
		} else {
			rest = append(rest, r)
		}
	}
	if len(rest) == 0 {
		w.disk <- struct{}{}
		w.announce(1)
		return
	}
	w.synced <- rest
}

// answer tells the callers of a group what has become of it.
func (w *writer) answer(group []*request, err error) {
	for _, r := range group {
		r.err = err
		close(r.done)
	}
}

// transact commits a group. It then has the disk's token, whatever the error is.
func (w *writer) transact(first *request) (group []*request, err error) {
	// No caller's context: one that leaves must not undo what others wait for.
	ctx := context.Background()
	group = []*request{first}
	if _, err = w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		<-w.disk
		return group, err
	}
	if group, err = w.apply(ctx, first); err == nil {
		err = w.commitGroup(ctx)
	}
	if err != nil {
		_, _ = w.conn.ExecContext(ctx, "ROLLBACK") // fails when SQLite has done it already
	}
	return group, err
}

func (w *writer) commitGroup(ctx context.Context) error {
	w.mu.Lock()
	broken := w.broken
	w.pending++ // before readers can see it
	w.mu.Unlock()
	err := broken
	if err == nil {
		w.point("store.before-commit")
		if _, err = w.conn.ExecContext(ctx, "COMMIT"); isIO(err) {
			_ = w.breaks(err) // for those who come later
		}
	}
	if err != nil {
		w.announce(1) // there is nothing to wait for
	}
	return err
}

// breaks stops all writing: a write or a sync has failed, so that what the disk
// holds is unknown, and a later sync that succeeds would not tell.
func (w *writer) breaks(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = fail("writing has stopped, restart the server", err)
	}
	return w.broken
}

// apply runs the group's requests, and then writes down what they have counted. The
// group grows until the disk is idle and nobody waits.
func (w *writer) apply(ctx context.Context, first *request) (group []*request, err error) {
	before := w.counts
	token := false
	size := 0
	for r := first; r != nil; {
		group, size = append(group, r), size+r.size
		if err == nil {
			err = r.apply(ctx)
		}
		if r = nil; size < groupBytes && err == nil {
			r, token = w.next(token)
		}
	}
	if !token {
		<-w.disk
	}
	if err != nil {
		return group, err
	}
	w.point("store.applied")
	return group, w.saveCounts(ctx, before)
}

// next is another request for the group, or nil when the disk's token is there first
// and nobody else asks.
//
// Go's scheduler lets a caller that was answered, and the writer that it asks next, go
// on in turns for as long as 10 ms, while all the others wait to ask: that makes groups
// of one. So all who can run have their turn before a group is closed.
func (w *writer) next(token bool) (*request, bool) {
	select {
	case r := <-w.queue:
		return r, token
	default:
	}
	if !token {
		select {
		case r := <-w.queue:
			return r, false
		case <-w.disk:
		}
	}
	runtime.Gosched()
	select {
	case r := <-w.queue:
		return r, true
	default:
		return nil, true
	}
}

func (w *writer) saveCounts(ctx context.Context, before counts) error {
	if err := w.saveLanes(ctx); err != nil {
		return err
	}
	was := before.byName()
	for name, value := range w.counts.byName() {
		if *value == *was[name] {
			continue
		}
		if err := w.exec(ctx, countSQL, *value, name); err != nil {
			return err
		}
	}
	return nil
}

// exec runs a statement whose outcome needs no look.
func (w *writer) exec(ctx context.Context, text string, args ...any) error {
	_, err := w.stmts[text].ExecContext(ctx, args...)
	return err
}

// changes is closed after the next group.
func (w *writer) changes() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// stop ends the loop once the group at hand is answered, and wakes the watchers.
func (w *writer) stop() {
	close(w.stopped)
	w.loop.Wait()
	w.announce(0)
}

// close closes the connection; stop comes first, if the loop was started.
func (w *writer) close() error {
	var errs []error
	for _, stmt := range w.stmts {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	if w.conn != nil {
		errs = append(errs, w.conn.Close())
	}
	if w.wal != nil {
		errs = append(errs, w.wal.close())
	}
	return errors.Join(append(errs, w.db.Close())...)
}
