package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// pgMigrations bring a PostgreSQL schema from each version to the next, as
// [migrations] do for SQLite; the number is in the table "version".
var pgMigrations = []string{pgSchemaFirst}

// migrateLock is the advisory lock under which one server at a time migrates.
const migrateLock = 0x6c616d62656e7401

// The tables are those of SQLite. What several connections count is kept in a row
// for each of them, so that none waits for another's transaction: job_count holds
// differences, and the counts are their sums.
const pgSchemaFirst = `
CREATE TABLE record (
	key      BYTEA PRIMARY KEY,
	revision BIGINT NOT NULL,
	value    BYTEA
);
CREATE INDEX record_change ON record (revision, key);
CREATE INDEX record_deleted ON record (revision) WHERE value IS NULL;
CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
INSERT INTO counter VALUES ('revision', 0), ('compacted', 0), ('seq', 0);
CREATE TABLE job_lane (
	id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name TEXT COLLATE "C" NOT NULL UNIQUE
);
CREATE TABLE job_count (
	lane    BIGINT NOT NULL,
	slot    INTEGER NOT NULL,
	ready   BIGINT NOT NULL,
	delayed BIGINT NOT NULL,
	held    BIGINT NOT NULL,
	later   BIGINT NOT NULL,
	running BIGINT NOT NULL,
	ended   BIGINT NOT NULL,
	PRIMARY KEY (lane, slot)
);
CREATE TABLE job (
	seq          BIGINT PRIMARY KEY,
	id           TEXT COLLATE "C" NOT NULL,
	lane         BIGINT NOT NULL,
	key          TEXT COLLATE "C",
	priority     INTEGER NOT NULL,
	phase        SMALLINT NOT NULL,
	due          BIGINT NOT NULL,
	created      BIGINT NOT NULL,
	ended        BIGINT NOT NULL,
	lease        BIGINT NOT NULL,
	token        BIGINT NOT NULL,
	attempts     INTEGER NOT NULL,
	kind         TEXT NOT NULL,
	error        TEXT COLLATE "C",
	labels       TEXT,
	body_bytes   BIGINT NOT NULL,
	result_bytes BIGINT NOT NULL,
	state        BYTEA
);
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
	name  TEXT COLLATE "C" NOT NULL,
	value TEXT COLLATE "C" NOT NULL,
	seq   BIGINT NOT NULL,
	PRIMARY KEY (name, value, seq)
);
CREATE TABLE job_body (seq BIGINT PRIMARY KEY, body BYTEA NOT NULL);
CREATE TABLE job_result (seq BIGINT PRIMARY KEY, result BYTEA NOT NULL);`

// migrate brings the tables up to date in one transaction.
func (p *Postgres) migrate(ctx context.Context) error {
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrateLock)); err != nil {
			return err
		}
		setup := fmt.Sprintf(`CREATE SCHEMA IF NOT EXISTS %s; CREATE TABLE IF NOT EXISTS version (version INTEGER NOT NULL)`,
			pgx.Identifier{p.schema}.Sanitize())
		if _, err := tx.Exec(ctx, setup); err != nil {
			return err
		}
		var have int
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM version`).Scan(&have); err != nil {
			return err
		}
		if have > len(pgMigrations) {
			return newer("the database", have, len(pgMigrations))
		}
		for ; have < len(pgMigrations); have++ {
			if _, err := tx.Exec(ctx, pgMigrations[have]); err != nil {
				return fmt.Errorf("bring the database from schema %d to %d: %w", have, have+1, err)
			}
			if _, err := tx.Exec(ctx, `INSERT INTO version VALUES ($1)`, have+1); err != nil {
				return err
			}
		}
		for _, text := range []string{pgFoldCounts, pgDropCounts} {
			if _, err := tx.Exec(ctx, text); err != nil {
				return fmt.Errorf("add up the counts: %w", err)
			}
		}
		return nil
	})
}

// The counts of servers that are gone are added up at the opening. Those of a
// server that is there may be among them: it begins a new row.
const (
	pgFoldCounts = `WITH gone AS (DELETE FROM job_count WHERE slot <> -1 RETURNING *)
		INSERT INTO job_count (lane, slot, ready, delayed, held, later, running, ended)
		SELECT lane, -1, sum(ready), sum(delayed), sum(held), sum(later), sum(running), sum(ended) FROM gone GROUP BY lane
		ON CONFLICT (lane, slot) DO UPDATE SET ready = job_count.ready + excluded.ready, delayed = job_count.delayed + excluded.delayed,
		held = job_count.held + excluded.held, later = job_count.later + excluded.later,
		running = job_count.running + excluded.running, ended = job_count.ended + excluded.ended`
	pgDropCounts = `DELETE FROM job_count WHERE slot = -1 AND ready = 0 AND delayed = 0 AND held = 0 AND later = 0 AND running = 0 AND ended = 0`
)
