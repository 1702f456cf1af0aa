package store

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// briefColumns are a job's without what is kept beside it, and wholeColumns are all.
// Who takes jobs of a lane knows its name: takenColumns do not look for it.
const (
	briefColumns = `seq, id, (SELECT name FROM job_lane WHERE job_lane.id = job.lane), ` + ownColumns
	wholeColumns = briefColumns + besideColumns
	takenColumns = `seq, id, '', ` + ownColumns + besideColumns

	ownColumns = `coalesce(key, ''), priority, phase, due, created, ended, lease, token, attempts, kind, coalesce(error, ''),
	coalesce(labels, ''), state`
	besideColumns = `, (SELECT body FROM job_body WHERE job_body.seq = job.seq),
	CASE WHEN result_bytes > 0 THEN (SELECT result FROM job_result WHERE job_result.seq = job.seq) END`

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

// statement is the statement for q, its parameters marked "?". way chooses how
// SQLite goes about it.
func (q *JobQuery) statement(columns string, way func(*where) string) (text string, args []any) {
	var w where
	before := q.Before
	if before <= 0 {
		before = math.MaxInt64
	}
	w.and("job.seq < ?", before)
	if q.Lane != "" {
		w.and("lane = (SELECT id FROM job_lane WHERE name = ?)", q.Lane)
	}
	if q.Prefix != "" {
		low, high := textBounds(q.Prefix)
		w.and("lane IN (SELECT id FROM job_lane WHERE name >= ? AND name < ?)", low, high)
	}
	if len(q.Statuses) > 0 {
		phases := phasesOf(q.Statuses)
		for _, p := range phases {
			w.args = append(w.args, int(p))
		}
		w.and("phase IN (?" + strings.Repeat(", ?", len(phases)-1) + ")")
	}
	if q.Error != "" {
		w.and("error = ?", q.Error)
	}
	if q.Kind != "" {
		w.and("kind = ?", q.Kind)
	}
	if !q.From.IsZero() {
		w.and("created >= ?", q.From.UnixNano())
	}
	if !q.To.IsZero() {
		w.and("created < ?", q.To.UnixNano())
	}
	for name, value := range q.Labels {
		w.and("job.seq IN (SELECT seq FROM job_label WHERE name = ? AND value = ?)", name, value)
	}
	from := "job " + way(&w)
	text = "SELECT " + columns + " FROM " + from + " WHERE " + strings.Join(w.text, " AND ") + " ORDER BY job.seq DESC LIMIT ?"
	return text, append(w.args, q.limit())
}

// textBounds are the texts between which all with the prefix lie: [low, high). Of
// UTF-8 the order of the bytes is that of the runes.
func textBounds(prefix string) (low, high string) {
	runes := []rune(prefix)
	for len(runes) > 0 && runes[len(runes)-1] == utf8.MaxRune {
		runes = runes[:len(runes)-1]
	}
	if len(runes) == 0 {
		return prefix, strings.Repeat(string(utf8.MaxRune), MaxKey) // above every lane
	}
	last := &runes[len(runes)-1]
	if *last++; *last == 0xd800 {
		*last = 0xe000 // what lies between are no runes (RFC 3629, section 3)
	}
	return prefix, string(runes)
}

// sqliteWay chooses the index. Every way to find jobs goes down an index in the
// order of seq, from the most telling condition that there is; only the few that
// run are sorted.
func (q *JobQuery) sqliteWay(w *where) string {
	phases := phasesOf(q.Statuses)
	slices.Sort(phases)
	all := func(low, high phase) bool {
		return len(phases) > 0 && phases[0] >= low && phases[len(phases)-1] <= high
	}
	switch {
	case len(q.Labels) > 0:
		return "NOT INDEXED" // by seq
	case q.Error != "":
		return "INDEXED BY job_error"
	case all(phaseRunning, phaseRunning):
		w.and("phase = 4")
		return "INDEXED BY job_lease"
	case q.Lane != "":
		return "INDEXED BY job_arrival"
	case all(phaseFailed, phaseExpired):
		w.and("phase > 5")
		return "INDEXED BY job_unhappy"
	}
	return "NOT INDEXED"
}
