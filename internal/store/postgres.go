package store

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ReasonDatabase means that the database does not answer, in [lambent.Error.Reason].
const ReasonDatabase = "Database"

// Bounds on what waits for PostgreSQL.
const (
	pgReads      = 12              // connections of readers at most, the listener's included
	pgWrites     = 4               // connections of writers at most
	pgRetryFor   = 5 * time.Second // how long a write is tried again over lost connections
	pgRetryAfter = 20 * time.Millisecond
	pgListen     = 5 * time.Second // a watcher looks this often, though nothing was heard

	// How long an answer to a read is waited for, and the next row where rows have to be
	// searched for. A database whose host is gone says nothing, and the kernel takes a
	// quarter of an hour to find that out (tcp(7), tcp_retries2).
	pgAnswer = 5 * time.Second
	pgSearch = time.Minute
)

// Postgres is the driver for those who have a database: the tables of one schema.
// Writes of concurrent callers share a transaction, one kind in a loop of its own;
// several servers may use one schema. Writes are tried again when the connection
// is lost before COMMIT was sent. After that a push is looked up, and anything
// else may or may not have happened: the caller is told so.
type Postgres struct {
	dir    *dataDir      // of what is not in the database
	pool   *pgxpool.Pool // of writers, which readers do not hold up
	reads  *pgxpool.Pool
	log    *slog.Logger
	point  func(string)
	schema string
	slot   int // first of this server's in job_count

	commits *grouper[[]Op, int64]
	pushes  *grouper[[]Job, none]
	works   *grouper[work, worked]

	stop     context.CancelFunc // ends the listener
	listener sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	closed  bool
	changed chan struct{} // closed and replaced when records may have changed
}

type none struct{}

var _ Store = (*Postgres)(nil)

// OpenPostgres opens the store in the database at o.URL, and makes its tables when
// they are missing. It takes the lock of o.Dir, as [OpenSQLite] does, for what
// else is kept there. The schema is the URL's search_path, else "lambent". ctx
// bounds the opening only.
func OpenPostgres(ctx context.Context, o Options) (*Postgres, error) {
	config, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, badURL()
	}
	dir, err := openDataDir(o.Dir)
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir, log: o.Log, point: o.Point, changed: make(chan struct{}), slot: rand.IntN(1<<20) * slots}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.point == nil {
		p.point = func(string) {}
	}
	if err := p.open(ctx, config); err != nil {
		return nil, errors.Join(pgFail("open the database", err), p.release())
	}
	return p, nil
}

func (p *Postgres) open(ctx context.Context, config *pgxpool.Config) (err error) {
	params := config.ConnConfig.RuntimeParams
	if params["search_path"] == "" {
		params["search_path"] = "lambent"
	}
	p.schema = params["search_path"]
	params["application_name"] = "lambent"
	if params["synchronous_commit"] == "" { // whatever the database does for others
		params["synchronous_commit"] = "on"
	}
	if config.ConnConfig.ConnectTimeout == 0 { // the pool would wait for two minutes
		config.ConnConfig.ConnectTimeout = pgAnswer
	}
	// Statistics of a table that fills and empties within seconds are always
	// wrong: nothing here ever wants a scan.
	params["enable_seqscan"] = "off"
	config.MaxConns = pgWrites
	if p.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	if err := p.migrate(ctx); err != nil {
		return err
	}
	if err := p.belong(ctx); err != nil {
		return err
	}
	config = config.Copy()
	config.MaxConns = pgReads
	if p.reads, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	p.commits = newGrouper(p.writeCommits)
	p.pushes = newGrouper(p.writePushes)
	p.works = newGrouper(p.writeWorks)
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	p.listener.Go(func() { p.listen(listening) }) // release waits for it
	return nil
}

// Close ends every watch and gives the connections and the directory's lock back.
func (p *Postgres) Close() error {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	p.mu.Unlock()
	if was {
		return nil
	}
	return p.release()
}

func (p *Postgres) release() error {
	if p.stop != nil {
		p.commits.stop()
		p.pushes.stop()
		p.works.stop()
		p.stop()
		p.listener.Wait()
		p.announce()
	}
	for _, pool := range []*pgxpool.Pool{p.reads, p.pool} {
		if pool != nil {
			pool.Close()
		}
	}
	if err := p.dir.close(); err != nil {
		return fail("close the store", err)
	}
	return nil
}

// usable refuses work on a closed store or for a caller that is gone.
func (p *Postgres) usable(ctx context.Context, doing string) error {
	if err := ctx.Err(); err != nil {
		return canceled(doing, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return closed(doing)
	}
	return nil
}

// failed words an error of a read, which may only be the caller or Close.
func (p *Postgres) failed(ctx context.Context, doing string, err error) error {
	if e := p.usable(ctx, doing); e != nil {
		return e
	}
	return pgFail(doing, err)
}

// transact runs write in a transaction, again when that can have left nothing
// behind. settle, if it is not nil, finds out whether a COMMIT whose answer was
// lost has happened. It goes on until ctx ends.
func (p *Postgres) transact(ctx context.Context, write func(context.Context, pgx.Tx) error, settle func(context.Context) (bool, error)) error {
	for {
		sent, err := p.once(ctx, write)
		if err == nil {
			return nil
		}
		if sent && connectionLost(err) {
			if settle == nil {
				return err
			}
			there, serr := p.settled(ctx, settle)
			if serr != nil {
				return errors.Join(err, serr)
			}
			if there {
				return nil
			}
		} else if !connectionLost(err) && !mayRepeat(err) {
			return err
		}
		p.log.Debug("write is tried again", "err", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pgRetryAfter):
		}
	}
}

// once tells with its error whether COMMIT was sent.
func (p *Postgres) once(ctx context.Context, write func(context.Context, pgx.Tx) error) (sent bool, err error) {
	tx, err := p.pool.Begin(ctx)
	if err != nil {
		return false, err
	}
	if err := write(ctx, tx); err != nil {
		leave(ctx, tx.Conn(), err)
		_ = tx.Rollback(ctx) // the connection is gone, or PostgreSQL has done it
		return false, err
	}
	p.point("store.before-commit")
	if err := tx.Commit(ctx); err != nil {
		return true, err
	}
	p.point("store.after-commit")
	return true, nil
}

// leave closes a connection that cannot write: it may be to what was the primary server
// before another one took over, and the next one leads to that.
func leave(ctx context.Context, conn *pgx.Conn, err error) {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == "25006" { // read_only_sql_transaction
		_ = conn.Close(ctx) // nothing was written by it
	}
}

func (p *Postgres) settled(ctx context.Context, settle func(context.Context) (bool, error)) (bool, error) {
	for {
		there, err := settle(ctx)
		if err == nil || !connectionLost(err) {
			return there, err
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(pgRetryAfter):
		}
	}
}

// connectionLost tells whether err is the connection's and not an answer.
// Class 57P are the answers of a server that goes down, 08 is a lost connection,
// 53300 one that has no room for another.
func connectionLost(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code[:3] == "57P" || e.Code[:2] == "08" || e.Code == "53300"
	}
	return err != nil && !errors.Is(err, pgx.ErrNoRows)
}

// mayRepeat tells whether PostgreSQL undid the transaction for another's sake:
// 40001 is a serialisation failure, 40P01 a deadlock.
func mayRepeat(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}
