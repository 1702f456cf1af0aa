package store

import (
	"cmp"
	"context"
	"iter"
	"strings"
)

// cursor is how far a watcher has come: everything up to (revision, key) is seen.
type cursor struct {
	revision int64
	key      string // "" once all of revision is seen
	whole    bool   // all of revision is seen
}

// before tells whether the cursor stands before r.
func (c *cursor) before(r Record) bool {
	if r.Revision != c.revision {
		return r.Revision > c.revision
	}
	return !c.whole && r.Key > c.key
}

// headSQL is what a page says of the whole store, as both databases are asked for it:
// compacted and head.
const headSQL = `SELECT (SELECT value FROM counter WHERE name = 'compacted'), (SELECT value FROM counter WHERE name = 'revision')`

// page is one look at a driver's changes.
type page struct {
	records   []Record // in order of revision, then key
	last      bool     // there are no more for now
	compacted int64    // deletions up to this revision may be forgotten
	head      int64    // of the store, as records were read
	// changed is closed when there may be more than records; it was taken before
	// they were read.
	changed <-chan struct{}
}

// watch drives a driver's look function: what it finds is yielded, and when it
// finds nothing more it is called again after a change.
func watch(ctx context.Context, after int64, look func(context.Context, *cursor) (page, error)) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c := &cursor{revision: after, whole: true}
		// Deletions forgotten before the start do not matter to one who starts from
		// nothing.
		accepted, first := int64(0), after == 0
		for ctx.Err() == nil {
			p, err := look(ctx, c)
			if ctx.Err() != nil {
				return
			}
			if first {
				accepted, first = p.compacted, false
			}
			if err == nil && p.compacted > accepted && p.compacted > c.revision {
				err = compacted(c.revision)
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range p.records {
				if ctx.Err() != nil || !yield(r, nil) {
					return
				}
				*c = cursor{revision: r.Revision, key: r.Key}
			}
			if !p.last {
				continue
			}
			if p.head >= c.revision {
				// All that is the watcher's until then is seen, so that deletions elsewhere
				// do not leave it behind.
				*c = cursor{revision: p.head, whole: true}
			}
			select {
			case <-p.changed:
			case <-ctx.Done():
			}
		}
	}
}

func byRevision(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Revision, b.Revision), strings.Compare(a.Key, b.Key))
}
