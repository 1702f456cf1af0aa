package store

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	pgBrief = `job.seq, job.id, (SELECT name FROM job_lane WHERE job_lane.id = job.lane), coalesce(job.key, ''), job.priority, job.phase,
	job.due, job.created, job.ended, job.lease, job.token, job.attempts, job.kind, coalesce(job.error, ''), coalesce(job.labels, ''), job.state`
	pgWhole = pgBrief + `,
	(SELECT body FROM job_body WHERE job_body.seq = job.seq), (SELECT result FROM job_result WHERE job_result.seq = job.seq)`
	pgJob   = `SELECT ` + pgWhole + ` FROM job WHERE id = $1`
	pgLanes = `SELECT name, ready, delayed, held, later, running,
			coalesce((SELECT due FROM job WHERE job.lane = c.lane AND phase = 1 ORDER BY due LIMIT 1), 0),
			coalesce((SELECT lease FROM job WHERE job.lane = c.lane AND phase = 4 ORDER BY lease LIMIT 1), 0)
		FROM (SELECT lane, sum(ready)::bigint AS ready, sum(delayed)::bigint AS delayed, sum(held)::bigint AS held,
				sum(later)::bigint AS later, sum(running)::bigint AS running FROM job_count GROUP BY lane) AS c
			JOIN job_lane ON job_lane.id = c.lane
		WHERE ready + delayed + held + later + running > 0 ORDER BY name`
)

// Job returns one job whole.
func (p *Postgres) Job(ctx context.Context, id string) (Job, error) {
	if err := p.usable(ctx, "get job"); err != nil {
		return Job{}, err
	}
	if checkText("get job", "id", id, MaxJobID) != nil { // and some PostgreSQL refuses
		return Job{}, jobNotFound("get", id)
	}
	asking, cancel := context.WithTimeout(ctx, pgAnswer)
	defer cancel()
	j, err := scanJob(p.reads.QueryRow(asking, pgJob, id), true)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Job{}, jobNotFound("get", id)
	case err != nil:
		return Job{}, p.failed(ctx, "get job", err)
	}
	return j, nil
}

// Lanes yields the lanes with live jobs, by name.
func (p *Postgres) Lanes(ctx context.Context) ([]Lane, error) {
	if err := p.usable(ctx, "list lanes"); err != nil {
		return nil, err
	}
	rows, err := p.query(ctx, pgAnswer, pgLanes)
	if err != nil {
		return nil, p.failed(ctx, "list lanes", err)
	}
	defer rows.Close()
	var lanes []Lane
	for rows.Next() {
		var l lane
		c := &l.count
		if err := rows.Scan(&l.name, &c[0], &c[1], &c[2], &c[3], &c[4], &l.due, &l.pass); err != nil {
			return nil, p.failed(ctx, "list lanes", err)
		}
		lanes = append(lanes, l.live())
	}
	if err := rows.Err(); err != nil {
		return nil, p.failed(ctx, "list lanes", err)
	}
	return lanes, nil
}

// FindJobs yields what q selects, last pushed first, as it was when it began. It
// holds a connection until it ends.
func (p *Postgres) FindJobs(ctx context.Context, q JobQuery) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		if err := p.find(ctx, q, yield); err != nil {
			yield(Job{}, err)
		}
	}
}

func (p *Postgres) find(ctx context.Context, q JobQuery, yield func(Job, error) bool) error {
	if err := checkQuery(&q); err != nil {
		return err
	}
	if err := p.usable(ctx, "find jobs"); err != nil {
		return err
	}
	text, args := q.statement(pgBrief, func(*where) string { return "" })
	rows, err := p.query(ctx, pgSearch, numbered(text), args...)
	if err != nil {
		return p.failed(ctx, "find jobs", err)
	}
	defer rows.Close()
	for rows.Next() {
		j, err := scanJob(rows, false)
		if err != nil {
			return p.failed(ctx, "find jobs", err)
		}
		if !yield(j, nil) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return p.failed(ctx, "find jobs", err)
	}
	return nil
}

// numbered turns the marks of parameters from SQLite's "?" into "$1", "$2" and so
// on.
func numbered(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}
