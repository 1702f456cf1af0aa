package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// query reads rows, each of which is waited for no longer than patience: the caller may
// take its time between them.
func (p *Postgres) query(ctx context.Context, patience time.Duration, text string, args ...any) (pgx.Rows, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := func() { cancel(context.DeadlineExceeded) }
	b := &boundedRows{ctx: ctx, patience: patience, cancel: cancel, timer: time.AfterFunc(patience, late)}
	rows, err := p.reads.Query(ctx, text, args...)
	b.timer.Stop()
	if err != nil {
		err = b.because(err)
		cancel(nil)
		return nil, err
	}
	b.Rows = rows
	return b, nil
}

// boundedRows are given up when the next one does not come.
type boundedRows struct {
	pgx.Rows
	ctx      context.Context //nolint:containedctx // of one query
	patience time.Duration
	timer    *time.Timer
	cancel   context.CancelCauseFunc
}

// because has an error say that it was we who gave up, and not the caller.
func (b *boundedRows) because(err error) error {
	if err != nil && errors.Is(context.Cause(b.ctx), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}

func (b *boundedRows) Err() error { return b.because(b.Rows.Err()) }

func (b *boundedRows) Next() bool {
	b.timer.Reset(b.patience)
	defer b.timer.Stop()
	return b.Rows.Next()
}

// Close reads what is left.
func (b *boundedRows) Close() {
	b.timer.Reset(b.patience)
	b.Rows.Close()
	b.timer.Stop()
	b.cancel(nil)
}
