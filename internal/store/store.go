// Package store keeps lambent's durable state behind narrow interfaces: records
// with compare-and-set and watch, and a queue whose entries are objects. It knows
// nothing of what a record or a job means. The memory driver is the executable
// specification, SQLite the embedded one, PostgreSQL for those who have a
// database; storetest holds all to the same behaviour. Its neighbours are the
// rooms above, which share one store, and the server, which chooses the driver.
package store

import (
	"context"
	"errors"
	"iter"
)

// Errors of this room. They are wrapped with the key.
var (
	ErrNotFound = errors.New("no such record")
	ErrConflict = errors.New("record has another revision")
	ErrClosed   = errors.New("store is closed")
	// ErrNewer means the data was written by a newer lambent.
	ErrNewer = errors.New("data was written by a newer version")
	// ErrLocked means another server uses the data directory.
	ErrLocked = errors.New("data directory is in use by another server")
)

// Record is one value under a key. Keys are paths such as
// "version/000000000000/hello/$LATEST"; a kind is the part before the first slash.
type Record struct {
	Key      string
	Value    []byte
	Revision int64 // of the store when it was last written; 0 is "absent"
}

// Op is one write in a batch.
type Op struct {
	Key    string
	Value  []byte // nil deletes
	Delete bool
	// If, when Check is set, is the revision the record must have: 0 is absent.
	Check bool
	If    int64
}

// Records is a map of records with atomic, durable batches.
type Records interface {
	Get(ctx context.Context, key string) (Record, error)
	// Scan yields the records whose key starts with prefix, in key order, from
	// one snapshot. The error is yielded last, with a zero record.
	Scan(ctx context.Context, prefix string) iter.Seq2[Record, error]
	// Commit applies all of ops or none, durably, and returns the new revision.
	// Batches of concurrent callers may share one disk sync.
	Commit(ctx context.Context, ops ...Op) (int64, error)
	// Watch yields the records written after revision, deletions with a nil
	// value, until ctx ends.
	Watch(ctx context.Context, prefix string, after int64) iter.Seq2[Record, error]
	Close() error
}

// Store is what every driver is.
type Store interface {
	Records
	Jobs
}
