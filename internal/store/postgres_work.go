package store

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pgRipen = `UPDATE job SET phase = 0 WHERE seq IN
		(SELECT seq FROM job WHERE lane = $1 AND phase = 1 AND due <= $2 ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED)`
	pgTake = `WITH ready AS MATERIALIZED (SELECT seq, priority, phase FROM job WHERE lane = $1 AND phase = 0
			ORDER BY priority DESC, seq LIMIT $2 FOR UPDATE SKIP LOCKED),
		passed AS MATERIALIZED (SELECT seq, priority, phase FROM job WHERE lane = $1 AND phase = 4 AND lease <= $3
			ORDER BY lease LIMIT 10000 FOR UPDATE SKIP LOCKED),
		chosen AS MATERIALIZED (SELECT seq, phase FROM (SELECT * FROM ready UNION ALL SELECT * FROM passed) AS found
			ORDER BY priority DESC, seq LIMIT $2)
		UPDATE job SET phase = 4, lease = $4, token = token + 1, attempts = attempts + 1 FROM chosen WHERE job.seq = chosen.seq
		RETURNING ` + pgWhole + `, chosen.phase`
	pgLaneID = `SELECT id FROM job_lane WHERE name = $1`

	pgStates = `SELECT id, seq, lane, coalesce(key, ''), phase, due, token, attempts, coalesce(error, ''), body_bytes, result_bytes,
		coalesce(length(state), 0) FROM job WHERE id = ANY($1) ORDER BY seq FOR UPDATE`
	pgChange = `UPDATE job SET phase = $2, due = $3, ended = $4, lease = $5, attempts = $6, error = $7, result_bytes = $8,
		state = CASE WHEN $9 THEN $10 ELSE state END WHERE seq = $1`
	pgResult     = `INSERT INTO job_result (seq, result) VALUES ($1, $2) ON CONFLICT (seq) DO UPDATE SET result = excluded.result`
	pgDropResult = `DELETE FROM job_result WHERE seq = $1`
	pgUnhold     = `UPDATE job SET phase = phase - 2 WHERE phase IN (2, 3) AND seq =
		(SELECT seq FROM job WHERE lane = $1 AND key = $2 AND key IS NOT NULL AND phase < 5 ORDER BY seq LIMIT 1) RETURNING phase`

	pgOld = `SELECT seq, ended, body_bytes + result_bytes + coalesce(length(state), 0), lane
		FROM job WHERE phase >= 5 ORDER BY ended, seq LIMIT $1 FOR UPDATE`
	pgEndedBytes = `SELECT coalesce(sum(ended), 0)::bigint FROM job_count`
	pgDropLabels = `DELETE FROM job_label USING job, json_each_text(job.labels::json) AS l (name, value)
		WHERE job.seq = ANY($1) AND job.labels IS NOT NULL AND job_label.name = l.name AND job_label.value = l.value AND job_label.seq = job.seq`
	pgDropBodies  = `DELETE FROM job_body WHERE seq = ANY($1)`
	pgDropResults = `DELETE FROM job_result WHERE seq = ANY($1)`
	pgDrop        = `DELETE FROM job WHERE seq = ANY($1)`

	pgUnusedLanes = `SELECT id FROM job_lane WHERE id = ANY($1) AND NOT EXISTS (SELECT 1 FROM job WHERE job.lane = job_lane.id)`
	pgDropLanes   = `DELETE FROM job_lane WHERE id IN (` + pgUnusedLanes + `) RETURNING id`
	pgDropCounted = `DELETE FROM job_count WHERE lane = ANY($1)`
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

// laneKey is what one job at a time is taken by.
type laneKey struct {
	lane int64
	key  string
}

// Take leases up to limit jobs of lane.
func (p *Postgres) Take(ctx context.Context, lane string, limit int, now, until time.Time) ([]Job, error) {
	if err := checkTake(lane, limit, now, until); err != nil {
		return nil, err
	}
	if err := p.usable(ctx, "take jobs"); err != nil || limit == 0 {
		return nil, err
	}
	out, err := p.works.do(ctx, "take jobs", work{take: taking{lane: lane, limit: min(limit, MaxTake), now: nanos(now), until: nanos(until)}})
	return out.taken, err
}

// work is a Take or a Change on its way, and worked what becomes of it.
type work struct {
	take    taking // of no lane in a Change
	changes []Change
}

type worked struct {
	taken []Job
	errs  []error
}

// writeWorks does a group of changes at once, and then its takes. Both are in one
// loop, since a Take does not wait for jobs that another transaction changes, but
// overlooks them: only another server's may be overlooked so.
func (p *Postgres) writeWorks(ctx context.Context, group []*call[work, worked]) error {
	return p.transact(ctx, func(ctx context.Context, tx pgx.Tx) error {
		t := newTally()
		if err := changeAll(ctx, tx, group, t); err != nil {
			return err
		}
		for _, c := range group {
			if c.in.take.lane == "" {
				continue
			}
			var err error
			if c.out.taken, err = p.takeOne(ctx, tx, c.in.take, t); err != nil {
				return err
			}
		}
		var writes pgx.Batch
		t.queue(&writes, p.slot+slotWork)
		return tx.SendBatch(ctx, &writes).Close()
	}, nil)
}

func (p *Postgres) takeOne(ctx context.Context, tx pgx.Tx, in taking, t *tally) ([]Job, error) {
	var lane int64
	err := tx.QueryRow(ctx, pgLaneID, in.lane).Scan(&lane)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ripe, err := tx.Exec(ctx, pgRipen, lane, in.now, MaxRipe)
	if err != nil {
		return nil, err
	}
	t.add(lane, phaseDelayed, -ripe.RowsAffected())
	t.add(lane, phaseReady, ripe.RowsAffected())
	rows, err := tx.Query(ctx, pgTake, lane, in.limit, in.now, in.until)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var taken []Job
	for rows.Next() {
		var was phase
		j, err := scanJob(withMore{rows, &was}, true)
		if err != nil {
			return nil, err
		}
		taken = append(taken, j)
		t.add(lane, was, -1)
		t.add(lane, phaseRunning, 1)
	}
	slices.SortFunc(taken, func(a, b Job) int { return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Seq, b.Seq)) })
	return taken, rows.Err()
}

// withMore reads one more column than the reader of a row knows.
type withMore struct {
	row  interface{ Scan(...any) error }
	more any
}

func (w withMore) Scan(to ...any) error { return w.row.Scan(append(to, w.more)...) }

// Change applies each change on its own.
func (p *Postgres) Change(ctx context.Context, changes ...Change) ([]error, error) {
	if err := checkChanges(changes); err != nil {
		return nil, err
	}
	if err := p.usable(ctx, "change jobs"); err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return []error{}, nil
	}
	out, err := p.works.do(ctx, "change jobs", work{changes: changes})
	return out.errs, err
}

// changeAll locks the jobs of all changes, decides one after the other, and writes
// them at once.
func changeAll(ctx context.Context, tx pgx.Tx, group []*call[work, worked], t *tally) error {
	states, err := pgStatesOf(ctx, tx, group)
	if err != nil {
		return err
	}
	w := changing{tally: t, freed: map[laneKey]bool{}}
	for _, c := range group {
		c.out.errs = make([]error, len(c.in.changes))
		for i := range c.in.changes {
			c.out.errs[i] = w.apply(&c.in.changes[i], states)
		}
	}
	if w.writes.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, &w.writes).Close(); err != nil {
		return err
	}
	return w.unhold(ctx, tx)
}

// pgStatesOf are the jobs that a group changes, by id.
func pgStatesOf(ctx context.Context, tx pgx.Tx, group []*call[work, worked]) (map[string]*jobState, error) {
	var ids []string
	for _, c := range group {
		for i := range c.in.changes {
			ids = append(ids, c.in.changes[i].ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, pgStates, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	states := map[string]*jobState{}
	for rows.Next() {
		var id string
		var s jobState
		if err := rows.Scan(&id, &s.seq, &s.lane, &s.key, &s.phase, &s.due, &s.token, &s.attempts, &s.error, &s.bodyBytes, &s.resultBytes, &s.stateBytes); err != nil {
			return nil, err
		}
		states[id] = &s
	}
	return states, rows.Err()
}

// changing is a group of changes on its way.
type changing struct {
	writes pgx.Batch
	tally  *tally
	freed  map[laneKey]bool // keys whose first job has ended
}

func (w *changing) apply(c *Change, states map[string]*jobState) error {
	s := states[c.ID]
	if s == nil {
		return jobNotFound("change", c.ID)
	}
	n, err := s.becomes(c)
	if err != nil {
		return err
	}
	ended, lease := int64(0), int64(0)
	if n.phase.ended() {
		ended = nanos(c.Ended)
		w.tally.ended[n.lane] += n.bodyBytes + n.resultBytes + n.stateBytes
		if s.key != "" && !s.phase.held() {
			w.freed[laneKey{s.lane, s.key}] = true
		}
	} else if n.phase == phaseRunning {
		lease = nanos(c.Lease)
	}
	w.writes.Queue(pgChange, n.seq, int(n.phase), n.due, ended, lease, n.attempts, pointer(n.error), n.resultBytes, c.State != nil, orNil(c.State))
	switch {
	case len(c.Result) > 0:
		w.writes.Queue(pgResult, n.seq, c.Result)
	case c.Result != nil:
		w.writes.Queue(pgDropResult, n.seq)
	}
	w.tally.add(s.lane, s.phase, -1)
	w.tally.add(s.lane, n.phase, 1)
	*s = n
	return nil
}

// unhold lets the next jobs with the freed keys come up. The lock is that of the
// pushes: else a job pushed at this moment could stay held up for ever.
func (w *changing) unhold(ctx context.Context, tx pgx.Tx) error {
	if len(w.freed) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, pgLockCounter, "seq"); err != nil {
		return err
	}
	for k := range w.freed {
		var next phase
		err := tx.QueryRow(ctx, pgUnhold, k.lane, k.key).Scan(&next)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		w.tally.add(k.lane, next+unhold, -1)
		w.tally.add(k.lane, next, 1)
	}
	return nil
}

// TrimJobs forgets ended jobs, the first that ended first.
func (p *Postgres) TrimJobs(ctx context.Context, before time.Time, maxBytes int64) (n int, err error) {
	if err := p.usable(ctx, "trim jobs"); err != nil {
		return 0, err
	}
	writing, cancel := context.WithTimeout(ctx, pgRetryFor)
	defer cancel()
	err = p.transact(writing, func(ctx context.Context, tx pgx.Tx) error {
		n, err = p.trim(ctx, tx, nanos(before), maxBytes)
		return err
	}, nil)
	if err != nil {
		return 0, p.failed(ctx, "trim jobs", err)
	}
	return n, nil
}

func (p *Postgres) trim(ctx context.Context, tx pgx.Tx, before, maxBytes int64) (int, error) {
	var total int64
	if err := tx.QueryRow(ctx, pgEndedBytes).Scan(&total); err != nil {
		return 0, err
	}
	rows, err := tx.Query(ctx, pgOld, trimPart)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var gone []int64
	t := newTally()
	for rows.Next() {
		var o old
		var lane int64
		if err := rows.Scan(&o.seq, &o.ended, &o.bytes, &lane); err != nil {
			return 0, err
		}
		if o.ended >= before && (maxBytes == 0 || total <= maxBytes) {
			continue // the others as well: total does not change any more
		}
		gone = append(gone, o.seq)
		t.ended[lane] -= o.bytes
		total -= o.bytes
	}
	if err := rows.Err(); err != nil || len(gone) == 0 {
		return 0, err
	}
	var writes pgx.Batch
	for _, text := range []string{pgDropLabels, pgDropBodies, pgDropResults, pgDrop} {
		writes.Queue(text, gone)
	}
	t.queue(&writes, p.slot+slotTrim)
	if err := tx.SendBatch(ctx, &writes).Close(); err != nil {
		return 0, err
	}
	return len(gone), pgCollect(ctx, tx, slices.Collect(maps.Keys(t.ended)))
}

// pgCollect removes those of the lanes that no job is in any more. The lock is that of
// the pushes, so that no job comes into a lane that goes away. Another trim is over or
// has not begun: the first job that both want to forget is one's.
func pgCollect(ctx context.Context, tx pgx.Tx, lanes []int64) error {
	unused, err := pgIDs(tx.Query(ctx, pgUnusedLanes, lanes))
	if err != nil || len(unused) == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, pgLockCounter, "seq"); err != nil {
		return err
	}
	gone, err := pgIDs(tx.Query(ctx, pgDropLanes, unused))
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, pgDropCounted, gone) // they add up to nothing
	return err
}

func pgIDs(rows pgx.Rows, err error) ([]int64, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}
