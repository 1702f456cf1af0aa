package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// File is the name of the database in the data directory. SQLite keeps
// File+"-wal" and File+"-shm" beside it.
const File = "records.db"

// Sizes that keep the idle server small. SQLite's page cache belongs to a
// connection, so that the sum is bounded by readers*readCache + writeCache.
const (
	readers    = 16   // connections at most; two stay open when idle
	readCache  = 512  // KiB per reading connection
	writeCache = 2048 // KiB of the writing connection
	watchPage  = 256  // records per look of a watcher
)

const (
	getSQL  = `SELECT revision, value FROM record WHERE key = ? AND value IS NOT NULL`
	scanSQL = `SELECT key, revision, value FROM record WHERE key >= ? AND key < ? AND value IS NOT NULL ORDER BY key`
	// The unary plus keeps the planner on record_change.
	changesSQL = `SELECT key, revision, value, value IS NULL FROM record
		WHERE (revision, key) > (?, ?) AND +key >= ? AND +key < ? ORDER BY revision, key LIMIT ?`
)

// SQLite is the embedded durable driver: one file, written by one goroutine that
// puts the batches of concurrent callers into one transaction and so into one
// sync of the write-ahead log. It makes the next transaction while the disk is busy
// with that; nobody is answered before the sync, and what readers see has been
// synced. They read from snapshots that do not hold the writer up.
type SQLite struct {
	dir    *dataDir
	reads  *sql.DB
	writer *writer

	mu     sync.Mutex // guards closed
	closed bool
}

var _ Store = (*SQLite)(nil)

// OpenSQLite opens the store in o.Dir, or makes it. It takes the directory's
// lock, so that a second server is refused with [ErrLocked], and refuses data of
// a newer format with [ErrNewer]. ctx bounds the opening only.
func OpenSQLite(ctx context.Context, o Options) (*SQLite, error) {
	dir, err := openDataDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &SQLite{dir: dir}
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *SQLite) open(ctx context.Context, o Options) error {
	path := filepath.Join(o.Dir, File)
	w, err := openWriter(ctx, path, o)
	if err != nil {
		return fail("open the database "+path, err)
	}
	s.writer = w
	if err := s.dir.sync(); err != nil {
		return err
	}
	if err := s.belong(ctx, path); err != nil {
		return fail("open the database "+path, err)
	}
	if s.reads, err = sql.Open("sqlite", dsn(path, readCache, "query_only(1)")); err != nil {
		return fail("open the database "+path, err)
	}
	s.reads.SetMaxOpenConns(readers)
	return nil
}

// dsn names the database with what every connection sets. The order matters:
// busy_timeout before the first statement that may meet a lock.
func dsn(path string, cacheKiB int, more ...string) string {
	q := url.Values{}
	for _, pragma := range append([]string{
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "mmap_size(0)",
		"temp_store(MEMORY)", "trusted_schema(0)", fmt.Sprintf("cache_size(-%d)", cacheKiB),
	}, more...) {
		q.Add("_pragma", pragma)
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// Get returns the record under key. The error is [ErrNotFound] when there is none.
func (s *SQLite) Get(ctx context.Context, key string) (Record, error) {
	if err := s.usable(ctx, "get record"); err != nil {
		return Record{}, err
	}
	r := Record{Key: key}
	err := s.reads.QueryRowContext(ctx, getSQL, []byte(key)).Scan(&r.Revision, &r.Value)
	if err == nil {
		err = s.writer.settle(ctx)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Record{}, notFound(key)
	case err != nil:
		return Record{}, s.failed(ctx, "get record", err)
	}
	r.Value = present(r.Value)
	return r, nil
}

// Scan yields the records under prefix in key order, as they were when the scan
// began. It holds a connection until it ends.
func (s *SQLite) Scan(ctx context.Context, prefix string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := s.scan(ctx, prefix, yield); err != nil {
			yield(Record{}, err)
		}
	}
}

func (s *SQLite) scan(ctx context.Context, prefix string, yield func(Record, error) bool) error {
	if err := s.usable(ctx, "scan records"); err != nil {
		return err
	}
	low, high := bounds(prefix)
	rows, err := s.reads.QueryContext(ctx, scanSQL, low, high)
	if err != nil {
		return s.failed(ctx, "scan records", err)
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	if err := s.writer.settle(ctx); err != nil {
		return s.failed(ctx, "scan records", err)
	}
	for rows.Next() {
		var key sql.RawBytes
		var r Record
		if err := rows.Scan(&key, &r.Revision, &r.Value); err != nil {
			return s.failed(ctx, "scan records", err)
		}
		r.Key, r.Value = string(key), present(r.Value)
		if !yield(r, nil) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return s.failed(ctx, "scan records", err)
	}
	return nil
}

// Commit applies all of ops or none and returns when they are on the disk. ctx
// counts until the writer takes the batch up; from then on the answer is what
// became of it. See [Memory.Commit] for what a batch may hold.
func (s *SQLite) Commit(ctx context.Context, ops ...Op) (int64, error) {
	if err := checkBatch(ops); err != nil {
		return 0, err
	}
	if err := s.usable(ctx, "commit records"); err != nil {
		return 0, err
	}
	return s.writer.commit(ctx, ops)
}

// Watch is as [Memory.Watch].
func (s *SQLite) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[Record, error] {
	return watch(ctx, after, func(ctx context.Context, c *cursor) (page, error) {
		if err := s.usable(ctx, "watch records"); err != nil {
			return page{}, err
		}
		p, err := s.changes(ctx, prefix, c)
		if err != nil {
			err = s.failed(ctx, "watch records", err)
		}
		return p, err
	})
}

func (s *SQLite) changes(ctx context.Context, prefix string, c *cursor) (page, error) {
	p := page{changed: s.writer.changes()} // before the look, or a change may be missed
	tx, err := s.reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return p, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	if err := tx.QueryRowContext(ctx, headSQL).Scan(&p.compacted, &p.head); err != nil {
		return p, err
	}
	after, afterKey := c.revision, c.key
	if c.whole { // keys are never empty, so that this is just before the next revision
		after, afterKey = c.revision+1, ""
	}
	low, high := bounds(prefix)
	rows, err := tx.QueryContext(ctx, changesSQL, after, blob(afterKey), low, high, watchPage)
	if err != nil {
		return p, err
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	for rows.Next() {
		var key sql.RawBytes
		var r Record
		var deleted bool
		if err := rows.Scan(&key, &r.Revision, &r.Value, &deleted); err != nil {
			return p, err
		}
		r.Key, r.Value = string(key), present(r.Value)
		if deleted {
			r.Value = nil
		}
		p.records = append(p.records, r)
	}
	p.last = len(p.records) < watchPage
	return p, errors.Join(rows.Err(), s.writer.settle(ctx))
}

// Close ends every watch, writes what is in the log into the database and gives
// the directory's lock back.
func (s *SQLite) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	return s.release()
}

// release closes what is open, in the order that lets SQLite checkpoint at the
// last connection and keeps the lock until then.
func (s *SQLite) release() error {
	var errs []error
	if s.writer != nil {
		s.writer.stop()
	}
	if s.reads != nil {
		errs = append(errs, s.reads.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if err := errors.Join(append(errs, s.dir.close())...); err != nil {
		return fail("close the store", err)
	}
	return nil
}

// usable refuses work on a closed store or for a caller that is gone.
func (s *SQLite) usable(ctx context.Context, doing string) error {
	if err := ctx.Err(); err != nil {
		return canceled(doing, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return closed(doing)
	}
	return nil
}

// failed words an error of a read, which may only be the caller or Close.
func (s *SQLite) failed(ctx context.Context, doing string, err error) error {
	if e := s.usable(ctx, doing); e != nil {
		return e
	}
	return fail(doing, err)
}

// bounds are the keys between which all with the prefix lie: [low, high).
func bounds(prefix string) (low, high []byte) {
	low = blob(prefix)
	high = bytes.Clone(low)
	for len(high) > 0 && high[len(high)-1] == 0xff {
		high = high[:len(high)-1]
	}
	if len(high) == 0 {
		return low, bytes.Repeat([]byte{0xff}, MaxKey+1) // above every key
	}
	high[len(high)-1]++
	return low, high
}

// blob makes a parameter that is never NULL.
func blob(s string) []byte { return append([]byte{}, s...) }

// present makes the value of a record that exists, which is never nil.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
