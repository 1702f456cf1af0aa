package store

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// No statement reads a whole table: what it costs depends on what it finds, not on
// how much there is.
func TestNoStatementScans(t *testing.T) {
	s, err := OpenSQLite(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // nothing was written
	statements := append([]string{getSQL, scanSQL, changesSQL, jobSQL, oldestJobsSQL}, writeStatements...)
	for _, text := range statements {
		wantNoScan(t, s.reads, text)
	}
	for _, q := range queries() {
		text, args := q.statement(briefColumns, q.sqliteWay)
		wantNoScan(t, s.reads, text, args...)
	}
}

// queries are the kinds of query that there are.
func queries() []JobQuery {
	var all []JobQuery
	for i := range 1 << 6 {
		var q JobQuery
		if i&1 != 0 {
			q.Lane = "a"
		}
		if i&2 != 0 {
			q.Error = "E"
		}
		if i&4 != 0 {
			q.Labels = map[string]string{"a": "b", "c": "d"}
		}
		q.Statuses = [][]JobStatus{nil, {JobRunning}, {JobFailed, JobExpired}, {JobWaiting, JobSucceeded}}[i>>3&3]
		if i&32 != 0 {
			q.Prefix, q.From, q.To, q.Kind = "a", time.Now(), time.Now(), "k"
		}
		all = append(all, q)
	}
	return all
}

func wantNoScan(t *testing.T, db *sql.DB, text string, args ...any) {
	t.Helper()
	if args == nil {
		for range 20 { // more than any has: SQLite counts those that it meets
			args = append(args, 1)
		}
		args = args[:parameters(text)]
	}
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Errorf("explain %s: %v", text, err)
		return
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(detail, "SCAN") && !strings.Contains(detail, "SUBQUERY") && detail != "SCAN CONSTANT ROW" && !bounded(text, detail) {
			t.Errorf("%s: %s", text, detail)
		}
		if strings.Contains(detail, "TEMP B-TREE") && !strings.Contains(text, "job_lease") {
			t.Errorf("%s sorts: %s", text, detail)
		}
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
}

// bounded tells whether a walk along an index ends by itself: at a LIMIT, or since
// the index holds only what runs.
func bounded(text, detail string) bool {
	switch {
	case strings.Contains(detail, "job_lease"):
		return true
	case text == oldestJobsSQL:
		return detail == "SCAN l" // it asks for something of each lane
	case text == oldSQL:
		return strings.Contains(detail, "job_ended")
	case text == oldestSQL:
		return strings.Contains(detail, "record_deleted")
	}
	return false
}

// parameters counts the parameters of a statement.
func parameters(text string) int {
	highest, plain := 0, 0
	for i, r := range text {
		if r != '?' {
			continue
		}
		n := 0
		if _, err := fmt.Sscanf(text[i+1:], "%d", &n); err != nil {
			plain++
		}
		highest = max(highest, n)
	}
	return max(highest, plain)
}

// The counts in job_lane are those of the rows, after whatever happened.
func TestCountsAreThoseOfTheRows(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSQLite(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	at := func(n int) time.Time { return time.Unix(1_700_000_000+int64(n), 0) }
	for i := range 200 {
		j := Job{ID: fmt.Sprint(i), Lane: fmt.Sprint("lane", i%3), Status: JobWaiting, Created: at(0), Due: at(i % 7), Key: []string{"", "k", "l"}[i%5%3]}
		if err := s.Push(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			taken, err := s.Take(t.Context(), j.Lane, 2, at(i/40), at(i/40+3))
			if err != nil {
				t.Fatal(err)
			}
			for k, j := range taken {
				c := Change{ID: j.ID, Token: j.Token, Status: []JobStatus{JobSucceeded, JobWaiting}[k], Due: at(9), Ended: at(9)}
				if _, err := s.Change(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	before, err := s.Lanes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	recount(t, filepath.Join(dir, File))
	if s, err = OpenSQLite(t.Context(), Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // nothing was written
	after, err := s.Lanes(t.Context())
	if err != nil || len(after) != 3 {
		t.Fatalf("after opening again there are %v, %v", after, err)
	}
	for i := range after {
		if after[i].Next, before[i].Next = readyNow, readyNow; after[i] != before[i] {
			t.Errorf("after opening again %+v, before %+v", after[i], before[i])
		}
	}
}

func recount(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, readCache))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // only read
	const wrong = `SELECT count(*) FROM job_lane AS l WHERE ready || ' ' || delayed || ' ' || held || ' ' || later || ' ' || running <>
		(SELECT sum(phase = 0) || ' ' || sum(phase = 1) || ' ' || sum(phase = 2) || ' ' || sum(phase = 3) || ' ' || sum(phase = 4) FROM job WHERE lane = l.id)`
	var n int
	if err := db.QueryRowContext(t.Context(), wrong).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d lanes have wrong counts, %v", n, err)
	}
}

// A lane is forgotten with its last job, and not before.
func TestUnusedLanesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSQLite(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0)
	for i := range 9 { // three lanes; of the first a job waits, of the second one is young
		j := Job{ID: fmt.Sprint(i), Lane: fmt.Sprint("lane", i%3), Status: JobSucceeded, Created: at, Ended: at}
		switch i {
		case 6:
			j.Status, j.Ended = JobWaiting, time.Time{}
		case 7:
			j.Ended = at.Add(time.Hour)
		}
		if err := s.Push(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.TrimJobs(t.Context(), at.Add(time.Minute), 0); n != 7 || err != nil {
		t.Fatalf("forgot %d jobs, %v", n, err)
	}
	if len(s.writer.lanes.known) != 2 || len(s.writer.lanes.names) != 2 {
		t.Errorf("known are %v", s.writer.lanes.names)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, File), readCache))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // only read
	var names string
	if err := db.QueryRowContext(t.Context(), `SELECT group_concat(name) FROM (SELECT name FROM job_lane ORDER BY name)`).Scan(&names); err != nil || names != "lane0,lane1" {
		t.Errorf("the lanes are %q, %v", names, err)
	}
}
