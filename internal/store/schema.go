package store

import (
	"context"
	"database/sql"
	"fmt"

	"lambent.dev/lambent"
)

// migrations bring a database from each schema to the next: the first makes
// schema 1 of an empty one. The number that a database has is its user_version,
// but that databases of records were first written with none.
//
// What is released does not change any more: add a step, raise [Format], and add
// a database of the schema before to testdata.
var migrations = []string{schemaRecords, schemaJobs}

// A deletion keeps its row with a NULL value until it is forgotten. Keys are
// blobs: they compare byte by byte, as the memory driver's do.
const schemaRecords = `
CREATE TABLE IF NOT EXISTS record (
	key      BLOB PRIMARY KEY,
	revision INTEGER NOT NULL,
	value    BLOB
) WITHOUT ROWID, STRICT;
CREATE INDEX IF NOT EXISTS record_change ON record (revision, key);
CREATE INDEX IF NOT EXISTS record_deleted ON record (revision) WHERE value IS NULL;
CREATE TABLE IF NOT EXISTS counter (
	name  TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
INSERT OR IGNORE INTO counter VALUES ('revision', 0), ('compacted', 0);`

// Jobs have narrow rows, which change, and bodies and results beside them, which
// are written once. A job's phase tells which index finds it; see [phase]. Times
// are nanoseconds since 1970, 0 is none. The counts in job_lane are of its live
// jobs by phase, so that nobody counts rows.
const schemaJobs = `
CREATE TABLE job_lane (
	id      INTEGER PRIMARY KEY,
	name    TEXT NOT NULL UNIQUE,
	ready   INTEGER NOT NULL,
	delayed INTEGER NOT NULL,
	held    INTEGER NOT NULL,
	later   INTEGER NOT NULL,
	running INTEGER NOT NULL
) STRICT;
CREATE TABLE job (
	seq          INTEGER PRIMARY KEY,
	id           TEXT NOT NULL,
	lane         INTEGER NOT NULL,
	key          TEXT,
	priority     INTEGER NOT NULL,
	phase        INTEGER NOT NULL,
	due          INTEGER NOT NULL,
	created      INTEGER NOT NULL,
	ended        INTEGER NOT NULL,
	lease        INTEGER NOT NULL,
	token        INTEGER NOT NULL,
	attempts     INTEGER NOT NULL,
	kind         TEXT NOT NULL,
	error        TEXT,
	labels       TEXT,
	body_bytes   INTEGER NOT NULL,
	result_bytes INTEGER NOT NULL,
	state        BLOB
) STRICT;
CREATE UNIQUE INDEX job_id ON job (id);
CREATE INDEX job_arrival ON job (lane, seq);
CREATE INDEX job_ready ON job (lane, priority DESC, seq) WHERE phase = 0;
CREATE INDEX job_delayed ON job (lane, due) WHERE phase = 1;
CREATE INDEX job_key ON job (lane, key, seq) WHERE key IS NOT NULL AND phase < 5;
CREATE INDEX job_lease ON job (lane, lease) WHERE phase = 4;
CREATE INDEX job_ended ON job (ended, seq) WHERE phase >= 5;
CREATE INDEX job_unhappy ON job (seq, phase) WHERE phase > 5;
CREATE INDEX job_error ON job (error, seq) WHERE error IS NOT NULL;
CREATE TABLE job_label (
	name  TEXT NOT NULL,
	value TEXT NOT NULL,
	seq   INTEGER NOT NULL,
	PRIMARY KEY (name, value, seq)
) WITHOUT ROWID, STRICT;
CREATE TABLE job_body (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE job_result (seq INTEGER PRIMARY KEY, result BLOB NOT NULL) STRICT;
INSERT INTO counter VALUES ('seq', 0), ('ended', 0);`

// migrate brings the database up to date, each step in a transaction of its own,
// so that a crash leaves it between two steps at the worst.
func migrate(ctx context.Context, conn *sql.Conn) error {
	for {
		var have int
		if err := conn.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&have); err != nil {
			return err
		}
		switch {
		case have == len(migrations):
			return nil
		case have > len(migrations):
			return newer("the database", have, len(migrations))
		}
		step := fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", migrations[have], have+1)
		if _, err := conn.ExecContext(ctx, step); err != nil {
			_, _ = conn.ExecContext(ctx, "ROLLBACK") // fails when it did not come to BEGIN
			return fmt.Errorf("bring the database from schema %d to %d: %w", have, have+1, err)
		}
	}
}

func newer(what string, have, known int) error {
	return &lambent.Error{
		Code:   lambent.CodeUnavailable,
		Reason: ReasonNewer,
		Message: fmt.Sprintf("%s was written by a newer version of lambent (format %d, this one knows %d): "+
			"run that version, or choose another place", what, have, known),
		Cause: ErrNewer,
	}
}
