package store

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// The jobs that Oldest looks at are at the ends of the indexes that Take goes by.
const (
	waitsSince = `CASE WHEN error IS NULL AND due > created THEN due ELSE created END`
	oldestOf   = `SELECT name,
		coalesce((SELECT ` + waitsSince + ` FROM job WHERE lane = l.id AND phase = 0 ORDER BY priority DESC, seq LIMIT 1), 0),
		coalesce((SELECT ` + waitsSince + ` FROM job WHERE lane = l.id AND phase = 0 AND priority =
			(SELECT priority FROM job WHERE lane = l.id AND phase = 0 ORDER BY priority LIMIT 1) ORDER BY seq LIMIT 1), 0),
		coalesce((SELECT ` + waitsSince + ` FROM job WHERE lane = l.id AND phase = 1 ORDER BY due, seq LIMIT 1), 0) FROM job_lane AS l `

	oldestJobsSQL = oldestOf + `WHERE ready + delayed > 0`
	pgOldestJobs  = oldestOf + `JOIN (SELECT lane FROM job_count GROUP BY lane HAVING sum(ready + delayed) > 0) AS c ON c.lane = l.id`
)

// rowsOf are the rows of either database.
type rowsOf interface {
	Next() bool
	Scan(to ...any) error
}

func scanOldest(rows rowsOf) (map[string]time.Time, error) {
	oldest := map[string]time.Time{}
	for rows.Next() {
		var name string
		var at [3]int64
		if err := rows.Scan(&name, &at[0], &at[1], &at[2]); err != nil {
			return nil, err
		}
		for _, n := range at {
			noteOldest(oldest, name, fromNanos(n))
		}
	}
	return oldest, nil
}

func noteOldest(oldest map[string]time.Time, lane string, at time.Time) {
	if was, ok := oldest[lane]; !at.IsZero() && (!ok || at.Before(was)) {
		oldest[lane] = at
	}
}

// Oldest tells since when jobs wait, by lane.
func (s *SQLite) Oldest(ctx context.Context) (map[string]time.Time, error) {
	if err := s.usable(ctx, "look for the oldest jobs"); err != nil {
		return nil, err
	}
	rows, err := s.reads.QueryContext(ctx, oldestJobsSQL)
	if err != nil {
		return nil, s.failed(ctx, "look for the oldest jobs", err)
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	oldest, err := scanOldest(rows)
	if err == nil {
		err = rows.Err()
	}
	if err != nil {
		return nil, s.failed(ctx, "look for the oldest jobs", err)
	}
	return oldest, nil
}

// Oldest tells since when jobs wait, by lane.
func (p *Postgres) Oldest(ctx context.Context) (map[string]time.Time, error) {
	if err := p.usable(ctx, "look for the oldest jobs"); err != nil {
		return nil, err
	}
	rows, err := p.query(ctx, pgAnswer, pgOldestJobs)
	if err != nil {
		return nil, p.failed(ctx, "look for the oldest jobs", err)
	}
	defer rows.Close()
	oldest, err := scanOldest(rows)
	if err == nil {
		err = rows.Err()
	}
	if err != nil {
		return nil, p.failed(ctx, "look for the oldest jobs", err)
	}
	return oldest, nil
}

// Oldest tells since when jobs wait, by lane.
func (m *Memory) Oldest(ctx context.Context) (map[string]time.Time, error) {
	if err := m.begin(ctx, "look for the oldest jobs"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	oldest := map[string]time.Time{}
	for name := range m.jobs.lanes {
		var ready, others []*memoryJob
		for _, j := range m.jobs.heads(name) {
			switch {
			case j.Status != JobWaiting:
			case j.ripe:
				ready = append(ready, j)
			default:
				others = append(others, j)
			}
		}
		// Those of the same priority stay in order: the first least one is the oldest of its priority.
		byPriority := func(a, b *memoryJob) int { return cmp.Compare(a.Priority, b.Priority) }
		if len(ready) > 0 {
			noteOldest(oldest, name, slices.MinFunc(ready, byPriority).waitsSince())
			noteOldest(oldest, name, slices.MinFunc(ready, func(a, b *memoryJob) int { return byPriority(b, a) }).waitsSince())
		}
		if len(others) > 0 {
			noteOldest(oldest, name, slices.MinFunc(others, func(a, b *memoryJob) int { return a.Due.Compare(b.Due) }).waitsSince())
		}
	}
	return oldest, nil
}

func (j *memoryJob) waitsSince() time.Time {
	if j.Error == "" && j.Due.After(j.Created) {
		return j.Due
	}
	return j.Created
}
