package store

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Memory is the executable specification of [Records] and [Jobs]: maps, counters
// and one lock. Durable drivers must behave as it does, save that it forgets everything
// when the process ends.
type Memory struct {
	mu        sync.Mutex        // guards all fields below
	records   map[string]Record // deleted ones stay with a nil value while remembered
	deleted   int               // how many of records are deletions
	revision  int64             // of the last batch
	compacted int64             // deletions up to it may be forgotten
	changed   chan struct{}     // closed and replaced by every batch
	closed    bool
	jobs      jobTable
}

var _ Records = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{records: map[string]Record{}, changed: make(chan struct{})}
}

// Get returns the record under key. The error is [ErrNotFound] when there is none.
func (m *Memory) Get(ctx context.Context, key string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, canceled("get record", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return Record{}, closed("get record")
	}
	r, ok := m.records[key]
	if !ok || r.Value == nil {
		return Record{}, notFound(key)
	}
	return clone(r), nil
}

// Scan yields the records under prefix in key order, as they were when the scan
// began.
func (m *Memory) Scan(ctx context.Context, prefix string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		live, err := m.snapshot(prefix)
		for _, r := range live {
			if err = ctx.Err(); err != nil {
				err = canceled("scan records", err)
				break
			}
			if !yield(clone(r), nil) {
				return
			}
		}
		if err != nil {
			yield(Record{}, err)
		}
	}
}

func (m *Memory) snapshot(prefix string) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, closed("scan records")
	}
	var live []Record
	for _, key := range slices.Sorted(maps.Keys(m.records)) {
		if r := m.records[key]; r.Value != nil && strings.HasPrefix(key, prefix) {
			live = append(live, r)
		}
	}
	return live, nil
}

// Commit applies all of ops or none. Every check is made against the state
// before the batch; deleting an absent record is no change. A batch without ops
// returns the current revision.
func (m *Memory) Commit(ctx context.Context, ops ...Op) (int64, error) {
	if err := checkBatch(ops); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, canceled("commit records", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, closed("commit records")
	}
	for _, op := range ops {
		if have := m.current(op.Key); op.Check && have != op.If {
			return 0, conflict(op, have)
		}
	}
	if len(ops) == 0 {
		return m.revision, nil
	}
	m.revision++
	for _, op := range ops {
		m.apply(op)
	}
	m.forget()
	close(m.changed)
	m.changed = make(chan struct{})
	return m.revision, nil
}

// current is the revision of the record under key, 0 when it is absent.
func (m *Memory) current(key string) int64 {
	if r := m.records[key]; r.Value != nil {
		return r.Revision
	}
	return 0
}

func (m *Memory) apply(op Op) {
	old, known := m.records[op.Key]
	r := Record{Key: op.Key, Revision: m.revision}
	switch {
	case !op.deletes():
		r.Value = append([]byte{}, op.Value...) // never nil, which means deleted
		if known && old.Value == nil {
			m.deleted--
		}
	case !known || old.Value == nil:
		return
	default:
		m.deleted++
	}
	m.records[op.Key] = r
}

// forget drops what is older than the newest KeepDeleted deletions, by whole
// revisions.
func (m *Memory) forget() {
	if m.deleted <= KeepDeleted {
		return
	}
	var gone []Record
	for _, r := range m.records {
		if r.Value == nil {
			gone = append(gone, r)
		}
	}
	slices.SortFunc(gone, byRevision)
	oldest := gone[len(gone)-1-KeepDeleted].Revision
	for _, r := range gone {
		if r.Revision >= oldest {
			break
		}
		delete(m.records, r.Key)
		m.deleted--
		m.compacted = oldest - 1
	}
}

// Watch yields the records under prefix written after the given revision, oldest
// revision first, and then each further one until ctx ends. A record that was
// written several times since the watcher last looked is yielded once, as it is
// now. It ends with [ErrCompacted] when the watcher has fallen behind by more
// than [KeepDeleted] deletions; after 0 never has.
func (m *Memory) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[Record, error] {
	return watch(ctx, after, func(_ context.Context, c *cursor) (page, error) { return m.changes(prefix, c) })
}

func (m *Memory) changes(prefix string, c *cursor) (page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return page{}, closed("watch records")
	}
	p := page{compacted: m.compacted, head: m.revision, changed: m.changed, last: true}
	for _, r := range m.records {
		if strings.HasPrefix(r.Key, prefix) && c.before(r) {
			p.records = append(p.records, clone(r))
		}
	}
	slices.SortFunc(p.records, byRevision)
	return p, nil
}

// Close ends every watch; the store is of no use afterwards.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		close(m.changed)
	}
	return nil
}

// clone gives the caller bytes of its own.
func clone(r Record) Record {
	r.Value = bytes.Clone(r.Value)
	return r
}
