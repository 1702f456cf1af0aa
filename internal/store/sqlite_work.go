package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"
)

const (
	knownSQL  = `SELECT 1 FROM job WHERE id = ?`
	rivalSQL  = `SELECT 1 FROM job INDEXED BY job_key WHERE lane = ? AND key = ? AND phase < 5 LIMIT 1`
	insertSQL = `INSERT INTO job (seq, id, lane, key, priority, phase, due, created, ended, lease, token, attempts, kind, error,
		labels, body_bytes, result_bytes, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?)`
	bodySQL   = `INSERT INTO job_body (seq, body) VALUES (?, ?)`
	resultSQL = `INSERT INTO job_result (seq, result) VALUES (?, ?) ON CONFLICT (seq) DO UPDATE SET result = excluded.result`
	labelSQL  = `INSERT INTO job_label (name, value, seq) VALUES (?, ?, ?)`

	ripenSQL = `UPDATE job SET phase = 0 WHERE seq IN
		(SELECT seq FROM job INDEXED BY job_delayed WHERE lane = ? AND phase = 1 AND due <= ? ORDER BY due LIMIT ?)`
	takeSQL = `UPDATE job SET phase = 4, lease = ?3, token = token + 1, attempts = attempts + 1 WHERE seq IN
		(SELECT seq FROM job INDEXED BY job_ready WHERE lane = ?1 AND phase = 0 ORDER BY priority DESC, seq LIMIT ?2)
		RETURNING ` + takenColumns
	readySQL   = `SELECT seq, priority, phase FROM job INDEXED BY job_ready WHERE lane = ? AND phase = 0 ORDER BY priority DESC, seq LIMIT ?`
	passedSQL  = `SELECT seq, priority, phase FROM job INDEXED BY job_lease WHERE lane = ? AND phase = 4 AND lease <= ?`
	takeOneSQL = `UPDATE job SET phase = 4, lease = ?2, token = token + 1, attempts = attempts + 1 WHERE seq = ?1 RETURNING ` + takenColumns

	stateSQL = `SELECT seq, lane, coalesce(key, ''), phase, due, token, attempts, coalesce(error, ''), body_bytes, result_bytes,
		coalesce(length(state), 0) FROM job WHERE id = ?`
	changeSQL = `UPDATE job SET phase = ?2, due = ?3, ended = ?4, lease = ?5, attempts = ?6, error = ?7, result_bytes = ?8,
		state = CASE WHEN ?9 THEN ?10 ELSE state END WHERE seq = ?1`
	unholdSQL = `UPDATE job SET phase = phase - 2 WHERE seq =
		(SELECT seq FROM job INDEXED BY job_key WHERE lane = ? AND key = ? AND phase < 5 ORDER BY seq LIMIT 1) RETURNING phase, due`

	oldSQL = `SELECT seq, lane, ended, body_bytes + result_bytes + coalesce(length(state), 0), coalesce(labels, '')
		FROM job INDEXED BY job_ended WHERE phase >= 5 ORDER BY ended, seq LIMIT ?`
	dropSQL       = `DELETE FROM job WHERE seq = ?`
	dropBodySQL   = `DELETE FROM job_body WHERE seq = ?`
	dropResultSQL = `DELETE FROM job_result WHERE seq = ?`
	dropLabelSQL  = `DELETE FROM job_label WHERE name = ? AND value = ? AND seq = ?`
)

// writeStatements are all that the writer prepares.
var writeStatements = []string{
	revisionOfSQL, putSQL, deleteSQL, oldestSQL, forgetSQL, compactSQL, countSQL,
	newLaneSQL, saveLaneSQL, inLaneSQL, dropLaneSQL, nextDueSQL, nextPassSQL,
	knownSQL, rivalSQL, insertSQL, bodySQL, resultSQL, labelSQL,
	ripenSQL, takeSQL, readySQL, passedSQL, takeOneSQL, stateSQL, changeSQL, unholdSQL,
	oldSQL, dropSQL, dropBodySQL, dropResultSQL, dropLabelSQL,
}

// has tells whether a query finds a row.
func (w *writer) has(ctx context.Context, text string, args ...any) (bool, error) {
	var one int
	err := w.stmts[text].QueryRowContext(ctx, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// push adds all jobs or none. One alone is left to the index of the ids; of more
// the ids are looked for before the first write, so that a refused push has
// written nothing.
func (w *writer) push(ctx context.Context, jobs []Job) (refused, err error) {
	for i := range jobs {
		if len(jobs) == 1 {
			break
		}
		known, err := w.has(ctx, knownSQL, jobs[i].ID)
		if err != nil {
			return nil, err
		}
		if known {
			return jobConflict("push", jobs[i].ID, "it exists"), nil
		}
	}
	for i := range jobs {
		err := w.insert(ctx, &jobs[i])
		if len(jobs) == 1 && isDuplicate(err) {
			return jobConflict("push", jobs[i].ID, "it exists"), nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (w *writer) insert(ctx context.Context, j *Job) error {
	l, err := w.lane(ctx, j.Lane)
	if err != nil {
		return err
	}
	p := phaseOf(j.Status, !j.Due.After(j.Created))
	if j.Key != "" && !p.ended() {
		rival, err := w.has(ctx, rivalSQL, l.id, j.Key)
		if err != nil {
			return err
		}
		if rival {
			p += unhold
		}
	}
	seq := w.counts.seq + 1
	err = w.exec(ctx, insertSQL, seq, j.ID, l.id, orNull(j.Key), j.Priority, int(p), nanos(j.Due), nanos(j.Created), nanos(j.Ended),
		j.Attempts, j.Kind, orNull(j.Error), labelText(j.Labels), len(j.Body), len(j.Result), orNil(j.State))
	if err != nil {
		return err
	}
	w.counts.seq = seq
	if len(j.Body) > 0 {
		err = w.exec(ctx, bodySQL, seq, j.Body)
	}
	if err == nil && len(j.Result) > 0 {
		err = w.exec(ctx, resultSQL, seq, j.Result)
	}
	for name, value := range j.Labels {
		if err == nil {
			err = w.exec(ctx, labelSQL, name, value, seq)
		}
	}
	if p == phaseDelayed {
		l.dueAt(nanos(j.Due))
	}
	if l.came(p, 1); p.ended() {
		w.counts.ended += j.size()
	}
	return err
}

// taking is a Take on its way.
type taking struct {
	lane       string
	limit      int
	now, until int64
}

func (w *writer) take(ctx context.Context, t taking) (taken []Job, err error) {
	l := w.lanes.byName(t.lane)
	if l == nil {
		return nil, nil
	}
	if l.count[phaseDelayed] > 0 && l.due <= t.now {
		if err := w.ripen(ctx, l, t.now); err != nil {
			return nil, err
		}
	}
	passed := l.count[phaseRunning] > 0 && l.pass <= t.now
	if passed {
		taken, err = w.takeAll(ctx, l, t)
	} else if l.count[phaseReady] > 0 {
		taken, err = w.takeReady(ctx, l, t)
	}
	if err == nil && (passed || len(taken) < t.limit) {
		err = w.bound(ctx, l)
	}
	return taken, err
}

// ripen puts the delayed jobs that have come due in order.
func (w *writer) ripen(ctx context.Context, l *lane, now int64) error {
	result, err := w.stmts[ripenSQL].ExecContext(ctx, l.id, now, MaxRipe)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	l.moved(phaseDelayed, phaseReady, int(n))
	return err
}

// takeReady is for the usual case that no lease has passed. It takes piece by piece.
func (w *writer) takeReady(ctx context.Context, l *lane, t taking) (taken []Job, err error) {
	for len(taken) < t.limit {
		had := len(taken)
		w.breathe(had)
		if taken, err = w.takePiece(ctx, taken, l, t); err != nil {
			return nil, err
		}
		if len(taken) == had {
			break
		}
	}
	slices.SortFunc(taken, func(a, b Job) int { return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Seq, b.Seq)) })
	if len(taken) > 0 {
		l.passesAt(t.until)
	}
	l.moved(phaseReady, phaseRunning, len(taken))
	return taken, nil
}

func (w *writer) takePiece(ctx context.Context, taken []Job, l *lane, t taking) ([]Job, error) {
	rows, err := w.stmts[takeSQL].QueryContext(ctx, l.id, min(piece, t.limit-len(taken)), t.until)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	for rows.Next() {
		j, err := scanJob(rows, true)
		if err != nil {
			return nil, err
		}
		w.took(l, &j)
		taken = append(taken, j)
	}
	return taken, rows.Err()
}

// piece is how many jobs are written before others may use the processor, some tenths
// of a millisecond, and breath for how long.
const (
	piece  = 16
	breath = 50 * time.Microsecond
)

// breathe has the writer wait a moment, after every piece of a larger work. A server
// that has one processor reads no answers of functions while the writer writes, and
// the functions are out of work before the transaction is over. Yielding is not enough:
// Go's scheduler looks at the network when nobody else is ready.
func (w *writer) breathe(n int) {
	if n > 0 && n%piece == 0 {
		time.Sleep(breath)
	}
}

// candidate is a job that may be taken.
type candidate struct {
	seq      int64
	priority int
	phase    phase
}

// takeAll takes from those that wait and those whose lease has passed.
func (w *writer) takeAll(ctx context.Context, l *lane, t taking) ([]Job, error) {
	found, err := w.candidates(ctx, nil, readySQL, l.id, t.limit)
	if err == nil {
		found, err = w.candidates(ctx, found, passedSQL, l.id, t.now)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.seq, b.seq))
	})
	var taken []Job
	for _, c := range found[:min(len(found), t.limit)] {
		j, err := scanJob(w.stmts[takeOneSQL].QueryRowContext(ctx, c.seq, t.until), true)
		if err != nil {
			return nil, err
		}
		w.took(l, &j)
		taken = append(taken, j)
		l.passesAt(t.until)
		l.moved(c.phase, phaseRunning, 1)
	}
	return taken, nil
}

func (w *writer) candidates(ctx context.Context, found []candidate, text string, args ...any) ([]candidate, error) {
	rows, err := w.stmts[text].QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	for rows.Next() {
		var c candidate
		if err := rows.Scan(&c.seq, &c.priority, &c.phase); err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, rows.Err()
}

// jobState is what a change needs to know of its job.
type jobState struct {
	seq, lane                          int64
	key                                string
	phase                              phase
	due, token                         int64
	attempts                           int
	error                              string
	bodyBytes, resultBytes, stateBytes int64
}

// becomes is the state after c, and the error of a change that does not apply.
func (s *jobState) becomes(c *Change) (jobState, error) {
	waits := s.phase < phaseRunning
	if c.Token == 0 && !waits || c.Token != 0 && (s.phase != phaseRunning || s.token != c.Token) {
		return *s, stale(c)
	}
	n := *s
	n.attempts = c.attempts(s.attempts)
	n.phase = phaseOf(c.Status, c.Due.IsZero())
	if c.Status == JobWaiting {
		n.due = nanos(c.Due)
		if s.phase.held() {
			n.phase += unhold
		}
	}
	if c.Status != JobRunning {
		n.error = c.Error
	}
	if c.Result != nil {
		n.resultBytes = int64(len(c.Result))
	}
	if c.State != nil {
		n.stateBytes = int64(len(c.State))
	}
	return n, nil
}

// maxTaken is of how many running jobs the state is remembered.
const maxTaken = 8192

// took completes a job that was taken, and remembers its state for the change that
// comes next.
func (w *writer) took(l *lane, j *Job) {
	j.Lane = l.name
	if len(w.taken) >= maxTaken {
		clear(w.taken)
	}
	w.taken[j.ID] = jobState{
		seq: j.Seq, lane: l.id, key: j.Key, phase: phaseRunning, due: nanos(j.Due), token: j.Token, attempts: j.Attempts, error: j.Error,
		bodyBytes: int64(len(j.Body)), resultBytes: int64(len(j.Result)), stateBytes: int64(len(j.State)),
	}
}

// state is that of a job; the error is sql.ErrNoRows when there is none.
func (w *writer) state(ctx context.Context, id string) (s jobState, err error) {
	if s, ok := w.taken[id]; ok {
		return s, nil
	}
	err = w.stmts[stateSQL].QueryRowContext(ctx, id).Scan(&s.seq, &s.lane, &s.key, &s.phase, &s.due, &s.token, &s.attempts,
		&s.error, &s.bodyBytes, &s.resultBytes, &s.stateBytes)
	return s, err
}

func (w *writer) change(ctx context.Context, c *Change) (refused, err error) {
	s, err := w.state(ctx, c.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return jobNotFound("change", c.ID), nil
	}
	if err != nil {
		return nil, err
	}
	n, refused := s.becomes(c)
	if refused != nil {
		return refused, nil
	}
	delete(w.taken, c.ID) // it is another state now
	ended, lease := int64(0), int64(0)
	if n.phase.ended() {
		ended = nanos(c.Ended)
		w.counts.ended += n.bodyBytes + n.resultBytes + n.stateBytes
	} else if n.phase == phaseRunning {
		lease = nanos(c.Lease)
	}
	err = w.exec(ctx, changeSQL, n.seq, int(n.phase), n.due, ended, lease, n.attempts, orNull(n.error), n.resultBytes,
		c.State != nil, orNil(c.State))
	if err == nil && c.Result != nil {
		err = w.setResult(ctx, n.seq, c.Result)
	}
	if err != nil {
		return nil, err
	}
	return nil, w.move(ctx, &s, &n, lease)
}

func (w *writer) setResult(ctx context.Context, seq int64, result []byte) error {
	if len(result) == 0 {
		return w.exec(ctx, dropResultSQL, seq)
	}
	return w.exec(ctx, resultSQL, seq, result)
}

// move counts a change, and lets the next job with the same key come up after one
// that has ended.
func (w *writer) move(ctx context.Context, was, now *jobState, lease int64) error {
	l := w.lanes.byID(was.lane)
	switch now.phase {
	case phaseDelayed:
		l.dueAt(now.due)
	case phaseRunning:
		l.passesAt(lease)
	}
	l.moved(was.phase, now.phase, 1)
	if was.key == "" || !now.phase.ended() || was.phase.held() {
		return nil
	}
	var next phase
	var due int64
	err := w.stmts[unholdSQL].QueryRowContext(ctx, was.lane, was.key).Scan(&next, &due)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if next == phaseDelayed {
		l.dueAt(due)
	}
	l.moved(next+unhold, next, 1)
	return nil
}
