package store

import (
	"slices"
	"strings"
)

// briefColumns are a job's without what is kept beside it.
const briefColumns = `seq, id, (SELECT name FROM job_lane WHERE job_lane.id = job.lane), coalesce(key, ''), priority, phase,
	due, created, ended, lease, token, attempts, kind, coalesce(error, ''), coalesce(labels, ''), state`

const (
	wholeColumns = briefColumns + `,
	(SELECT body FROM job_body WHERE job_body.seq = job.seq), (SELECT result FROM job_result WHERE job_result.seq = job.seq)`
	jobSQL = `SELECT ` + wholeColumns + ` FROM job WHERE id = ?`
)

// scanJob reads the columns of a job, brief or whole.
func scanJob(row interface{ Scan(...any) error }, whole bool) (Job, error) {
	var j Job
	var p phase
	var due, created, ended, lease int64
	var labels string
	to := []any{&j.Seq, &j.ID, &j.Lane, &j.Key, &j.Priority, &p, &due, &created, &ended, &lease, &j.Token, &j.Attempts,
		&j.Kind, &j.Error, &labels, &j.State}
	if whole {
		to = append(to, &j.Body, &j.Result)
	}
	if err := row.Scan(to...); err != nil {
		return Job{}, err
	}
	j.Status, j.Due, j.Created, j.Ended, j.Lease = p.status(), fromNanos(due), fromNanos(created), fromNanos(ended), fromNanos(lease)
	j.State, j.Body, j.Result = orNil(j.State), orNil(j.Body), orNil(j.Result)
	var err error
	j.Labels, err = parseLabels(labels)
	return j, err
}

func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// where gathers the conditions of a query.
type where struct {
	text []string
	args []any
}

func (w *where) and(text string, args ...any) {
	w.text = append(w.text, text)
	w.args = append(w.args, args...)
}

// sqlite is the statement for q. Every way to find jobs goes down an index in the
// order of seq, from the most telling condition that there is; only the few that
// run are sorted.
func (q *JobQuery) sqlite() (text string, args []any) {
	var w where
	before := q.Before
	if before <= 0 {
		before = 1<<63 - 1
	}
	w.and("job.seq < ?", before)
	from := "job " + q.sqliteWay(&w)
	if q.Kind != "" {
		w.and("kind = ?", q.Kind)
	}
	if !q.From.IsZero() {
		w.and("created >= ?", q.From.UnixNano())
	}
	if !q.To.IsZero() {
		w.and("created < ?", q.To.UnixNano())
	}
	if q.Prefix != "" {
		low, high := bounds(q.Prefix)
		w.and("lane IN (SELECT id FROM job_lane WHERE name >= ? AND name < ?)", string(low), string(high))
	}
	text = "SELECT " + briefColumns + " FROM " + from + " WHERE " + strings.Join(w.text, " AND ") + " ORDER BY job.seq DESC LIMIT ?"
	return text, append(w.args, q.limit())
}

// sqliteWay adds the conditions that indexes are for, and chooses one.
func (q *JobQuery) sqliteWay(w *where) string {
	way := "NOT INDEXED" // by seq
	if q.Lane != "" {
		w.and("lane = (SELECT id FROM job_lane WHERE name = ?)", q.Lane)
		way = "INDEXED BY job_arrival"
	}
	if len(q.Statuses) > 0 {
		phases := phasesOf(q.Statuses)
		slices.Sort(phases)
		marks, args := "?"+strings.Repeat(", ?", len(phases)-1), []any{}
		for _, p := range phases {
			args = append(args, int(p))
		}
		w.and("phase IN ("+marks+")", args...)
		switch {
		case phases[0] == phaseRunning && phases[len(phases)-1] == phaseRunning:
			w.and("phase = 4")
			way = "INDEXED BY job_lease"
		case phases[0] > phaseSucceeded && q.Lane == "":
			w.and("phase > 5")
			way = "INDEXED BY job_unhappy"
		}
	}
	if q.Error != "" {
		w.and("error = ?", q.Error)
		way = "INDEXED BY job_error"
	}
	for name, value := range q.Labels {
		w.and("job.seq IN (SELECT seq FROM job_label WHERE name = ? AND value = ?)", name, value)
		way = "NOT INDEXED"
	}
	return way
}
