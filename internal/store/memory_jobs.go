package store

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

var _ Jobs = (*Memory)(nil)

// jobTable is the executable specification of [Jobs]: all jobs by id, and the
// live ones of each lane in the order of arrival.
type jobTable struct {
	byID  map[string]*memoryJob
	lanes map[string][]*memoryJob
	seq   int64
}

type memoryJob struct {
	Job
	ripe bool // it was due once, and nobody has given it another Due since
}

// Push adds jobs, all or none.
func (m *Memory) Push(ctx context.Context, jobs ...Job) error {
	if err := checkPush(jobs); err != nil {
		return err
	}
	if err := m.begin(ctx, "push jobs"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for i := range jobs {
		if m.jobs.byID[jobs[i].ID] != nil {
			return jobConflict("push", jobs[i].ID, "it exists")
		}
	}
	for i := range jobs {
		m.jobs.push(jobs[i])
	}
	return nil
}

func (t *jobTable) push(j Job) {
	t.seq++
	j.Seq, j.Token, j.Lease = t.seq, 0, time.Time{}
	j = cloneJob(j)
	j.Due, j.Created, j.Ended = instant(j.Due), instant(j.Created), instant(j.Ended)
	row := &memoryJob{Job: j, ripe: !j.Due.After(j.Created)}
	if t.byID == nil {
		t.byID, t.lanes = map[string]*memoryJob{}, map[string][]*memoryJob{}
	}
	t.byID[j.ID] = row
	if !j.Status.Ended() {
		t.lanes[j.Lane] = append(t.lanes[j.Lane], row)
	}
}

// Take leases up to limit jobs of lane.
func (m *Memory) Take(ctx context.Context, lane string, limit int, now, until time.Time) ([]Job, error) {
	if err := checkTake(lane, limit, now, until); err != nil {
		return nil, err
	}
	if err := m.begin(ctx, "take jobs"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if limit == 0 {
		return nil, nil
	}
	now, until = instant(now), instant(until)
	var found []*memoryJob
	for _, j := range m.jobs.heads(lane) {
		if j.Status == JobWaiting && !j.Due.After(now) {
			j.ripe = true
		}
		if j.ripe && j.Status == JobWaiting || j.Status == JobRunning && !j.Lease.After(now) {
			found = append(found, j)
		}
	}
	slices.SortStableFunc(found, func(a, b *memoryJob) int { return cmp.Compare(b.Priority, a.Priority) })
	var taken []Job
	for _, j := range found[:min(len(found), limit, MaxTake)] {
		j.Status, j.Lease, j.ripe = JobRunning, until, false
		j.Token++
		j.Attempts++
		taken = append(taken, cloneJob(j.Job))
	}
	return taken, nil
}

// heads are the live jobs of a lane that no earlier one with the same key holds
// up, in the order of arrival.
func (t *jobTable) heads(lane string) []*memoryJob {
	var heads []*memoryJob
	seen := map[string]bool{}
	for _, j := range t.lanes[lane] {
		if j.Key == "" || !seen[j.Key] {
			heads = append(heads, j)
		}
		seen[j.Key] = true
	}
	return heads
}

// Change applies each change on its own.
func (m *Memory) Change(ctx context.Context, changes ...Change) ([]error, error) {
	if err := checkChanges(changes); err != nil {
		return nil, err
	}
	if err := m.begin(ctx, "change jobs"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	errs := make([]error, len(changes))
	for i := range changes {
		errs[i] = m.jobs.change(&changes[i])
	}
	return errs, nil
}

func (t *jobTable) change(c *Change) error {
	j := t.byID[c.ID]
	if j == nil {
		return jobNotFound("change", c.ID)
	}
	if c.Token == 0 && j.Status != JobWaiting || c.Token != 0 && (j.Status != JobRunning || j.Token != c.Token) {
		return stale(c)
	}
	j.Status, j.Lease, j.Attempts = c.Status, time.Time{}, c.attempts(j.Attempts)
	switch c.Status {
	case JobWaiting:
		j.Due, j.ripe = instant(c.Due), c.Due.IsZero()
	case JobRunning:
		j.Lease = instant(c.Lease)
	default:
		j.Ended, j.ripe = instant(c.Ended), false
		t.remove(j)
	}
	if c.Status != JobRunning {
		j.Error = c.Error
	}
	if c.State != nil {
		j.State = owned(c.State)
	}
	if c.Result != nil {
		j.Result = owned(c.Result)
	}
	return nil
}

// remove takes a job that has ended out of its lane.
func (t *jobTable) remove(j *memoryJob) {
	live := slices.DeleteFunc(t.lanes[j.Lane], func(other *memoryJob) bool { return other == j })
	if t.lanes[j.Lane] = live; len(live) == 0 {
		delete(t.lanes, j.Lane)
	}
}

// Lanes yields the lanes with live jobs, by name.
func (m *Memory) Lanes(ctx context.Context) ([]Lane, error) {
	if err := m.begin(ctx, "list lanes"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var lanes []Lane
	for _, name := range slices.Sorted(maps.Keys(m.jobs.lanes)) {
		lanes = append(lanes, m.jobs.lane(name))
	}
	return lanes, nil
}

func (t *jobTable) lane(name string) Lane {
	l := Lane{Name: name}
	for _, j := range t.lanes[name] {
		if j.Status == JobRunning {
			l.Running++
		} else {
			l.Waiting++
		}
	}
	for _, j := range t.heads(name) {
		at := j.Due
		switch {
		case j.Status == JobRunning:
			at = j.Lease
		case j.ripe:
			l.Ready++
			at = readyNow
		}
		if l.Next.IsZero() || at.Before(l.Next) {
			l.Next = at
		}
	}
	return l
}

// readyNow is Next of a lane in which some jobs are ready.
var readyNow = time.Unix(0, 0).UTC()

// Job returns one job whole.
func (m *Memory) Job(ctx context.Context, id string) (Job, error) {
	if err := m.begin(ctx, "get job"); err != nil {
		return Job{}, err
	}
	defer m.mu.Unlock()
	j := m.jobs.byID[id]
	if j == nil {
		return Job{}, jobNotFound("get", id)
	}
	return cloneJob(j.Job), nil
}

// FindJobs yields what q selects, last pushed first, as it was when it began.
func (m *Memory) FindJobs(ctx context.Context, q JobQuery) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		found, err := m.find(ctx, q)
		for _, j := range found {
			if err = ctx.Err(); err != nil {
				err = canceled("find jobs", err)
				break
			}
			if !yield(j, nil) {
				return
			}
		}
		if err != nil {
			yield(Job{}, err)
		}
	}
}

func (m *Memory) find(ctx context.Context, q JobQuery) ([]Job, error) {
	if err := checkQuery(&q); err != nil {
		return nil, err
	}
	if err := m.begin(ctx, "find jobs"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []Job
	for _, j := range m.jobs.byID {
		if q.selects(&j.Job) {
			brief := j.Job
			brief.Body, brief.Result = nil, nil
			found = append(found, brief)
		}
	}
	slices.SortFunc(found, func(a, b Job) int { return cmp.Compare(b.Seq, a.Seq) })
	found = found[:min(len(found), q.limit())]
	for i := range found {
		found[i] = cloneJob(found[i])
	}
	return found, nil
}

// selects tells whether q selects j.
func (q *JobQuery) selects(j *Job) bool {
	for name, value := range q.Labels {
		if have, ok := j.Labels[name]; !ok || have != value {
			return false
		}
	}
	return strings.HasPrefix(j.Lane, q.Prefix) &&
		(q.Lane == "" || q.Lane == j.Lane) &&
		(len(q.Statuses) == 0 || slices.Contains(q.Statuses, j.Status)) &&
		(q.Kind == "" || q.Kind == j.Kind) &&
		(q.Error == "" || q.Error == j.Error) &&
		(q.From.IsZero() || !j.Created.Before(q.From)) &&
		(q.To.IsZero() || j.Created.Before(q.To)) &&
		(q.Before <= 0 || j.Seq < q.Before)
}

// TrimJobs forgets ended jobs, the first that ended first.
func (m *Memory) TrimJobs(ctx context.Context, before time.Time, maxBytes int64) (int, error) {
	if err := m.begin(ctx, "trim jobs"); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	var ended []*memoryJob
	bytes := int64(0)
	for _, j := range m.jobs.byID {
		if j.Status.Ended() {
			ended = append(ended, j)
			bytes += j.size()
		}
	}
	slices.SortFunc(ended, func(a, b *memoryJob) int { return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.Seq, b.Seq)) })
	n := 0
	for _, j := range ended[:min(len(ended), trimPart)] {
		if !j.Ended.Before(before) && (maxBytes == 0 || bytes <= maxBytes) {
			break
		}
		bytes -= j.size()
		delete(m.jobs.byID, j.ID)
		n++
	}
	return n, nil
}

// size is what a job counts for in TrimJobs, in bytes.
func (j *Job) size() int64 { return int64(len(j.Body) + len(j.State) + len(j.Result)) }

// begin takes the lock, unless the store is closed or the caller gone.
func (m *Memory) begin(ctx context.Context, doing string) error {
	if err := ctx.Err(); err != nil {
		return canceled(doing, err)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return closed(doing)
	}
	return nil
}

// instant is t as the store keeps it: in UTC, to the nanosecond of the wall clock.
func instant(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.Unix(0, t.UnixNano()).UTC()
}

// cloneJob gives the caller labels and bytes of its own; what is empty is nil.
func cloneJob(j Job) Job {
	if j.Labels = maps.Clone(j.Labels); len(j.Labels) == 0 {
		j.Labels = nil
	}
	j.Body, j.State, j.Result = owned(j.Body), owned(j.State), owned(j.Result)
	return j
}

func owned(b []byte) []byte { return append([]byte(nil), b...) }
