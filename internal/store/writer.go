package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
)

// groupBytes ends a group: a transaction does not grow beyond this by more than
// one batch.
const groupBytes = 8 << 20

const (
	revisionOfSQL = `SELECT revision, value IS NULL FROM record WHERE key = ?`
	putSQL        = `INSERT INTO record (key, revision, value) VALUES (?1, ?2, ?3)
		ON CONFLICT (key) DO UPDATE SET revision = ?2, value = ?3`
	deleteSQL   = `UPDATE record SET revision = ?2, value = NULL WHERE key = ?1 AND value IS NOT NULL`
	revisionSQL = `UPDATE counter SET value = ? WHERE name = 'revision'`
	oldestSQL   = `SELECT revision FROM record WHERE value IS NULL ORDER BY revision DESC LIMIT 1 OFFSET ?`
	forgetSQL   = `DELETE FROM record WHERE value IS NULL AND revision < ?`
	compactSQL  = `UPDATE counter SET value = ? WHERE name = 'compacted'`
)

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
	stmts    map[string]*sql.Stmt
	revision int64
	broken   error // set when the disk's state is unknown; nothing is written then

	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed and replaced after every group
}

// request is one batch on its way.
type request struct {
	ops      []Op
	revision int64
	err      error
	done     chan struct{} // closed when revision and err are set
}

func openWriter(ctx context.Context, path string, o Options) (*writer, error) {
	db, err := sql.Open("sqlite", dsn(path, writeCache, "journal_size_limit(16777216)"))
	if err != nil {
		return nil, err
	}
	w := &writer{
		db: db, log: o.Log, point: o.Point, stmts: map[string]*sql.Stmt{},
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
	if _, err := w.conn.ExecContext(ctx, schema); err != nil {
		return err
	}
	if err := w.conn.QueryRowContext(ctx, `SELECT value FROM counter WHERE name = 'revision'`).Scan(&w.revision); err != nil {
		return err
	}
	for _, text := range []string{revisionOfSQL, putSQL, deleteSQL, revisionSQL, oldestSQL, forgetSQL, compactSQL} {
		if w.stmts[text], err = w.conn.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // close does it
			return err
		}
	}
	return nil
}

// commit hands ops to the loop and waits for what becomes of them.
func (w *writer) commit(ctx context.Context, ops []Op) (int64, error) {
	r := &request{ops: ops, done: make(chan struct{})}
	select {
	case w.queue <- r:
	case <-ctx.Done():
		return 0, canceled("commit records", ctx.Err())
	case <-w.stopped:
		return 0, closed("commit records")
	}
	<-r.done
	return r.revision, r.err
}

// run takes one batch and all that wait behind it, until stop.
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
	group, size := []*request{first}, first.size()
	for size < groupBytes {
		select {
		case r := <-w.queue:
			group = append(group, r)
			size += r.size()
		default:
			return group
		}
	}
	return group
}

func (r *request) size() int {
	n := 0
	for _, op := range r.ops {
		n += len(op.Key) + len(op.Value)
	}
	return n
}

// write commits a group and answers each of its batches. A batch that is refused
// leaves the others alone; a fault of the disk is everyone's, also of those who
// were refused, since what they were compared with is gone.
func (w *writer) write(group []*request) {
	before := w.revision
	err := w.broken
	if err == nil {
		err = w.transact(group)
	}
	if err != nil {
		w.revision = before
		w.log.Error("commit failed", "batches", len(group), "err", err)
	}
	w.announce()
	for _, r := range group {
		if err != nil {
			r.revision, r.err = 0, err
		}
		close(r.done)
	}
}

func (w *writer) transact(group []*request) error {
	// No caller's context: one that leaves must not undo what others wait for.
	ctx := context.Background()
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fail("commit records", err)
	}
	err := w.apply(ctx, group)
	if err == nil {
		w.point("store.before-commit")
		if _, err = w.conn.ExecContext(ctx, "COMMIT"); isIO(err) {
			// The sync failed: what the disk holds is unknown, and a later sync that
			// succeeds would not tell.
			w.broken = fail("commit records: writing has stopped, restart the server", err)
		}
	}
	if err != nil {
		_, _ = w.conn.ExecContext(ctx, "ROLLBACK") // fails when SQLite has done it already
		return fail("commit records", err)
	}
	w.point("store.after-commit")
	return nil
}

// apply runs the group's batches. Its error is the disk's; a batch's own is in
// its request.
func (w *writer) apply(ctx context.Context, group []*request) error {
	before, deletes := w.revision, false
	for _, r := range group {
		if err := w.batch(ctx, r); err != nil {
			return err
		}
		for _, op := range r.ops {
			deletes = deletes || op.deletes()
		}
	}
	if w.revision == before {
		return nil
	}
	if deletes {
		if err := w.forget(ctx); err != nil {
			return err
		}
	}
	_, err := w.stmts[revisionSQL].ExecContext(ctx, w.revision)
	return err
}

// batch makes every check before the first write, so that a refused batch has
// written nothing.
func (w *writer) batch(ctx context.Context, r *request) error {
	for _, op := range r.ops {
		if !op.Check {
			continue
		}
		have, err := w.current(ctx, op.Key)
		if err != nil {
			return err
		}
		if have != op.If {
			r.err = conflict(op, have)
			return nil
		}
	}
	if len(r.ops) > 0 {
		w.revision++
	}
	for _, op := range r.ops {
		var err error
		if op.deletes() {
			_, err = w.stmts[deleteSQL].ExecContext(ctx, blob(op.Key), w.revision)
		} else {
			_, err = w.stmts[putSQL].ExecContext(ctx, blob(op.Key), w.revision, op.Value)
		}
		if err != nil {
			return err
		}
	}
	r.revision = w.revision
	return nil
}

func (w *writer) current(ctx context.Context, key string) (int64, error) {
	var revision int64
	var deleted bool
	err := w.stmts[revisionOfSQL].QueryRowContext(ctx, blob(key)).Scan(&revision, &deleted)
	if errors.Is(err, sql.ErrNoRows) || deleted {
		return 0, nil
	}
	return revision, err
}

// forget drops what is older than the newest KeepDeleted deletions, by whole
// revisions.
func (w *writer) forget(ctx context.Context) error {
	var oldest int64
	err := w.stmts[oldestSQL].QueryRowContext(ctx, KeepDeleted).Scan(&oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	result, err := w.stmts[forgetSQL].ExecContext(ctx, oldest)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = w.stmts[compactSQL].ExecContext(ctx, oldest-1)
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
