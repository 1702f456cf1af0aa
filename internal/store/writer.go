package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
)

// groupBytes ends a group: a transaction does not grow beyond this by more than
// one request.
const groupBytes = 8 << 20

// writer is the one goroutine that writes.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn // the only one; it lives as long as the writer
	log   *slog.Logger
	point func(string)

	queue   chan *request // unbuffered: what is received is also answered
	stopped chan struct{}
	loop    sync.WaitGroup

	// Only the loop uses these after the opening.
	stmts  map[string]*sql.Stmt
	counts counts
	lanes  *laneBook // the loop writes it, and readers see what is committed
	broken error     // set when the disk's state is unknown; nothing is written then

	mu      sync.Mutex    // guards changed
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
	err   error
	done  chan struct{} // closed when err is set
}

func openWriter(ctx context.Context, path string, o Options) (*writer, error) {
	db, err := sql.Open("sqlite", dsn(path, writeCache, "wal_autocheckpoint(4000)", "journal_size_limit(16777216)"))
	if err != nil {
		return nil, err
	}
	w := &writer{
		db: db, log: o.Log, point: o.Point, stmts: map[string]*sql.Stmt{}, lanes: newLaneBook(),
		queue: make(chan *request), stopped: make(chan struct{}), changed: make(chan struct{}),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.point == nil {
		w.point = func(string) {}
	}
	if err := w.prepare(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.loop.Go(w.run) // stop waits for it
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

// run takes one request and all that wait behind it, until stop.
func (w *writer) run() {
	for {
		select {
		case first := <-w.queue:
			w.write(w.group(first))
		case <-w.stopped:
			return
		}
	}
}

func (w *writer) group(first *request) []*request {
	group, size := []*request{first}, first.size
	for size < groupBytes {
		select {
		case r := <-w.queue:
			group = append(group, r)
			size += r.size
		default:
			return group
		}
	}
	return group
}

// write commits a group and answers each of its requests. One that is refused
// leaves the others alone; a fault of the disk is everyone's, also of those who
// were refused, since what they were compared with is gone.
func (w *writer) write(group []*request) {
	before := w.counts
	err := w.broken
	if err == nil {
		err = w.transact(group)
	}
	if err != nil {
		w.counts = before
		w.lanes.drop()
		w.log.Error("commit failed", "requests", len(group), "err", err)
	} else {
		w.lanes.publish()
	}
	w.announce()
	for _, r := range group {
		r.err = err
		close(r.done)
	}
}

func (w *writer) transact(group []*request) error {
	// No caller's context: one that leaves must not undo what others wait for.
	ctx := context.Background()
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := w.apply(ctx, group)
	if err == nil {
		w.point("store.before-commit")
		if _, err = w.conn.ExecContext(ctx, "COMMIT"); isIO(err) {
			// The sync failed: what the disk holds is unknown, and a later sync that
			// succeeds would not tell.
			w.broken = fail("writing has stopped, restart the server", err)
		}
	}
	if err != nil {
		_, _ = w.conn.ExecContext(ctx, "ROLLBACK") // fails when SQLite has done it already
		return err
	}
	w.point("store.after-commit")
	return nil
}

// apply runs the group's requests, and then writes down what they have counted.
func (w *writer) apply(ctx context.Context, group []*request) error {
	before := w.counts
	for _, r := range group {
		if err := r.apply(ctx); err != nil {
			return err
		}
	}
	w.point("store.applied")
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

func (w *writer) announce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// stop ends the loop once the group at hand is answered, and wakes the watchers.
func (w *writer) stop() {
	close(w.stopped)
	w.loop.Wait()
	w.announce()
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
	return errors.Join(append(errs, w.db.Close())...)
}
