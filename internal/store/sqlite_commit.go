package store

import (
	"context"
	"database/sql"
	"errors"
)

const (
	revisionOfSQL = `SELECT revision, value IS NULL FROM record WHERE key = ?`
	putSQL        = `INSERT INTO record (key, revision, value) VALUES (?1, ?2, ?3)
		ON CONFLICT (key) DO UPDATE SET revision = ?2, value = ?3`
	deleteSQL  = `UPDATE record SET revision = ?2, value = NULL WHERE key = ?1 AND value IS NOT NULL`
	oldestSQL  = `SELECT revision FROM record WHERE value IS NULL ORDER BY revision DESC LIMIT 1 OFFSET ?`
	forgetSQL  = `DELETE FROM record WHERE value IS NULL AND revision < ?`
	compactSQL = `UPDATE counter SET value = ? WHERE name = 'compacted'`
	countSQL   = `UPDATE counter SET value = ? WHERE name = ?`
)

// commit is a batch of records on its way.
func (w *writer) commit(ctx context.Context, ops []Op) (int64, error) {
	var revision int64
	var refused error
	r := &request{apply: func(ctx context.Context) (err error) {
		revision, refused, err = w.batch(ctx, ops)
		return err
	}}
	for _, op := range ops {
		r.size += len(op.Key) + len(op.Value)
	}
	if err := w.do(ctx, "commit records", r); err != nil {
		return 0, err
	}
	return revision, refused
}

// batch makes every check before the first write, so that a refused batch has
// written nothing.
func (w *writer) batch(ctx context.Context, ops []Op) (revision int64, refused, err error) {
	for _, op := range ops {
		if !op.Check {
			continue
		}
		have, err := w.current(ctx, op.Key)
		if err != nil {
			return 0, nil, err
		}
		if have != op.If {
			return 0, conflict(op, have), nil
		}
	}
	if len(ops) > 0 {
		w.counts.revision++
	}
	deletes := false
	for _, op := range ops {
		if op.deletes() {
			deletes = true
			err = w.exec(ctx, deleteSQL, blob(op.Key), w.counts.revision)
		} else {
			err = w.exec(ctx, putSQL, blob(op.Key), w.counts.revision, op.Value)
		}
		if err != nil {
			return 0, nil, err
		}
	}
	if deletes {
		err = w.forget(ctx)
	}
	return w.counts.revision, nil, err
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
	return w.exec(ctx, compactSQL, oldest-1)
}
