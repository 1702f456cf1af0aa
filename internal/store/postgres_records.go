package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pgGet     = `SELECT revision, value FROM record WHERE key = $1 AND value IS NOT NULL`
	pgScan    = `SELECT key, revision, value FROM record WHERE key >= $1 AND key < $2 AND value IS NOT NULL ORDER BY key`
	pgChanges = `SELECT key, revision, value FROM record
		WHERE (revision, key) > ($1, $2) AND key >= $3 AND key < $4 ORDER BY revision, key LIMIT $5`
	pgCounter     = `SELECT value FROM counter WHERE name = $1`
	pgLockCounter = `SELECT value FROM counter WHERE name = $1 FOR UPDATE`
	pgSetCounter  = `UPDATE counter SET value = $2 WHERE name = $1`
	pgCurrent     = `SELECT key, revision FROM record WHERE key = ANY($1) AND value IS NOT NULL`
	pgPut         = `INSERT INTO record (key, revision, value) VALUES ($1, $2, $3)
		ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, value = excluded.value`
	pgDelete = `UPDATE record SET revision = $2, value = NULL WHERE key = $1 AND value IS NOT NULL`
	pgOldest = `SELECT revision FROM record WHERE value IS NULL ORDER BY revision DESC LIMIT 1 OFFSET $1`
	pgForget = `DELETE FROM record WHERE value IS NULL AND revision < $1`
	pgNotify = `SELECT pg_notify($1, '')`
)

// Get returns the record under key. The error is [ErrNotFound] when there is none.
func (p *Postgres) Get(ctx context.Context, key string) (Record, error) {
	if err := p.usable(ctx, "get record"); err != nil {
		return Record{}, err
	}
	r := Record{Key: key}
	asking, cancel := context.WithTimeout(ctx, pgAnswer)
	defer cancel()
	err := p.reads.QueryRow(asking, pgGet, blob(key)).Scan(&r.Revision, &r.Value)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Record{}, notFound(key)
	case err != nil:
		return Record{}, p.failed(ctx, "get record", err)
	}
	r.Value = present(r.Value)
	return r, nil
}

// Scan yields the records under prefix in key order, as they were when the scan
// began. It holds a connection until it ends.
func (p *Postgres) Scan(ctx context.Context, prefix string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := p.scan(ctx, prefix, yield); err != nil {
			yield(Record{}, err)
		}
	}
}

func (p *Postgres) scan(ctx context.Context, prefix string, yield func(Record, error) bool) error {
	if err := p.usable(ctx, "scan records"); err != nil {
		return err
	}
	low, high := bounds(prefix)
	rows, err := p.query(ctx, pgAnswer, pgScan, low, high)
	if err != nil {
		return p.failed(ctx, "scan records", err)
	}
	defer rows.Close()
	for rows.Next() {
		r, err := pgRecord(rows)
		if err != nil {
			return p.failed(ctx, "scan records", err)
		}
		if !yield(r, nil) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return p.failed(ctx, "scan records", err)
	}
	return nil
}

// pgRecord reads key, revision and value; a deletion has no value.
func pgRecord(rows pgx.Rows) (Record, error) {
	var key []byte
	var r Record
	if err := rows.Scan(&key, &r.Revision, &r.Value); err != nil {
		return Record{}, err
	}
	r.Key = string(key)
	return r, nil
}

// Commit applies all of ops or none. See [Memory.Commit].
func (p *Postgres) Commit(ctx context.Context, ops ...Op) (int64, error) {
	if err := checkBatch(ops); err != nil {
		return 0, err
	}
	if err := p.usable(ctx, "commit records"); err != nil {
		return 0, err
	}
	return p.commits.do(ctx, "commit records", ops)
}

// writeCommits does a group of batches one after the other, under the lock of the
// counter: so revisions are in the order of the commits, on all servers.
func (p *Postgres) writeCommits(ctx context.Context, group []*call[[]Op, int64]) error {
	defer p.announce()
	return p.transact(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var revision int64
		if err := tx.QueryRow(ctx, pgLockCounter, "revision").Scan(&revision); err != nil {
			return err
		}
		have, err := pgRevisions(ctx, tx, group)
		if err != nil {
			return err
		}
		before, deletes := revision, false
		var writes pgx.Batch
		for _, c := range group {
			if c.out, c.err = 0, refusal(c.in, have); c.err != nil {
				continue
			}
			if len(c.in) > 0 {
				revision++
			}
			c.out = revision
			for _, op := range c.in {
				if op.deletes() {
					deletes = true
					delete(have, op.Key)
					writes.Queue(pgDelete, blob(op.Key), revision)
				} else {
					have[op.Key] = revision
					writes.Queue(pgPut, blob(op.Key), revision, op.Value)
				}
			}
		}
		if revision == before {
			return nil
		}
		writes.Queue(pgSetCounter, "revision", revision)
		writes.Queue(pgNotify, p.channel())
		if err := tx.SendBatch(ctx, &writes).Close(); err != nil || !deletes {
			return err
		}
		return pgForgetOld(ctx, tx)
	}, nil)
}

// refusal is the error of a batch of which a check fails.
func refusal(ops []Op, have map[string]int64) error {
	for _, op := range ops {
		if op.Check && have[op.Key] != op.If {
			return conflict(op, have[op.Key])
		}
	}
	return nil
}

// pgRevisions are the revisions of all records that a group checks.
func pgRevisions(ctx context.Context, tx pgx.Tx, group []*call[[]Op, int64]) (map[string]int64, error) {
	have := map[string]int64{}
	var keys [][]byte
	for _, c := range group {
		for _, op := range c.in {
			if op.Check {
				keys = append(keys, blob(op.Key))
			}
		}
	}
	if len(keys) == 0 {
		return have, nil
	}
	rows, err := tx.Query(ctx, pgCurrent, keys)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var key []byte
		var revision int64
		if err := rows.Scan(&key, &revision); err != nil {
			return nil, err
		}
		have[string(key)] = revision
	}
	return have, rows.Err()
}

// pgForgetOld drops what is older than the newest KeepDeleted deletions, by whole
// revisions.
func pgForgetOld(ctx context.Context, tx pgx.Tx) error {
	var oldest int64
	err := tx.QueryRow(ctx, pgOldest, KeepDeleted).Scan(&oldest)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	gone, err := tx.Exec(ctx, pgForget, oldest)
	if err != nil || gone.RowsAffected() == 0 {
		return err
	}
	_, err = tx.Exec(ctx, pgSetCounter, "compacted", oldest-1)
	return err
}

// Watch is as [Memory.Watch].
func (p *Postgres) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[Record, error] {
	return watch(ctx, after, func(ctx context.Context, c *cursor) (page, error) {
		if err := p.usable(ctx, "watch records"); err != nil {
			return page{}, err
		}
		found, err := p.look(ctx, prefix, c)
		if err != nil {
			err = p.failed(ctx, "watch records", err)
		}
		return found, err
	})
}

func (p *Postgres) look(ctx context.Context, prefix string, c *cursor) (page, error) {
	p.mu.Lock()
	found := page{changed: p.changed} // before the look, or a change may be missed
	p.mu.Unlock()
	after, afterKey := c.revision, c.key
	if c.whole { // keys are never empty, so that this is just before the next revision
		after, afterKey = c.revision+1, ""
	}
	low, high := bounds(prefix)
	ctx, cancel := context.WithTimeout(ctx, pgAnswer)
	defer cancel()
	err := pgx.BeginTxFunc(ctx, p.reads, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, headSQL).Scan(&found.compacted, &found.head); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, pgChanges, after, blob(afterKey), low, high, watchPage)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r, err := pgRecord(rows)
			if err != nil {
				return err
			}
			found.records = append(found.records, r)
		}
		return rows.Err()
	})
	found.last = len(found.records) < watchPage
	return found, err
}

// channel is where servers tell each other of commits.
func (p *Postgres) channel() string { return p.schema + "_records" }

// listen wakes the watchers when another server has committed, and now and then,
// should that not have been heard.
func (p *Postgres) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.hear(ctx)
		p.announce()
		if err != nil && ctx.Err() == nil {
			p.log.Debug("listening to the database stopped", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// hear listens until an error.
func (p *Postgres) hear(ctx context.Context) error {
	conn, err := p.reads.Acquire(ctx)
	if err != nil {
		return err
	}
	own := conn.Hijack() // one that listens is not given back
	defer func() { _ = own.Close(context.WithoutCancel(ctx)) }()
	asking, cancel := context.WithTimeout(ctx, pgAnswer)
	_, err = own.Exec(asking, "LISTEN "+pgx.Identifier{p.channel()}.Sanitize())
	cancel()
	if err != nil {
		return err
	}
	for {
		wait, cancel := context.WithTimeout(ctx, pgListen)
		_, err := own.WaitForNotification(wait)
		quiet := wait.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && !quiet {
			return err
		}
		p.announce()
	}
}

func (p *Postgres) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}
