package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"lambent.dev/lambent"
)

// groupCalls ends a group of a grouper.
const groupCalls = 512

// call is one caller's write on its way, and what becomes of it.
type call[In, Out any] struct {
	in    In
	since time.Time
	out   Out
	err   error
	done  chan struct{} // closed when out and err are set
}

// grouper is a loop that writes what waits for it, all at once.
type grouper[In, Out any] struct {
	write   func(context.Context, []*call[In, Out]) error // its error is everyone's
	queue   chan *call[In, Out]                           // unbuffered: what is received is also answered
	stopped chan struct{}
	loop    sync.WaitGroup
}

func newGrouper[In, Out any](write func(context.Context, []*call[In, Out]) error) *grouper[In, Out] {
	g := &grouper[In, Out]{write: write, queue: make(chan *call[In, Out]), stopped: make(chan struct{})}
	g.loop.Go(g.run) // stop waits for it
	return g
}

// do waits for the outcome. One who leaves before does not learn it.
func (g *grouper[In, Out]) do(ctx context.Context, doing string, in In) (out Out, err error) {
	c := &call[In, Out]{in: in, since: time.Now(), done: make(chan struct{})}
	select {
	case g.queue <- c:
	case <-ctx.Done():
		return out, canceled(doing, ctx.Err())
	case <-g.stopped:
		return out, closed(doing)
	}
	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
		return out, canceled(doing, ctx.Err())
	}
}

func (g *grouper[In, Out]) run() {
	for {
		select {
		case first := <-g.queue:
			g.handle(g.group(first))
		case <-g.stopped:
			return
		}
	}
}

// handle writes a group. Who has waited for the group before has less time left, and half
// of it at the least.
func (g *grouper[In, Out]) handle(group []*call[In, Out]) {
	// No caller's context: one that leaves must not undo what others wait for.
	ctx, cancel := context.WithTimeout(context.Background(), max(pgRetryFor-time.Since(group[0].since), pgRetryFor/2))
	defer cancel()
	if err := g.write(ctx, group); err != nil {
		err = pgFail("write to the database", err)
		for _, c := range group {
			c.err = err
		}
	}
	for _, c := range group {
		close(c.done)
	}
}

func (g *grouper[In, Out]) group(first *call[In, Out]) []*call[In, Out] {
	group := []*call[In, Out]{first}
	for len(group) < groupCalls {
		select {
		case c := <-g.queue:
			group = append(group, c)
		default:
			return group
		}
	}
	return group
}

func (g *grouper[In, Out]) stop() {
	close(g.stopped)
	g.loop.Wait()
}

// pgFail words a fault of the database for the person who runs the server; what
// the database says is in the cause only, since it may hold what callers sent.
func pgFail(doing string, err error) error {
	var ours *lambent.Error
	if errors.As(err, &ours) {
		return err
	}
	var e *pgconn.PgError
	switch {
	case errors.As(err, &e) && e.Code == "53100":
		return mendable(ReasonDiskFull, doing+": the database's disk is full; free some space", err)
	case errors.As(err, &e) && (e.Code == "25006" || e.Code == "42501"):
		return mendable(ReasonReadOnly, doing+": the database cannot be written: "+e.Message, err)
	case errors.As(err, &e) && e.Code[:2] == "28", errors.As(err, &e) && e.Code == "3D000":
		return mendable(ReasonDatabase, doing+": "+e.Message, err)
	case connectionLost(err):
		return mendable(ReasonDatabase, doing+": the database does not answer", err)
	}
	return lambent.Errorf(lambent.CodeInternal, "%s: %w", doing, err)
}

func badURL() error { // the parser's message may hold the password
	return lambent.Errorf(lambent.CodeInvalid, "store.url: %w", fmt.Errorf("want postgres://USER:PASSWORD@HOST:PORT/DATABASE"))
}
