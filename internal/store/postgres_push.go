package store

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A push locks the counter of the sequence until it is committed, by moving it on: that
// gives the order of the jobs, and keeps one from being held up by another that ends at
// the same time. What it writes after that goes by what the database has then, the
// numbers and the lanes' ids too, so that nothing has to be asked before.
const (
	pgAdvance = `UPDATE counter SET value = value + $1 WHERE name = 'seq'`
	pgLast    = `(SELECT value FROM counter WHERE name = 'seq')`

	pgKnown  = `SELECT id FROM job WHERE id = ANY($1)`
	pgRivals = `SELECT DISTINCT name, key FROM job JOIN job_lane ON job_lane.id = job.lane
		WHERE name = ANY($1) AND key = ANY($2) AND key IS NOT NULL AND phase < 5`
	pgNewLanes = `INSERT INTO job_lane (name) SELECT name FROM unnest($1::text[]) AS new (name)
		WHERE NOT EXISTS (SELECT 1 FROM job_lane WHERE job_lane.name = new.name)`
	pgInsert = `INSERT INTO job (seq, id, lane, key, priority, phase, due, created, ended, lease, token, attempts, kind, error,
		labels, body_bytes, result_bytes, state) SELECT ` + pgLast + ` - before, id, (SELECT job_lane.id FROM job_lane WHERE name = new.lane),
		key, priority, phase, due, created, ended, 0, 0, attempts, kind, error, labels, body_bytes, result_bytes, state
		FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::smallint[],
		$7::bigint[], $8::bigint[], $9::bigint[], $10::integer[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::bytea[])
		AS new (before, id, lane, key, priority, phase, due, created, ended, attempts, kind, error, labels, body_bytes, result_bytes, state)`
	pgBodies  = `INSERT INTO job_body (seq, body) SELECT ` + pgLast + ` - before, body FROM unnest($1::bigint[], $2::bytea[]) AS new (before, body)`
	pgResults = `INSERT INTO job_result (seq, result) SELECT ` + pgLast + ` - before, result FROM unnest($1::bigint[], $2::bytea[]) AS new (before, result)`
	pgLabels  = `INSERT INTO job_label (name, value, seq) SELECT name, value, ` + pgLast + ` - before
		FROM unnest($1::text[], $2::text[], $3::bigint[]) AS new (name, value, before)`

	pgAddCount = `ON CONFLICT (lane, slot) DO UPDATE SET ready = job_count.ready + excluded.ready, delayed = job_count.delayed + excluded.delayed,
		held = job_count.held + excluded.held, later = job_count.later + excluded.later,
		running = job_count.running + excluded.running, ended = job_count.ended + excluded.ended`
	pgCount      = `INSERT INTO job_count (lane, slot, ready, delayed, held, later, running, ended) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ` + pgAddCount
	pgCountNamed = `INSERT INTO job_count (lane, slot, ready, delayed, held, later, running, ended)
		SELECT id, $2, $3, $4, $5, $6, $7, $8 FROM job_lane WHERE name = $1 ` + pgAddCount
)

// Each loop that counts has a slot in job_count.
const (
	slotPush = iota
	slotWork
	slotTrim
	slots
)

// Push adds jobs, all or none, and returns when they are durable.
func (p *Postgres) Push(ctx context.Context, jobs ...Job) error {
	if err := checkPush(jobs); err != nil {
		return err
	}
	if err := p.usable(ctx, "push jobs"); err != nil || len(jobs) == 0 {
		return err
	}
	_, err := p.pushes.do(ctx, "push jobs", jobs)
	return err
}

// writePushes does a group of pushes as one insert of all rows: in one round trip where
// nothing stands against it, else step by step.
func (p *Postgres) writePushes(ctx context.Context, group []*call[[]Job, none]) error {
	if jobs := withoutKeys(group); len(jobs) > 0 {
		if done, err := p.pushAtOnce(ctx, jobs); done || err != nil {
			return err
		}
	}
	return p.pushInSteps(ctx, group)
}

// withoutKeys are all jobs of the group, and none if some have keys: those may have to
// wait for others that are there.
func withoutKeys(group []*call[[]Job, none]) (jobs []*Job) {
	for _, c := range group {
		for i := range c.in {
			if c.in[i].Key != "" {
				return nil
			}
			jobs = append(jobs, &c.in[i])
		}
	}
	return jobs
}

// pushAtOnce sends all statements together, which makes them one transaction. It has not
// done anything when an id is there already: who has used it twice is found out in
// steps, and so is a database that is not to be reached.
func (p *Postgres) pushAtOnce(ctx context.Context, jobs []*Job) (done bool, err error) {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return false, nil //nolint:nilerr // the steps tell
	}
	var writes pgx.Batch
	p.queueInserts(&writes, jobs, nil)
	p.point("store.before-commit")
	err = conn.SendBatch(ctx, &writes).Close()
	leave(ctx, conn.Conn(), err)
	conn.Release()
	switch {
	case err == nil:
		p.point("store.after-commit")
		return true, nil
	case connectionLost(err):
		return p.settled(ctx, func(ctx context.Context) (bool, error) { return p.arePushed(ctx, jobs) })
	case isKnown(err) || mayRepeat(err):
		return false, nil
	}
	return false, err
}

// isKnown tells whether err says that a row is there already (23505, unique_violation).
func isKnown(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505"
}

// arePushed tells whether a transaction that was lost has pushed the jobs. The lock is
// free when it is over, one way or the other; should it begin later still, the ids keep
// it from doing anything twice.
func (p *Postgres) arePushed(ctx context.Context, jobs []*Job) (bool, error) {
	if _, err := p.pool.Exec(ctx, pgLockCounter, "seq"); err != nil {
		return false, err
	}
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	rows, err := p.pool.Query(ctx, pgKnown, ids)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	known, err := idSet(rows) // ids are never used twice: all are there, or none
	return len(known) > 0, err
}

func (p *Postgres) pushInSteps(ctx context.Context, group []*call[[]Job, none]) error {
	var jobs []*Job
	return p.transact(ctx, func(ctx context.Context, tx pgx.Tx) error {
		known, rivals, err := pgBefore(ctx, tx, group)
		if err != nil {
			return err
		}
		if jobs = admitted(group, known); len(jobs) == 0 {
			return nil
		}
		var writes pgx.Batch
		p.queueInserts(&writes, jobs, rivals)
		return tx.SendBatch(ctx, &writes).Close()
	}, func(ctx context.Context) (bool, error) { return p.arePushed(ctx, jobs) })
}

// namedKey is what one job at a time is taken by.
type namedKey struct{ lane, key string }

// pgBefore takes the lock and then looks, in one round trip, which of the ids and of the
// keys are there.
func pgBefore(ctx context.Context, tx pgx.Tx, group []*call[[]Job, none]) (known map[string]bool, rivals map[namedKey]bool, err error) {
	var ids, lanes, keys []string
	for _, c := range group {
		for i := range c.in {
			ids, lanes, keys = append(ids, c.in[i].ID), append(lanes, c.in[i].Lane), append(keys, c.in[i].Key)
		}
	}
	var reads pgx.Batch
	reads.Queue(pgLockCounter, "seq")
	reads.Queue(pgKnown, ids).Query(func(rows pgx.Rows) error {
		known, err = idSet(rows)
		return err
	})
	reads.Queue(pgRivals, distinctNames(lanes), distinctNames(keys)).Query(func(rows pgx.Rows) error {
		rivals, err = scanKeys(rows)
		return err
	})
	err = tx.SendBatch(ctx, &reads).Close()
	return known, rivals, err
}

func distinctNames(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func scanKeys(rows pgx.Rows) (map[namedKey]bool, error) {
	taken := map[namedKey]bool{}
	for rows.Next() {
		var k namedKey
		if err := rows.Scan(&k.lane, &k.key); err != nil {
			return nil, err
		}
		taken[k] = true
	}
	return taken, rows.Err()
}

// admitted are the jobs of those pushes that are not refused.
func admitted(group []*call[[]Job, none], known map[string]bool) []*Job {
	var jobs []*Job
	for _, c := range group {
		c.err = nil
		for i := range c.in {
			if known[c.in[i].ID] {
				c.err = jobConflict("push", c.in[i].ID, "it exists")
			}
		}
		if c.err != nil {
			continue
		}
		for i := range c.in {
			known[c.in[i].ID] = true
			jobs = append(jobs, &c.in[i])
		}
	}
	return jobs
}

// idSet reads a column of ids.
func idSet(rows pgx.Rows) (map[string]bool, error) {
	known := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		known[id] = true
	}
	return known, rows.Err()
}

// jobColumns are rows as PostgreSQL's unnest takes them: one array for a column. Of a
// job's number there is only how many come after it.
type jobColumns struct {
	before, due, created, ended, bodyBytes, resultBytes []int64
	id, lane, kind                                      []string
	key, error, labels                                  []*string
	priority, attempts                                  []int32
	phase                                               []int16
	state                                               [][]byte
	bodyBefore, resultBefore, labelBefore               []int64
	body, result                                        [][]byte
	labelName, labelValue                               []string
}

// queueInserts queues all that a push of the jobs writes, as one transaction. rivals are
// the keys that live jobs have; those of the jobs are added.
func (p *Postgres) queueInserts(writes *pgx.Batch, jobs []*Job, rivals map[namedKey]bool) {
	var c jobColumns
	counts := map[string]*[livePhases + 1]int64{}
	for i, j := range jobs {
		ph := phaseOf(j.Status, !j.Due.After(j.Created))
		if k := (namedKey{j.Lane, j.Key}); j.Key != "" && !ph.ended() {
			if rivals[k] {
				ph += unhold
			}
			rivals[k] = true
		}
		n := counts[j.Lane]
		if n == nil {
			n = new([livePhases + 1]int64)
			counts[j.Lane] = n
		}
		if ph.ended() {
			n[livePhases] += j.size()
		} else {
			n[ph]++
		}
		c.add(j, int64(len(jobs)-1-i), ph)
	}
	lanes := slices.Sorted(maps.Keys(counts))
	writes.Queue(pgAdvance, len(jobs))
	writes.Queue(pgNewLanes, lanes)
	writes.Queue(pgInsert, c.before, c.id, c.lane, c.key, c.priority, c.phase, c.due, c.created, c.ended, c.attempts, c.kind, c.error,
		c.labels, c.bodyBytes, c.resultBytes, c.state)
	if len(c.body) > 0 {
		writes.Queue(pgBodies, c.bodyBefore, c.body)
	}
	if len(c.result) > 0 {
		writes.Queue(pgResults, c.resultBefore, c.result)
	}
	if len(c.labelName) > 0 {
		writes.Queue(pgLabels, c.labelName, c.labelValue, c.labelBefore)
	}
	for _, lane := range lanes {
		n := counts[lane]
		writes.Queue(pgCountNamed, lane, p.slot+slotPush, n[0], n[1], n[2], n[3], n[4], n[5])
	}
}

func (c *jobColumns) add(j *Job, before int64, p phase) {
	c.before, c.lane, c.id, c.kind = append(c.before, before), append(c.lane, j.Lane), append(c.id, j.ID), append(c.kind, j.Kind)
	c.due, c.created, c.ended = append(c.due, nanos(j.Due)), append(c.created, nanos(j.Created)), append(c.ended, nanos(j.Ended))
	c.bodyBytes, c.resultBytes = append(c.bodyBytes, int64(len(j.Body))), append(c.resultBytes, int64(len(j.Result)))
	c.key, c.error = append(c.key, pointer(j.Key)), append(c.error, pointer(j.Error))
	text, _ := labelText(j.Labels).(string)
	c.labels = append(c.labels, pointer(text))
	c.priority, c.attempts = append(c.priority, int32(j.Priority)), append(c.attempts, int32(j.Attempts))
	c.phase, c.state = append(c.phase, int16(p)), append(c.state, orNil(j.State))
	if len(j.Body) > 0 {
		c.bodyBefore, c.body = append(c.bodyBefore, before), append(c.body, j.Body)
	}
	if len(j.Result) > 0 {
		c.resultBefore, c.result = append(c.resultBefore, before), append(c.result, j.Result)
	}
	for name, value := range j.Labels {
		c.labelName, c.labelValue, c.labelBefore = append(c.labelName, name), append(c.labelValue, value), append(c.labelBefore, before)
	}
}

// pointer is nil, and so NULL, for what is empty.
func pointer(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
