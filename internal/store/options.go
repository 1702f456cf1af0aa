package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"lambent.dev/lambent"
)

// Bounds on what a caller may store. What exceeds them is refused with
// [lambent.CodeInvalid] or [lambent.CodeTooLarge] before anything is written.
const (
	MaxKey   = 1024     // bytes of a key
	MaxValue = 16 << 20 // bytes of a value
	MaxBatch = 64 << 20 // bytes of keys and values in one Commit

	// KeepDeleted is how many deletions are remembered for watchers that resume.
	KeepDeleted = 1024
)

// ErrCompacted means that a watcher asked for a revision so old that deletions
// after it are forgotten: it must scan again and watch from there.
var ErrCompacted = errors.New("revision is too old to resume from")

// Open opens the driver that o asks for: PostgreSQL with a URL, else SQLite.
func Open(ctx context.Context, o Options) (Store, error) {
	if o.URL == "" {
		s, err := OpenSQLite(ctx, o)
		if err != nil {
			return nil, err // not a Store that holds nil
		}
		return s, nil
	}
	p, err := OpenPostgres(ctx, o)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Options say where a durable store lives.
type Options struct {
	Dir string // data directory; it is made when it is missing
	URL string // of the database, for [OpenPostgres]; it may hold a password
	Log *slog.Logger
	// Point, if set, is called with the name of a moment at which a crash is
	// worth testing: "store.applied", "store.before-commit", "store.after-commit",
	// which is when the disk has it. More than one goroutine calls it. Nil in production.
	Point func(name string)
}

// deletes tells whether op removes its record.
func (op Op) deletes() bool { return op.Delete || op.Value == nil }

// checkBatch refuses batches that no driver takes: keys that are empty, too long
// or hold a NUL, a key named twice, and what exceeds the bounds.
func checkBatch(ops []Op) error {
	total := 0
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if err := checkKey(op.Key); err != nil {
			return err
		}
		if seen[op.Key] {
			return lambent.Errorf(lambent.CodeInvalid, "commit record %q: named twice in one batch", op.Key)
		}
		seen[op.Key] = true
		if len(op.Value) > MaxValue {
			return lambent.Errorf(lambent.CodeTooLarge, "commit record %q: %d bytes exceed %d", op.Key, len(op.Value), MaxValue)
		}
		total += len(op.Key) + len(op.Value)
	}
	if total > MaxBatch {
		return lambent.Errorf(lambent.CodeTooLarge, "commit %d records: %d bytes exceed %d", len(ops), total, MaxBatch)
	}
	return nil
}

func checkKey(key string) error {
	switch {
	case key == "":
		return lambent.Errorf(lambent.CodeInvalid, "record key is empty")
	case len(key) > MaxKey:
		return lambent.Errorf(lambent.CodeInvalid, "record key of %d bytes exceeds %d", len(key), MaxKey)
	case bytes.IndexByte([]byte(key), 0) >= 0:
		return lambent.Errorf(lambent.CodeInvalid, "record key %q holds a NUL byte", key)
	}
	return nil
}

// The room's errors as they leave it: with a code for the doors, and one of the
// sentinels as the cause for errors.Is.

func notFound(key string) error {
	return lambent.Errorf(lambent.CodeNotFound, "get record %q: %w", key, ErrNotFound)
}

func conflict(op Op, have int64) error {
	return &lambent.Error{
		Code:    lambent.CodePrecondition,
		Message: fmt.Sprintf("commit record %q: it has revision %d, not %d", op.Key, have, op.If),
		Cause:   ErrConflict,
	}
}

func closed(doing string) error {
	return lambent.Errorf(lambent.CodeUnavailable, "%s: %w", doing, ErrClosed)
}

func compacted(after int64) error {
	return lambent.Errorf(lambent.CodePrecondition, "watch records after revision %d: %w", after, ErrCompacted)
}

// canceled wraps the error of a context that ended.
func canceled(doing string, err error) error {
	return lambent.Errorf(lambent.CodeCanceled, "%s: %w", doing, err)
}
