package storetest

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// OpenJobs makes an empty driver that is closed when the test ends.
type OpenJobs func(t *testing.T) store.Jobs

// RunJobs runs the suite of the queue against what open makes.
func RunJobs(t *testing.T, open OpenJobs) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, OpenJobs)
	}{
		{"JobsAreKeptWhole", testJobWhole},
		{"PushesAreAllOrNone", testPushAll},
		{"BadJobsAreRefused", testBadJobs},
		{"TakesAreInOrder", testTakeOrder},
		{"DelaysAreKept", testDelays},
		{"LeasesPass", testLeases},
		{"KeysHoldUp", testKeys},
		{"StaleChangesAreRefused", testStale},
		{"ChangesChange", testChanges},
		{"LanesTellWhen", testLanes},
		{"OldestTellSinceWhen", testOldest},
		{"JobsAreFound", testFind},
		{"EndedJobsAreForgotten", testTrim},
		{"LanesComeAndGo", testLanesComeAndGo},
		{"ClosedQueuesRefuse", testClosedJobs},
		{"NoTwoTakersHaveAJob", testTakers},
		{"OperationsAreLinearizable", testLinear},
		{"JobHistoriesMatchTheMemoryDriver", testJobHistories},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

// at is a moment n seconds after the one at which all tests begin.
func at(n int) time.Time { return time.Unix(1_700_000_000+int64(n), 0).UTC() }

// job waits from the beginning on.
func job(id string) store.Job {
	return store.Job{ID: id, Lane: "lane", Status: store.JobWaiting, Created: at(0)}
}

func push(t *testing.T, s store.Jobs, jobs ...store.Job) {
	t.Helper()
	if err := s.Push(testContextOf(t), jobs...); err != nil {
		t.Fatalf("push %d jobs: %v (%v)", len(jobs), err, errors.Unwrap(err))
	}
}

func takeJobs(t *testing.T, s store.Jobs, limit int, now, until time.Time) []store.Job {
	t.Helper()
	jobs, err := s.Take(testContextOf(t), "lane", limit, now, until)
	if err != nil {
		t.Fatalf("take %d jobs: %v (%v)", limit, err, errors.Unwrap(err))
	}
	return jobs
}

// change makes a change that applies.
func change(t *testing.T, s store.Jobs, c store.Change) {
	t.Helper()
	errs, err := s.Change(testContextOf(t), c)
	if err != nil || errs[0] != nil {
		t.Fatalf("change %+v: %v, %v", c, errs, err)
	}
}

func wantIDs(t *testing.T, got []store.Job, want ...string) {
	t.Helper()
	ids := []string{}
	for i := range got {
		ids = append(ids, got[i].ID)
	}
	if !slices.Equal(ids, append([]string{}, want...)) {
		t.Fatalf("jobs are %q, want %q", ids, want)
	}
}

func collect(seq iter.Seq2[store.Job, error]) ([]store.Job, error) {
	var got []store.Job
	for j, err := range seq {
		if err != nil {
			return got, err
		}
		got = append(got, j)
	}
	return got, nil
}

func wantErr(t *testing.T, doing string, err, want error, code lambent.Code) {
	t.Helper()
	if !errors.Is(err, want) || lambent.CodeOf(err) != code {
		t.Errorf("%s: %v, want %v with code %s", doing, err, want, code)
	}
}

func testJobWhole(t *testing.T, open OpenJobs) {
	s := open(t)
	j := store.Job{
		ID: "äß/1", Lane: "000000000000/ƒ", Key: "k", Priority: -7, Status: store.JobWaiting, Due: at(5).Add(7), Created: at(0),
		Attempts: 2, Kind: "event", Error: "Oops", Labels: map[string]string{"a": "1", "b": ""}, Body: []byte("\x00body"), State: []byte("\xffstate"),
		Token: 9, Seq: 99, Lease: at(9),
	}
	push(t, s, j)
	got, err := s.Job(testContextOf(t), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	j.Token, j.Seq, j.Lease = 0, got.Seq, time.Time{}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", j) || got.Seq <= 0 {
		t.Errorf("the job is\n%+v, want\n%+v", got, j)
	}
	ended := store.Job{ID: "ended", Lane: "x", Status: store.JobFailed, Created: at(1), Ended: at(2), Result: []byte("r")}
	push(t, s, ended)
	if got, err = s.Job(testContextOf(t), "ended"); err != nil || got.Status != store.JobFailed || !got.Ended.Equal(at(2)) || string(got.Result) != "r" {
		t.Errorf("the ended job is %+v, %v", got, err)
	}
	_, err = s.Job(testContextOf(t), "absent")
	wantErr(t, "get an absent job", err, store.ErrNotFound, lambent.CodeNotFound)
	got.Result[0] = 'x' // the caller's own
	if again, err := s.Job(testContextOf(t), "ended"); err != nil || string(again.Result) != "r" {
		t.Errorf("the result is %q, %v", again.Result, err)
	}
}

func testPushAll(t *testing.T, open OpenJobs) {
	s := open(t)
	push(t, s, job("a"))
	err := s.Push(testContextOf(t), job("b"), job("a"))
	wantErr(t, "push a known id", err, store.ErrConflict, lambent.CodeConflict)
	err = s.Push(testContextOf(t), job("c"), job("c"))
	wantErr(t, "push an id twice", err, store.ErrConflict, lambent.CodeConflict)
	for _, id := range []string{"b", "c"} {
		_, err = s.Job(testContextOf(t), id)
		wantErr(t, "get what was refused", err, store.ErrNotFound, lambent.CodeNotFound)
	}
	push(t, s)
	wantIDs(t, takeJobs(t, s, 10, at(0), at(9)), "a")
}

func testBadJobs(t *testing.T, open OpenJobs) {
	s := open(t)
	for name, spoil := range map[string]func(*store.Job){
		"no id":         func(j *store.Job) { j.ID = "" },
		"long id":       func(j *store.Job) { j.ID = strings.Repeat("i", store.MaxJobID+1) },
		"no lane":       func(j *store.Job) { j.Lane = "" },
		"NUL":           func(j *store.Job) { j.Lane = "a\x00" },
		"not UTF-8":     func(j *store.Job) { j.Key = "\xff" },
		"running":       func(j *store.Job) { j.Status = store.JobRunning },
		"unknown":       func(j *store.Job) { j.Status = "lost" },
		"ended, when?":  func(j *store.Job) { j.Status = store.JobFailed },
		"waits, ended":  func(j *store.Job) { j.Ended = at(1) },
		"ancient":       func(j *store.Job) { j.Created = time.Unix(-1, 0) },
		"far future":    func(j *store.Job) { j.Due = at(0).AddDate(500, 0, 0) },
		"priority":      func(j *store.Job) { j.Priority = 1 << 40 },
		"label no name": func(j *store.Job) { j.Labels = map[string]string{"": "x"} },
		"long label":    func(j *store.Job) { j.Labels = map[string]string{"x": strings.Repeat("v", store.MaxLabel+1)} },
	} {
		j := job("a")
		spoil(&j)
		if err := s.Push(testContextOf(t), j); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v, want code invalid", name, err)
		}
	}
	j := job("a")
	j.Body = make([]byte, store.MaxValue+1)
	if err := s.Push(testContextOf(t), j); lambent.CodeOf(err) != lambent.CodeTooLarge {
		t.Errorf("long body: %v, want code too_large", err)
	}
	for name, c := range map[string]store.Change{
		"unknown":           {ID: "a", Status: "lost"},
		"runs untaken":      {ID: "a", Status: store.JobRunning, Lease: at(1)},
		"runs for how long": {ID: "a", Token: 1, Status: store.JobRunning},
		"ended when":        {ID: "a", Token: 1, Status: store.JobFailed},
	} {
		if _, err := s.Change(testContextOf(t), c); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%s: %v, want code invalid", name, err)
		}
	}
	if _, err := s.Take(testContextOf(t), "lane", -1, at(0), at(1)); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("a negative limit: %v", err)
	}
}

func testClosedJobs(t *testing.T, open OpenJobs) {
	s := open(t)
	push(t, s, job("a"))
	closer, ok := s.(interface{ Close() error })
	if !ok {
		t.Fatal("the driver cannot be closed")
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := testContextOf(t)
	_, take := s.Take(ctx, "lane", 1, at(0), at(1))
	_, change := s.Change(ctx, store.Change{ID: "a", Status: store.JobWaiting})
	_, lanes := s.Lanes(ctx)
	_, oldest := s.Oldest(ctx)
	_, get := s.Job(ctx, "a")
	_, find := collect(s.FindJobs(ctx, store.JobQuery{}))
	_, trim := s.TrimJobs(ctx, at(0), 0)
	for doing, err := range map[string]error{
		"push": s.Push(ctx, job("b")), "take": take, "change": change, "lanes": lanes, "oldest": oldest, "get": get, "find": find, "trim": trim,
	} {
		wantErr(t, doing, err, store.ErrClosed, lambent.CodeUnavailable)
	}
}
