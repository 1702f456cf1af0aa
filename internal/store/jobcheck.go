package store

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"lambent.dev/lambent"
)

// Bounds on what a job may hold. A push or change beyond them is refused with
// [lambent.CodeInvalid] or [lambent.CodeTooLarge] before anything is written.
const (
	MaxJobID  = 256   // bytes of an id
	MaxWord   = 256   // bytes of Kind, Error and of a label's name
	MaxLabels = 64    // of a job
	MaxLabel  = 1024  // bytes of a label's value
	MaxPush   = 10000 // jobs in one Push, or changes in one Change
	MaxTake   = 1000  // jobs of one Take; a higher limit is this one

	// MaxRipe is how many waiting jobs one Take finds to have come due: it holds
	// the other writers up for some milliseconds.
	MaxRipe = 1000
)

// defaultFind is the limit of a JobQuery that has none, and trimPart how many
// jobs one call of TrimJobs forgets at the most, which holds the others up too.
const (
	defaultFind = 100
	trimPart    = 200
)

// statuses are all there are, in the order in which durable drivers number them.
var statuses = []JobStatus{JobWaiting, JobRunning, JobSucceeded, JobFailed, JobCancelled, JobExpired}

// checkPush refuses what no driver takes.
func checkPush(jobs []Job) error {
	if len(jobs) > MaxPush {
		return lambent.Errorf(lambent.CodeTooLarge, "push %d jobs: at most %d at once", len(jobs), MaxPush)
	}
	total := 0
	seen := make(map[string]bool, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		if err := checkJob(j); err != nil {
			return err
		}
		if seen[j.ID] {
			return jobConflict("push", j.ID, "it is named twice")
		}
		seen[j.ID] = true
		total += len(j.Body) + len(j.State) + len(j.Result)
	}
	if total > MaxBatch {
		return lambent.Errorf(lambent.CodeTooLarge, "push %d jobs: %d bytes exceed %d", len(jobs), total, MaxBatch)
	}
	return nil
}

func checkJob(j *Job) error {
	doing := fmt.Sprintf("push job %q", j.ID)
	if !slices.Contains(statuses, j.Status) || j.Status == JobRunning {
		return lambent.Errorf(lambent.CodeInvalid, "%s: it is neither waiting nor ended, but %q", doing, j.Status)
	}
	if j.Status.Ended() == j.Ended.IsZero() {
		return lambent.Errorf(lambent.CodeInvalid, "%s: a job that has ended, and no other, has the time of it", doing)
	}
	if j.Priority < math.MinInt32 || j.Priority > math.MaxInt32 || j.Attempts < 0 {
		return lambent.Errorf(lambent.CodeInvalid, "%s: its numbers are out of range", doing)
	}
	for _, text := range []struct {
		name, value string
		limit       int
	}{{"id", j.ID, MaxJobID}, {"lane", j.Lane, MaxKey}, {"key", j.Key + "-", MaxKey + 1}, {"kind", j.Kind + "-", MaxWord + 1}, {"error", j.Error + "-", MaxWord + 1}} {
		if err := checkText(doing, text.name, text.value, text.limit); err != nil {
			return err
		}
	}
	if err := checkLabels(doing, j.Labels); err != nil {
		return err
	}
	if err := checkTimes(doing, j.Due, j.Created, j.Ended); err != nil {
		return err
	}
	return checkSizes(doing, j.Body, j.State, j.Result)
}

func checkLabels(doing string, labels map[string]string) error {
	if len(labels) > MaxLabels {
		return lambent.Errorf(lambent.CodeInvalid, "%s: %d labels exceed %d", doing, len(labels), MaxLabels)
	}
	for name, value := range labels {
		if err := checkText(doing, "label's name", name, MaxWord); err != nil {
			return err
		}
		if err := checkText(doing, "label's value", value+"-", MaxLabel+1); err != nil {
			return err
		}
	}
	return nil
}

// checkText holds for every text that jobs are ordered or found by: not empty, no
// longer than limit, and UTF-8 without NUL, as every database can keep it.
func checkText(doing, name, value string, limit int) error {
	switch {
	case value == "":
		return lambent.Errorf(lambent.CodeInvalid, "%s: the %s is empty", doing, name)
	case len(value) > limit:
		return lambent.Errorf(lambent.CodeInvalid, "%s: the %s exceeds %d bytes", doing, name, limit)
	case !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0:
		return lambent.Errorf(lambent.CodeInvalid, "%s: the %s is not UTF-8 without NUL", doing, name)
	}
	return nil
}

// The times that nanoseconds since 1970 in 64 bits can tell.
var (
	earliest = time.Unix(0, 0)
	latest   = time.Unix(0, math.MaxInt64)
)

func checkTimes(doing string, times ...time.Time) error {
	for _, t := range times {
		if !t.IsZero() && (!t.After(earliest) || t.After(latest)) {
			return lambent.Errorf(lambent.CodeInvalid, "%s: a time is not between the years 1970 and 2262", doing)
		}
	}
	return nil
}

func checkSizes(doing string, values ...[]byte) error {
	for _, v := range values {
		if len(v) > MaxValue {
			return lambent.Errorf(lambent.CodeTooLarge, "%s: %d bytes exceed %d", doing, len(v), MaxValue)
		}
	}
	return nil
}

func checkTake(lane string, limit int, now, until time.Time) error {
	doing := fmt.Sprintf("take jobs of lane %q", lane)
	if limit < 0 {
		return lambent.Errorf(lambent.CodeInvalid, "%s: the limit is negative", doing)
	}
	if err := checkText(doing, "lane", lane, MaxKey); err != nil {
		return err
	}
	if now.IsZero() || until.IsZero() {
		return lambent.Errorf(lambent.CodeInvalid, "%s: a time is missing", doing)
	}
	return checkTimes(doing, now, until)
}

func checkChanges(changes []Change) error {
	if len(changes) > MaxPush {
		return lambent.Errorf(lambent.CodeTooLarge, "change %d jobs: at most %d at once", len(changes), MaxPush)
	}
	for i := range changes {
		if err := checkChange(&changes[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkChange(c *Change) error {
	doing := fmt.Sprintf("change job %q", c.ID)
	switch {
	case !slices.Contains(statuses, c.Status):
		return lambent.Errorf(lambent.CodeInvalid, "%s: there is no status %q", doing, c.Status)
	case c.Status == JobRunning && (c.Token == 0 || c.Lease.IsZero()):
		return lambent.Errorf(lambent.CodeInvalid, "%s: a job that runs has a token and a lease", doing)
	case c.Status.Ended() && c.Ended.IsZero():
		return lambent.Errorf(lambent.CodeInvalid, "%s: the time of its end is missing", doing)
	}
	if err := checkText(doing, "id", c.ID, MaxJobID); err != nil {
		return err
	}
	if err := checkText(doing, "error", c.Error+"-", MaxWord+1); err != nil {
		return err
	}
	if err := checkTimes(doing, c.Due, c.Lease, c.Ended); err != nil {
		return err
	}
	return checkSizes(doing, c.State, c.Result)
}

// attempts is how often the job counts as taken after c.
func (c *Change) attempts(before int) int {
	if c.Uncounted && before > 0 {
		return before - 1
	}
	return before
}

// limit is how many jobs q yields at the most.
func (q *JobQuery) limit() int {
	if q.Limit <= 0 {
		return defaultFind
	}
	return q.Limit
}

func jobNotFound(doing, id string) error {
	return lambent.Errorf(lambent.CodeNotFound, "%s job %q: %w", doing, id, ErrNotFound)
}

func jobConflict(doing, id, why string) error {
	return &lambent.Error{
		Code:    lambent.CodeConflict,
		Message: fmt.Sprintf("%s job %q: %s", doing, id, why),
		Cause:   ErrConflict,
	}
}

// stale is the answer to a change whose job has gone on without it.
func stale(c *Change) error {
	if c.Token == 0 {
		return jobConflict("change", c.ID, "it does not wait")
	}
	return jobConflict("change", c.ID, "another has it now, or it has ended")
}

// checkQuery refuses texts that no job can hold, and some databases do not take.
func checkQuery(q *JobQuery) error {
	texts := []string{q.Prefix, q.Lane, q.Kind, q.Error}
	for name, value := range q.Labels {
		texts = append(texts, name, value)
	}
	for _, text := range texts {
		if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
			return lambent.Errorf(lambent.CodeInvalid, "find jobs: %q is not UTF-8 without NUL", text)
		}
	}
	return nil
}
