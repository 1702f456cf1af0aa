package store

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"time"
)

// Push adds jobs, all or none, and returns when they are on the disk.
func (s *SQLite) Push(ctx context.Context, jobs ...Job) error {
	if err := checkPush(jobs); err != nil {
		return err
	}
	if err := s.usable(ctx, "push jobs"); err != nil || len(jobs) == 0 {
		return err
	}
	var refused error
	r := &request{apply: func(ctx context.Context) (err error) {
		refused, err = s.writer.push(ctx, jobs)
		return err
	}}
	for i := range jobs {
		r.size += int(jobs[i].size()) + len(jobs[i].ID)
	}
	if err := s.writer.do(ctx, "push jobs", r); err != nil {
		return err
	}
	return refused
}

// Take leases up to limit jobs of lane.
func (s *SQLite) Take(ctx context.Context, lane string, limit int, now, until time.Time) ([]Job, error) {
	if err := checkTake(lane, limit, now, until); err != nil {
		return nil, err
	}
	if err := s.usable(ctx, "take jobs"); err != nil || limit == 0 {
		return nil, err
	}
	var taken []Job
	t := taking{lane: lane, limit: min(limit, MaxTake), now: nanos(now), until: nanos(until)}
	// No other process can take a job here, and a taker goes with the power: the disk
	// need not have its lease before it begins.
	r := &request{early: true, apply: func(ctx context.Context) (err error) {
		taken, err = s.writer.take(ctx, t)
		return err
	}}
	if err := s.writer.do(ctx, "take jobs", r); err != nil {
		return nil, err
	}
	return taken, nil
}

// Change applies each change on its own.
func (s *SQLite) Change(ctx context.Context, changes ...Change) ([]error, error) {
	if err := checkChanges(changes); err != nil {
		return nil, err
	}
	if err := s.usable(ctx, "change jobs"); err != nil {
		return nil, err
	}
	errs, w := make([]error, len(changes)), s.writer
	r := &request{apply: func(ctx context.Context) (err error) {
		for i := range changes {
			w.breathe(i)
			if errs[i], err = w.change(ctx, &changes[i]); err != nil {
				return err
			}
		}
		return nil
	}}
	for i := range changes {
		r.size += len(changes[i].State) + len(changes[i].Result)
	}
	if len(changes) == 0 {
		return errs, nil
	}
	if err := s.writer.do(ctx, "change jobs", r); err != nil {
		return nil, err
	}
	return errs, nil
}

// Lanes yields the lanes with live jobs, by name.
func (s *SQLite) Lanes(ctx context.Context) ([]Lane, error) {
	if err := s.usable(ctx, "list lanes"); err != nil {
		return nil, err
	}
	return s.writer.lanes.list(), nil
}

// TrimJobs forgets ended jobs, the first that ended first.
func (s *SQLite) TrimJobs(ctx context.Context, before time.Time, maxBytes int64) (int, error) {
	if err := s.usable(ctx, "trim jobs"); err != nil {
		return 0, err
	}
	n := 0
	r := &request{apply: func(ctx context.Context) (err error) {
		n, err = s.writer.trim(ctx, nanos(before), maxBytes)
		return err
	}}
	if err := s.writer.do(ctx, "trim jobs", r); err != nil {
		return 0, err
	}
	return n, nil
}

// Job returns one job whole.
func (s *SQLite) Job(ctx context.Context, id string) (Job, error) {
	if err := s.usable(ctx, "get job"); err != nil {
		return Job{}, err
	}
	j, err := scanJob(s.reads.QueryRowContext(ctx, jobSQL, id), true)
	if err == nil {
		err = s.writer.settle(ctx)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Job{}, jobNotFound("get", id)
	case err != nil:
		return Job{}, s.failed(ctx, "get job", err)
	}
	return j, nil
}

// FindJobs yields what q selects, last pushed first, as it was when it began. It
// holds a connection until it ends.
func (s *SQLite) FindJobs(ctx context.Context, q JobQuery) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		if err := s.find(ctx, q, yield); err != nil {
			yield(Job{}, err)
		}
	}
}

func (s *SQLite) find(ctx context.Context, q JobQuery, yield func(Job, error) bool) error {
	if err := checkQuery(&q); err != nil {
		return err
	}
	if err := s.usable(ctx, "find jobs"); err != nil {
		return err
	}
	text, args := q.statement(briefColumns, q.sqliteWay)
	rows, err := s.reads.QueryContext(ctx, text, args...)
	if err != nil {
		return s.failed(ctx, "find jobs", err)
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	if err := s.writer.settle(ctx); err != nil {
		return s.failed(ctx, "find jobs", err)
	}
	for rows.Next() {
		j, err := scanJob(rows, false)
		if err != nil {
			return s.failed(ctx, "find jobs", err)
		}
		if !yield(j, nil) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return s.failed(ctx, "find jobs", err)
	}
	return nil
}
