package store

import (
	"context"
	"database/sql"
)

// keep has the disk keep one group after the other, and answers its callers.
func (w *writer) keep() {
	grown := 0
	for group := range w.synced {
		err := w.wal.sync()
		if err != nil {
			err = w.breaks(err)
			w.log.Error("sync failed", "requests", len(group), "err", err)
		} else {
			w.point("store.after-commit")
		}
		w.disk <- struct{}{} // the next group goes to the disk while this one is answered
		w.answer(group, err)
		w.announce(1)
		for _, r := range group {
			grown += r.size
		}
		if grown += groupLog; grown > checkpointEvery {
			select {
			case w.worn <- struct{}{}:
				grown = 0
			default: // one is being made
			}
		}
	}
}

// announce notes that so many more groups are durable, and wakes who waits for it.
func (w *writer) announce(groups int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.durable += groups
	close(w.changed)
	w.changed = make(chan struct{})
}

// settle waits until what was committed by now is on the disk, so that nobody is
// shown what a loss of power could undo. When the disk has failed it does not wait.
func (w *writer) settle(ctx context.Context) error {
	w.mu.Lock()
	target := w.pending
	w.mu.Unlock()
	for {
		w.mu.Lock()
		done, changed := w.durable >= target || w.broken != nil, w.changed
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-w.stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Checkpoints copy the log into the database. SQLite makes one within a commit once
// the log has 4,000 pages (wal_autocheckpoint), and all who write wait for its
// syncs. One that is made aside every so often leaves that one little to copy.
const (
	checkpointEvery = 4 << 20  // bytes of log, about
	groupLog        = 40 << 10 // bytes of a group beside what its callers bring: the pages that every one writes
)

// checkpoints makes them until stop.
func (w *writer) checkpoints(path string) {
	db, err := sql.Open("sqlite", dsn(path, readCache, "synchronous(NORMAL)"))
	if err != nil {
		w.log.Warn("no checkpoints are made aside", "err", err)
		return
	}
	defer func() { _ = db.Close() }() // nothing was written by it
	db.SetMaxOpenConns(1)
	for {
		select {
		case <-w.stopped:
			return
		case <-w.worn:
		}
		if _, err := db.ExecContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
			w.log.Warn("checkpoint", "err", err) // the next commit's own will tell
		}
	}
}
