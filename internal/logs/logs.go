// Package logs keeps what functions write, the platform's own START, END and
// REPORT lines, and events that callers put, by log group, stream and request id,
// on disk in segments, with retention by age and by size. It owns the files under
// the data directory's logs folder; it refuses to be the server's own log. The
// spine and the pool write to it, the CloudWatch Logs door and the CLI read from it.
package logs

import (
	"context"
	"iter"
	"time"
)

// Event is one line, or a message that was put.
type Event struct {
	ID        string    // unique within the group, sorts by time of ingestion
	Time      time.Time // when the line was written, millisecond precision
	Ingested  time.Time
	Stream    string // "2026/11/22/[$LATEST]<32 hex digits>"
	RequestID string // "" for lines outside an invocation
	Message   string // with its trailing newline, as CloudWatch shows it, if it is a line
}

// Query selects events of one group.
type Query struct {
	Namespace string
	Group     string
	Streams   []string // empty is all; StreamPrefix is used when set
	Prefix    string
	RequestID string
	From, To  time.Time // [From, To); zero is open
	After     string    // only events after this ID
	Before    string    // only events before this ID
	Limit     int       // 0 is no limit
	Backward  bool      // newest first
}

// Reader is what the doors need.
type Reader interface {
	Events(ctx context.Context, q Query) iter.Seq2[Event, error]
	Groups(ctx context.Context, namespace, prefix string) ([]Group, error)
	Streams(ctx context.Context, namespace, group, prefix string) ([]StreamInfo, error)
	// Follow yields events as they arrive, beginning after q.After or now.
	Follow(ctx context.Context, q Query) iter.Seq2[Event, error]
}

// Group describes a log group.
type Group struct {
	Name          string
	Created       time.Time
	Bytes         int64
	RetentionDays int // 0 is the server's default
	Tags          map[string]string
}

// StreamInfo describes a log stream.
type StreamInfo struct {
	Name        string
	Created     time.Time
	First, Last time.Time // zero before there are events
	Bytes       int64
}

// Writer opens streams; the pool holds one per instance.
type Writer interface {
	// Open starts a stream. The returned Stream buffers: lines are on disk within
	// a second, and at Close.
	Open(namespace, group, stream string) Stream
}

// Stream takes the lines of one instance.
type Stream interface {
	// WriteLine adds a line to the current request, or to none. Lines longer than
	// 256 KiB are cut into several. It never blocks on the disk: what exceeds the
	// buffer is dropped and counted, and the count is logged. p is not kept.
	WriteLine(at time.Time, p []byte)
	// Begin sets the request that following lines belong to and, with tail set,
	// starts to keep the last lambent.LogTail bytes for it. The first request's
	// tail begins with what was written since Open.
	Begin(requestID string, tail bool)
	// Tail returns the tail that was kept, and has no more kept. The request goes on.
	Tail() []byte
	// End clears the request and returns the tail that was kept.
	End() []byte
	Close() error
}
