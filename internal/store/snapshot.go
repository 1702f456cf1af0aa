package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"lambent.dev/lambent"
)

// tables are what a snapshot of PostgreSQL copies; its columns have the same names
// in SQLite. The counts of the lanes are made anew.
var tables = []struct {
	name    string
	columns []string
}{
	{"record", []string{"key", "revision", "value"}},
	{"job_lane", []string{"id", "name"}},
	{"job", []string{
		"seq", "id", "lane", "key", "priority", "phase", "due", "created", "ended", "lease", "token", "attempts", "kind", "error",
		"labels", "body_bytes", "result_bytes", "state",
	}},
	{"job_label", []string{"name", "value", "seq"}},
	{"job_body", []string{"seq", "body"}},
	{"job_result", []string{"seq", "result"}},
}

// Snapshot writes all there is at one moment into a new SQLite database at path,
// which [Import] reads, while others go on.
func (s *SQLite) Snapshot(ctx context.Context, path string) error {
	if err := s.usable(ctx, "take a snapshot"); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(filepath.Join(s.dir.path, File), readCache))
	if err != nil {
		return s.failed(ctx, "take a snapshot", err)
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", path)
	if err = errors.Join(err, db.Close()); err != nil {
		return s.failed(ctx, "take a snapshot", err)
	}
	return nil
}

// Snapshot is as [SQLite.Snapshot].
func (p *Postgres) Snapshot(ctx context.Context, path string) error {
	if err := p.usable(ctx, "take a snapshot"); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(path, writeCache))
	if err != nil {
		return fail("take a snapshot", err)
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		err = migrate(ctx, conn)
		for _, text := range []string{"PRAGMA synchronous = OFF", "BEGIN"} { // whoever keeps the file syncs it
			if err == nil {
				_, err = conn.ExecContext(ctx, text)
			}
		}
		if err == nil {
			err = pgx.BeginTxFunc(ctx, p.reads, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly},
				func(tx pgx.Tx) error { return pgDump(ctx, tx, conn) })
		}
		// Into the file itself, which is then all there is.
		for _, text := range []string{"COMMIT", "PRAGMA journal_mode = DELETE"} {
			if err == nil {
				_, err = conn.ExecContext(ctx, text)
			}
		}
		err = errors.Join(err, conn.Close())
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return p.failed(ctx, "take a snapshot", err)
	}
	return nil
}

func pgDump(ctx context.Context, tx pgx.Tx, to *sql.Conn) error {
	for _, t := range tables {
		if err := dumpTable(ctx, tx, to, t.name, t.columns); err != nil {
			return fmt.Errorf("copy the table %s: %w", t.name, err)
		}
	}
	for _, name := range []string{"revision", "compacted", "seq"} {
		var value int64
		if err := tx.QueryRow(ctx, pgCounter, name).Scan(&value); err != nil {
			return err
		}
		if _, err := to.ExecContext(ctx, countSQL, value, name); err != nil {
			return err
		}
	}
	var ended int64
	if err := tx.QueryRow(ctx, pgEndedBytes).Scan(&ended); err != nil {
		return err
	}
	if _, err := to.ExecContext(ctx, countSQL, ended, "ended"); err != nil {
		return err
	}
	const recount = `UPDATE job_lane SET (ready, delayed, held, later, running) =
		(SELECT coalesce(sum(phase = 0), 0), coalesce(sum(phase = 1), 0), coalesce(sum(phase = 2), 0), coalesce(sum(phase = 3), 0),
			coalesce(sum(phase = 4), 0) FROM job WHERE job.lane = job_lane.id AND phase < 5)`
	_, err := to.ExecContext(ctx, recount)
	return err
}

func dumpTable(ctx context.Context, tx pgx.Tx, to *sql.Conn, table string, columns []string) error {
	rows, err := tx.Query(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM "+table)
	if err != nil {
		return err
	}
	defer rows.Close()
	into, marks := columns, "?"+strings.Repeat(", ?", len(columns)-1)
	if table == "job_lane" {
		into, marks = append([]string{"ready", "delayed", "held", "later", "running"}, columns...), "0, 0, 0, 0, 0, "+marks
	}
	insert, err := to.PrepareContext(ctx, "INSERT INTO "+table+" ("+strings.Join(into, ", ")+") VALUES ("+marks+")")
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // its errors are those of its use
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Import puts what [SQLite.Snapshot] wrote at path into the PostgreSQL database at
// url, whose tables must be missing or empty. For SQLite the snapshot is the
// database: put it into the data directory as [File].
func Import(ctx context.Context, url, path string) error {
	dir, err := os.MkdirTemp("", "lambent-import") // nothing is kept beside the database
	if err != nil {
		return fail("import", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it holds a lock file
	p, err := OpenPostgres(ctx, Options{Dir: dir, URL: url})
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }() // what was written is committed
	from, err := sql.Open("sqlite", dsn(path, readCache))
	if err != nil {
		return fail("read the snapshot", err)
	}
	defer func() { _ = from.Close() }() // only read
	conn, err := from.Conn(ctx)
	if err != nil {
		return fail("read the snapshot", err)
	}
	defer func() { _ = conn.Close() }() // only read
	if err := migrate(ctx, conn); err != nil {
		return fail("read the snapshot", err)
	}
	err = pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error { return pgLoad(ctx, tx, conn) })
	if err != nil {
		return pgFail("import into the database", err)
	}
	return nil
}

func pgLoad(ctx context.Context, tx pgx.Tx, from *sql.Conn) error {
	var used bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM record) OR EXISTS (SELECT 1 FROM job)`).Scan(&used); err != nil {
		return err
	}
	if used {
		return lambent.Errorf(lambent.CodeConflict, "import into the database: it is not empty")
	}
	for _, t := range tables {
		if err := loadTable(ctx, tx, from, t.name, t.columns); err != nil {
			return fmt.Errorf("copy the table %s: %w", t.name, err)
		}
	}
	for _, name := range []string{"revision", "compacted", "seq"} {
		var value int64
		if err := from.QueryRowContext(ctx, `SELECT value FROM counter WHERE name = ?`, name).Scan(&value); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, pgSetCounter, name, value); err != nil {
			return err
		}
	}
	const recount = `INSERT INTO job_count SELECT lane, -1, count(*) FILTER (WHERE phase = 0), count(*) FILTER (WHERE phase = 1),
			count(*) FILTER (WHERE phase = 2), count(*) FILTER (WHERE phase = 3), count(*) FILTER (WHERE phase = 4),
			coalesce(sum(body_bytes + result_bytes + coalesce(length(state), 0)) FILTER (WHERE phase >= 5), 0) FROM job GROUP BY lane`
	if _, err := tx.Exec(ctx, recount); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `SELECT setval(pg_get_serial_sequence('job_lane', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM job_lane))`)
	return err
}

func loadTable(ctx context.Context, tx pgx.Tx, from *sql.Conn, table string, columns []string) error {
	text := strings.Join(columns, ", ")
	if table == "record" {
		text += ", value IS NULL" // which the driver does not tell from an empty one
	}
	rows, err := from.QueryContext(ctx, "SELECT "+text+" FROM "+table)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is in rows.Err
	_, err = tx.CopyFrom(ctx, pgx.Identifier{table}, columns, &copyRows{rows: rows, width: len(columns), deletions: table == "record"})
	return errors.Join(err, rows.Err())
}

// copyRows hands SQLite's rows to PostgreSQL's COPY.
type copyRows struct {
	rows      *sql.Rows
	width     int
	deletions bool // one more column tells whether the last is NULL
}

func (c *copyRows) Next() bool { return c.rows.Next() }
func (c *copyRows) Err() error { return c.rows.Err() }

func (c *copyRows) Values() ([]any, error) {
	values, to := make([]any, c.width), make([]any, c.width)
	for i := range values {
		to[i] = &values[i]
	}
	var deleted bool
	if c.deletions {
		to = append(to, &deleted)
	}
	err := c.rows.Scan(to...)
	if last, _ := values[c.width-1].([]byte); c.deletions && !deleted && last == nil {
		values[c.width-1] = []byte{}
	}
	return values, err
}
