package store

import (
	"context"
	"iter"
	"time"
)

// JobStatus is where a job is in its life. Waiting and running jobs are alive;
// the others have ended and do not change any more.
type JobStatus string

// The statuses.
const (
	JobWaiting   JobStatus = "waiting" // not before Due
	JobRunning   JobStatus = "running" // leased
	JobSucceeded JobStatus = "succeeded"
	JobFailed    JobStatus = "failed"
	JobCancelled JobStatus = "cancelled"
	JobExpired   JobStatus = "expired" // was not run in time
)

// Ended tells whether the status is a last one.
func (s JobStatus) Ended() bool { return s != JobWaiting && s != JobRunning }

// Job is a durable piece of work and, once it has ended, the record of it. Times
// are kept in nanoseconds. The store reads the members that it orders, finds and
// counts by; what is in Body, State and Result is its owner's.
type Job struct {
	ID string // the owner's; never used twice
	// Lane is what order and fairness go by: within a lane jobs are taken by
	// Priority, then in the order in which they were pushed.
	Lane string
	// Key, where it is not "", is taken by one job of the lane at a time, in the
	// order of arrival: a job is not taken while an earlier one with its key lives.
	Key      string
	Priority int // higher goes first
	Status   JobStatus
	// Due is when a waiting job may be taken. One that was found due once, or was
	// pushed with a Due not after Created, stays so, though the clock be set back.
	Due     time.Time
	Created time.Time
	Ended   time.Time // zero while it is alive
	// Lease is until when a running job is its taker's; after that anyone may take
	// it. Token is the taker's proof: it grows with every taking.
	Lease    time.Time
	Token    int64
	Attempts int // how often it was taken
	Kind     string
	Error    string            // the class of its last error, to find it by; "" is none
	Labels   map[string]string // to find it by
	Body     []byte            // what to do; never changes
	State    []byte            // what its owner notes about it
	Result   []byte            // of a job that has ended
	Seq      int64             // order of arrival, given by the store
}

// Change is what becomes of a job that was taken. It applies only while the job
// has Token's lease, also when that has passed and nobody has taken the job since.
// With Token 0 it applies only while the job waits: to cancel it, to let it
// expire, or to give it another Due.
type Change struct {
	ID     string
	Token  int64
	Status JobStatus // JobWaiting gives it back, JobRunning keeps it
	Due    time.Time // of JobWaiting; zero is at once
	Lease  time.Time // of JobRunning: the new end of the lease
	Ended  time.Time // of a last status
	// Uncounted takes back the attempt: the job was taken, but not tried.
	Uncounted bool
	Error     string // replaces what there was, but for JobRunning, which leaves it
	State     []byte // nil leaves it
	Result    []byte // nil leaves it
}

// Lane is what a lane holds.
type Lane struct {
	Name    string
	Waiting int // due or not
	Ready   int // of the waiting: known to be due, and not held up by their key
	Running int // leases that have passed included
	// Next is when Take may find a job of the lane: the start of 1970 when some are
	// ready, else when the first of the waiting is due or the first lease passes.
	// It is never too late. It may be too early: after a Take that found nothing it
	// is exact. It is zero when nothing will be there without another change.
	Next time.Time
}

// JobQuery selects jobs. Zero members select all.
type JobQuery struct {
	Prefix   string // of the lane
	Lane     string
	Statuses []JobStatus
	Kind     string
	Error    string
	Labels   map[string]string // all of them
	From, To time.Time         // of Created: From <= Created < To
	// Before, if positive, is a Seq: newest first, only those before it.
	Before int64
	Limit  int // 0 is 100
}

// Jobs is the durable queue whose entries are objects. All methods are safe for
// concurrent callers; concurrent writes may share one disk sync.
type Jobs interface {
	// Push adds jobs, all or none, and returns when they are durable. A job is
	// pushed waiting, or ended: it is then a record only. Lease, Token and Seq are
	// the store's. The error is [ErrConflict] when one of the ids exists.
	Push(ctx context.Context, jobs ...Job) error
	// Take leases up to limit jobs of lane that are due at now, or whose lease has
	// passed, until the given time, and returns them in order. No two takers, of
	// whatever process, have a job at the same time; a loss of power may undo a Take
	// where it ends all takers, too. Of
	// waiting jobs that come due in one Take only the first [MaxRipe] are put in
	// order. It may overlook jobs that another process changes at this moment.
	Take(ctx context.Context, lane string, limit int, now, until time.Time) ([]Job, error)
	// Change applies each change on its own, durably; a change that does not apply
	// any more has [ErrConflict], one of a job that is gone [ErrNotFound], in the
	// error at its place. The second error is for all of them.
	Change(ctx context.Context, changes ...Change) ([]error, error)
	// Lanes yields the lanes with live jobs. It is cheap: it does not count rows.
	Lanes(ctx context.Context) ([]Lane, error)
	// Oldest tells, for each lane in which jobs wait for their turn, since when the one
	// does that has waited longest: since it was pushed if it has an Error, for it was
	// tried then, and else since it was due. Of the ready ones it looks at the first of
	// the highest and of the lowest priority only, and of the others at the one that is
	// due first, which may be later.
	Oldest(ctx context.Context) (map[string]time.Time, error)
	// Job returns one job whole. The error is [ErrNotFound] when there is none.
	Job(ctx context.Context, id string) (Job, error)
	// FindJobs yields what q selects, last pushed first, without Body and Result.
	// The error is yielded last.
	FindJobs(ctx context.Context, q JobQuery) iter.Seq2[Job, error]
	// TrimJobs forgets ended jobs that ended before the given time, and the oldest
	// ended ones beyond maxBytes of Body, State and Result (0 is no bound). It does
	// a bounded part and tells how many it forgot: call it until that is 0.
	TrimJobs(ctx context.Context, before time.Time, maxBytes int64) (int, error)
}
