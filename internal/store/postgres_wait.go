package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// query reads rows, each of which is waited for no longer than patience: the caller may
// take its time between them.
func (p *Postgres) query(ctx context.Context, patience time.Duration, text string, args ...any) (pgx.Rows, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &boundedRows{patience: patience, cancel: cancel, timer: time.AfterFunc(patience, cancel)}
	var err error
	b.Rows, err = p.reads.Query(ctx, text, args...)
	b.timer.Stop()
	if err != nil {
		cancel()
		return nil, err
	}
	return b, nil
}

// boundedRows are given up when the next one does not come.
type boundedRows struct {
	pgx.Rows
	patience time.Duration
	timer    *time.Timer
	cancel   context.CancelFunc
}

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
	b.cancel()
}
