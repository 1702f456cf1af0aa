package store

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

const (
	pgKnown    = `SELECT id FROM job WHERE id = ANY($1)`
	pgRivals   = `SELECT DISTINCT lane, key FROM job WHERE lane = ANY($1) AND key = ANY($2) AND key IS NOT NULL AND phase < 5`
	pgLaneIDs  = `SELECT id, name FROM job_lane WHERE name = ANY($1)`
	pgNewLanes = `INSERT INTO job_lane (name) SELECT unnest($1::text[]) RETURNING id, name`
	pgInsert   = `INSERT INTO job (seq, id, lane, key, priority, phase, due, created, ended, lease, token, attempts, kind, error,
		labels, body_bytes, result_bytes, state) SELECT seq, id, lane, key, priority, phase, due, created, ended, 0, 0, attempts, kind, error,
		labels, body_bytes, result_bytes, state FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::integer[], $6::smallint[],
		$7::bigint[], $8::bigint[], $9::bigint[], $10::integer[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::bytea[])
		AS new (seq, id, lane, key, priority, phase, due, created, ended, attempts, kind, error, labels, body_bytes, result_bytes, state)`
	pgBodies  = `INSERT INTO job_body (seq, body) SELECT * FROM unnest($1::bigint[], $2::bytea[])`
	pgResults = `INSERT INTO job_result (seq, result) SELECT * FROM unnest($1::bigint[], $2::bytea[])
		ON CONFLICT (seq) DO UPDATE SET result = excluded.result`
	pgLabels = `INSERT INTO job_label (name, value, seq) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])`
	pgCount  = `INSERT INTO job_count (lane, slot, ready, delayed, held, later, running, ended) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (lane, slot) DO UPDATE SET ready = job_count.ready + excluded.ready, delayed = job_count.delayed + excluded.delayed,
		held = job_count.held + excluded.held, later = job_count.later + excluded.later,
		running = job_count.running + excluded.running, ended = job_count.ended + excluded.ended`
)

// Each loop that counts has a slot in job_count.
const (
	slotPush = iota
	slotWork
	slotTrim
	slots
)

// tally is what a transaction adds to the counts of its lanes.
type tally struct {
	lane  map[int64]*[livePhases]int64
	ended map[int64]int64 // bytes
}

func newTally() *tally { return &tally{lane: map[int64]*[livePhases]int64{}, ended: map[int64]int64{}} }

func (t *tally) add(lane int64, p phase, n int64) {
	if p.ended() {
		return
	}
	if t.lane[lane] == nil {
		t.lane[lane] = new([livePhases]int64)
	}
	t.lane[lane][p] += n
}

// queue writes the differences down, in the order of the lanes, so that no two
// transactions wait for each other.
func (t *tally) queue(writes *pgx.Batch, slot int) {
	var ids []int64
	for id := range t.lane {
		ids = append(ids, id)
	}
	for id := range t.ended {
		if t.lane[id] == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		var c [livePhases]int64
		if t.lane[id] != nil {
			c = *t.lane[id]
		}
		if c != [livePhases]int64{} || t.ended[id] != 0 {
			writes.Queue(pgCount, id, slot, c[0], c[1], c[2], c[3], c[4], t.ended[id])
		}
	}
}

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

// laneKey is what one job at a time is taken by.
type laneKey struct {
	lane int64
	key  string
}

// writePushes does a group of pushes as one insert of all rows. The lock of the
// counter gives their order, and keeps a job from being held up by one that ends
// at the same time.
func (p *Postgres) writePushes(group []*call[[]Job, none]) error {
	var accepted []string
	return p.transact(func(ctx context.Context, tx pgx.Tx) error {
		seq, known, lanes, err := pgBefore(ctx, tx, group)
		if err != nil {
			return err
		}
		jobs := admitted(group, known)
		if len(jobs) == 0 {
			return nil
		}
		accepted = accepted[:0]
		for _, j := range jobs {
			accepted = append(accepted, j.ID)
		}
		if err := pgAddLanes(ctx, tx, jobs, lanes); err != nil {
			return err
		}
		rivals, err := pgKeysTaken(ctx, tx, jobs, lanes)
		if err != nil {
			return err
		}
		var writes pgx.Batch
		p.queueInserts(&writes, jobs, inserting{seq: seq, lanes: lanes, rivals: rivals})
		writes.Queue(pgSetCounter, "seq", seq+int64(len(jobs)))
		return tx.SendBatch(ctx, &writes).Close()
	}, func(ctx context.Context) (bool, error) {
		// The lock is free when the lost transaction is over, one way or the other.
		if _, err := p.pool.Exec(ctx, pgLockCounter, "seq"); err != nil {
			return false, err
		}
		rows, err := p.pool.Query(ctx, pgKnown, accepted)
		if err != nil {
			return false, err
		}
		defer rows.Close()
		known, err := idSet(rows) // ids are never used twice: all are there, or none
		return len(known) > 0, err
	})
}

// pgBefore takes the lock and then looks, in one round trip, which of the ids and
// lanes are there. Lanes are not remembered: another server may remove them.
func pgBefore(ctx context.Context, tx pgx.Tx, group []*call[[]Job, none]) (seq int64, known map[string]bool, lanes map[string]int64, err error) {
	var ids, names []string
	for _, c := range group {
		for i := range c.in {
			ids, names = append(ids, c.in[i].ID), append(names, c.in[i].Lane)
		}
	}
	slices.Sort(names)
	lanes = map[string]int64{}
	var reads pgx.Batch
	reads.Queue(pgLockCounter, "seq").QueryRow(func(row pgx.Row) error { return row.Scan(&seq) })
	reads.Queue(pgKnown, ids).Query(func(rows pgx.Rows) error {
		known, err = idSet(rows)
		return err
	})
	reads.Queue(pgLaneIDs, slices.Compact(names)).Query(func(rows pgx.Rows) error { return scanLanes(rows, lanes) })
	err = tx.SendBatch(ctx, &reads).Close()
	return seq, known, lanes, err
}

// scanLanes reads ids and names of lanes.
func scanLanes(rows pgx.Rows, lanes map[string]int64) error {
	defer rows.Close()
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		lanes[name] = id
	}
	return rows.Err()
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

// pgAddLanes makes those of the jobs' lanes that are missing.
func pgAddLanes(ctx context.Context, tx pgx.Tx, jobs []*Job, lanes map[string]int64) error {
	var fresh []string
	for _, j := range jobs {
		if _, ok := lanes[j.Lane]; !ok {
			lanes[j.Lane] = 0
			fresh = append(fresh, j.Lane)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, pgNewLanes, fresh)
	if err != nil {
		return err
	}
	return scanLanes(rows, lanes)
}

// pgKeysTaken are the keys of the new jobs that live jobs have.
func pgKeysTaken(ctx context.Context, tx pgx.Tx, jobs []*Job, lanes map[string]int64) (map[laneKey]bool, error) {
	taken := map[laneKey]bool{}
	var ids []int64
	var keys []string
	for _, j := range jobs {
		if j.Key != "" && !j.Status.Ended() {
			ids, keys = append(ids, lanes[j.Lane]), append(keys, j.Key)
		}
	}
	if len(keys) == 0 {
		return taken, nil
	}
	rows, err := tx.Query(ctx, pgRivals, ids, keys)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k laneKey
		if err := rows.Scan(&k.lane, &k.key); err != nil {
			return nil, err
		}
		taken[k] = true
	}
	return taken, rows.Err()
}

// inserting is what the rows of new jobs are made with.
type inserting struct {
	seq    int64 // of the job before
	lanes  map[string]int64
	rivals map[laneKey]bool
}

// jobColumns are rows as PostgreSQL's unnest takes them: one array for a column.
type jobColumns struct {
	seq, lane, due, created, ended, bodyBytes, resultBytes []int64
	id, kind                                               []string
	key, error, labels                                     []*string
	priority, attempts                                     []int32
	phase                                                  []int16
	state                                                  [][]byte
	bodySeq, resultSeq, labelSeq                           []int64
	body, result                                           [][]byte
	labelName, labelValue                                  []string
}

func (p *Postgres) queueInserts(writes *pgx.Batch, jobs []*Job, with inserting) {
	var c jobColumns
	t := newTally()
	for _, j := range jobs {
		with.seq++
		lane := with.lanes[j.Lane]
		ph := phaseOf(j.Status, !j.Due.After(j.Created))
		if k := (laneKey{lane, j.Key}); j.Key != "" && !ph.ended() {
			if with.rivals[k] {
				ph += unhold
			}
			with.rivals[k] = true
		}
		if t.add(lane, ph, 1); ph.ended() {
			t.ended[lane] += j.size()
		}
		c.add(j, with.seq, lane, ph)
	}
	writes.Queue(pgInsert, c.seq, c.id, c.lane, c.key, c.priority, c.phase, c.due, c.created, c.ended, c.attempts, c.kind, c.error,
		c.labels, c.bodyBytes, c.resultBytes, c.state)
	if len(c.body) > 0 {
		writes.Queue(pgBodies, c.bodySeq, c.body)
	}
	if len(c.result) > 0 {
		writes.Queue(pgResults, c.resultSeq, c.result)
	}
	if len(c.labelName) > 0 {
		writes.Queue(pgLabels, c.labelName, c.labelValue, c.labelSeq)
	}
	t.queue(writes, p.slot+slotPush)
}

func (c *jobColumns) add(j *Job, seq, lane int64, p phase) {
	c.seq, c.lane, c.id, c.kind = append(c.seq, seq), append(c.lane, lane), append(c.id, j.ID), append(c.kind, j.Kind)
	c.due, c.created, c.ended = append(c.due, nanos(j.Due)), append(c.created, nanos(j.Created)), append(c.ended, nanos(j.Ended))
	c.bodyBytes, c.resultBytes = append(c.bodyBytes, int64(len(j.Body))), append(c.resultBytes, int64(len(j.Result)))
	c.key, c.error = append(c.key, pointer(j.Key)), append(c.error, pointer(j.Error))
	text, _ := labelText(j.Labels).(string)
	c.labels = append(c.labels, pointer(text))
	c.priority, c.attempts = append(c.priority, int32(j.Priority)), append(c.attempts, int32(j.Attempts))
	c.phase, c.state = append(c.phase, int16(p)), append(c.state, orNil(j.State))
	if len(j.Body) > 0 {
		c.bodySeq, c.body = append(c.bodySeq, seq), append(c.body, j.Body)
	}
	if len(j.Result) > 0 {
		c.resultSeq, c.result = append(c.resultSeq, seq), append(c.result, j.Result)
	}
	for name, value := range j.Labels {
		c.labelName, c.labelValue, c.labelSeq = append(c.labelName, name), append(c.labelValue, value), append(c.labelSeq, seq)
	}
}

// pointer is nil, and so NULL, for what is empty.
func pointer(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
