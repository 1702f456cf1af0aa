package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
)

const (
	newLaneSQL  = `INSERT INTO job_lane (name, ready, delayed, held, later, running) VALUES (?, 0, 0, 0, 0, 0) RETURNING id`
	saveLaneSQL = `UPDATE job_lane SET ready = ?2, delayed = ?3, held = ?4, later = ?5, running = ?6 WHERE id = ?1`
	lanesSQL    = `SELECT id, name, ready, delayed, held, later, running FROM job_lane`
	inLaneSQL   = `SELECT 1 FROM job INDEXED BY job_arrival WHERE lane = ? LIMIT 1`
	dropLaneSQL = `DELETE FROM job_lane WHERE id = ?`
	nextDueSQL  = `SELECT due FROM job INDEXED BY job_delayed WHERE lane = ? AND phase = 1 ORDER BY due LIMIT 1`
	nextPassSQL = `SELECT lease FROM job INDEXED BY job_lease WHERE lane = ? AND phase = 4 ORDER BY lease LIMIT 1`
)

// lane is what is known of a lane without a look at its jobs.
type lane struct {
	id    int64
	name  string
	count [livePhases]int
	due   int64 // no delayed job is due before
	pass  int64 // no lease passes before
}

// live is the lane for callers.
func (l *lane) live() Lane {
	out := Lane{Name: l.name, Ready: l.count[phaseReady], Running: l.count[phaseRunning]}
	for _, n := range l.count[:phaseRunning] {
		out.Waiting += n
	}
	next := int64(0)
	if l.count[phaseDelayed] > 0 {
		next = l.due
	}
	if l.count[phaseRunning] > 0 && (next == 0 || l.pass < next) {
		next = l.pass
	}
	if out.Next = fromNanos(next); out.Ready > 0 {
		out.Next = readyNow
	}
	return out
}

// moved notes that n jobs went from one phase to another.
func (l *lane) moved(from, to phase, n int) {
	l.left(from, n)
	l.came(to, n)
}

func (l *lane) came(p phase, n int) {
	if !p.ended() {
		l.count[p] += n
	}
}

func (l *lane) left(p phase, n int) {
	if !p.ended() {
		l.count[p] -= n
	}
}

// dueAt and passesAt keep the bounds below a job that became delayed or running.
func (l *lane) dueAt(t int64) {
	if l.count[phaseDelayed] == 0 || t < l.due {
		l.due = t
	}
}

func (l *lane) passesAt(t int64) {
	if l.count[phaseRunning] == 0 || t < l.pass {
		l.pass = t
	}
}

// laneBook holds the lanes that jobs are in, whatever their status. The writer's loop
// works on copies, which take their places when the transaction is committed.
type laneBook struct {
	mu    sync.Mutex // guards known and names; the loop alone writes them
	known map[int64]*lane
	names map[string]int64

	touched map[int64]*lane // the loop's, in this transaction
	fresh   map[string]int64
	gone    map[int64]string // names of those that it has removed; a new lane may have the id
}

func newLaneBook() *laneBook {
	return &laneBook{known: map[int64]*lane{}, names: map[string]int64{}, touched: map[int64]*lane{}, fresh: map[string]int64{}, gone: map[int64]string{}}
}

// publish and drop end a transaction.
func (b *laneBook) publish() {
	if len(b.touched) == 0 && len(b.gone) == 0 {
		return
	}
	b.mu.Lock()
	for id, name := range b.gone {
		delete(b.known, id)
		delete(b.names, name)
	}
	maps.Copy(b.known, b.touched)
	maps.Copy(b.names, b.fresh)
	b.mu.Unlock()
	b.drop()
}

func (b *laneBook) drop() {
	clear(b.touched)
	clear(b.fresh)
	clear(b.gone)
}

// list are the lanes with live jobs, by name.
func (b *laneBook) list() []Lane {
	var lanes []Lane
	b.mu.Lock()
	for _, l := range b.known {
		if l.count != [livePhases]int{} {
			lanes = append(lanes, l.live())
		}
	}
	b.mu.Unlock()
	slices.SortFunc(lanes, func(x, y Lane) int { return cmp.Compare(x.Name, y.Name) })
	return lanes
}

// byID is the lane to work on in this transaction.
func (b *laneBook) byID(id int64) *lane {
	l := b.touched[id]
	if l == nil {
		was := *b.known[id]
		l = &was
		b.touched[id] = l
	}
	return l
}

// byName is the lane to work on, nil when there is none of this name.
func (b *laneBook) byName(name string) *lane {
	if id, ok := b.fresh[name]; ok {
		return b.byID(id)
	}
	id, ok := b.names[name]
	if _, gone := b.gone[id]; gone || !ok {
		return nil
	}
	return b.byID(id)
}

func (b *laneBook) remove(l *lane) {
	delete(b.touched, l.id)
	delete(b.fresh, l.name)
	b.gone[l.id] = l.name
}

// lane is the lane to work on; it is made when it is new.
func (w *writer) lane(ctx context.Context, name string) (*lane, error) {
	if l := w.lanes.byName(name); l != nil {
		return l, nil
	}
	l := &lane{name: name}
	if err := w.stmts[newLaneSQL].QueryRowContext(ctx, name).Scan(&l.id); err != nil {
		return nil, err
	}
	w.lanes.touched[l.id], w.lanes.fresh[name] = l, l.id
	return l, nil
}

// collect removes a lane that no job is in any more.
func (w *writer) collect(ctx context.Context, id int64) error {
	l := w.lanes.byID(id)
	if l.count != [livePhases]int{} {
		return nil
	}
	used, err := w.has(ctx, inLaneSQL, id)
	if err != nil || used {
		return err
	}
	w.lanes.remove(l)
	return w.exec(ctx, dropLaneSQL, id)
}

// loadLanes reads the counts at the opening. Their bounds are those of the jobs.
func (w *writer) loadLanes(ctx context.Context) error {
	rows, err := w.conn.QueryContext(ctx, lanesSQL)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	for rows.Next() {
		l, c := &lane{}, [livePhases]int{}
		if err := rows.Scan(&l.id, &l.name, &c[0], &c[1], &c[2], &c[3], &c[4]); err != nil {
			return err
		}
		l.count = c
		w.lanes.known[l.id], w.lanes.names[l.name] = l, l.id
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, l := range w.lanes.known {
		if err := w.bound(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// bound makes the lane's bounds exact.
func (w *writer) bound(ctx context.Context, l *lane) (err error) {
	if l.count[phaseDelayed] > 0 {
		if l.due, err = w.least(ctx, nextDueSQL, l.id); err != nil {
			return err
		}
	}
	if l.count[phaseRunning] > 0 {
		l.pass, err = w.least(ctx, nextPassSQL, l.id)
	}
	return err
}

// least is the first time of a lane that a query finds. That there is none would
// be a wrong count, for which nothing else shall fail.
func (w *writer) least(ctx context.Context, text string, lane int64) (int64, error) {
	var t int64
	err := w.stmts[text].QueryRowContext(ctx, lane).Scan(&t)
	if errors.Is(err, sql.ErrNoRows) {
		w.log.Error("the counts of a lane are wrong", "lane", lane)
		return math.MaxInt64, nil
	}
	return t, err
}

func (w *writer) saveLanes(ctx context.Context) error {
	for _, l := range w.lanes.touched {
		if was := w.lanes.known[l.id]; was != nil && was.count == l.count {
			continue
		}
		c := l.count
		if err := w.exec(ctx, saveLaneSQL, l.id, c[0], c[1], c[2], c[3], c[4]); err != nil {
			return err
		}
	}
	return nil
}
