package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lambent.dev/lambent"
)

// identityFile, in the data directory, says which database the directory belongs with, by
// a number that the database has drawn for itself. Code that the database does not know
// is collected: with an empty one, because the file is gone or store.url is not what it
// was, that would be all of it.
const identityFile = "database"

// The number is among the counters, where earlier builds leave it alone. A copy of
// SQLite's file has the same one, so that it can be put back.
const (
	identitySQL    = `SELECT coalesce(max(value), 0) FROM counter WHERE name = 'identity'`
	setIdentitySQL = `INSERT INTO counter (name, value) VALUES ('identity', $1) ON CONFLICT (name) DO NOTHING`
)

// identity reads and sets a database's number. Zero is none; set is durable when it
// returns, and does nothing where there is one.
type identity struct {
	get func(ctx context.Context) (int64, error)
	set func(ctx context.Context, id int64) error
}

// belong refuses a database that the directory does not belong with, and makes one that
// belongs with none this one's.
func (d *dataDir) belong(ctx context.Context, database string, i identity) error {
	want, err := d.database()
	if err != nil {
		return err
	}
	have, err := i.get(ctx)
	if err != nil {
		return err
	}
	switch {
	case want != 0 && have == want:
		return nil
	case want != 0:
		return d.otherDatabase(database)
	case have == 0:
		if err := i.set(ctx, 1+rand.Int64N(math.MaxInt64-1)); err != nil {
			return err
		}
		if have, err = i.get(ctx); err != nil { // another server may have been first
			return err
		}
	}
	return d.write(identityFile, have)
}

func (d *dataDir) otherDatabase(database string) error {
	return &lambent.Error{Code: lambent.CodeUnavailable, Reason: ReasonOther, Message: fmt.Sprintf(
		"data directory %s was used with another database than %s: set store.url as it was, or restore the database from a backup; "+
			"to go on with this one, whose functions are all that is kept then, remove %s", d.path, database, filepath.Join(d.path, identityFile))}
}

// database is the number of the database that the directory belongs with; 0 is none.
func (d *dataDir) database() (int64, error) {
	name := filepath.Join(d.path, identityFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || id <= 0 {
		return 0, damaged(fmt.Sprintf("%s does not hold the number of a database: remove it if the configured one is the right one", name), err)
	}
	return id, nil
}

// belong is for the database in the directory itself.
func (s *SQLite) belong(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", dsn(path, readCache)) // which syncs, unlike the writer's
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // what was written is committed
	return s.dir.belong(ctx, path, identity{
		get: func(ctx context.Context) (id int64, err error) {
			err = db.QueryRowContext(ctx, identitySQL).Scan(&id)
			return id, err
		},
		set: func(ctx context.Context, id int64) error {
			_, err := db.ExecContext(ctx, setIdentitySQL, id)
			return err
		},
	})
}

func (p *Postgres) belong(ctx context.Context) error {
	return p.dir.belong(ctx, "that of store.url", identity{
		get: func(ctx context.Context) (id int64, err error) {
			err = p.pool.QueryRow(ctx, identitySQL).Scan(&id)
			return id, err
		},
		set: func(ctx context.Context, id int64) error {
			_, err := p.pool.Exec(ctx, setIdentitySQL, id)
			return err
		},
	})
}
