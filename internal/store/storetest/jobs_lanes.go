package storetest

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent/internal/store"
)

// testLanesComeAndGo empties lanes while jobs come into them: a lane that is forgotten
// with its last job takes none along that has come since.
func testLanesComeAndGo(t *testing.T, open OpenJobs) {
	s := open(t)
	const pushers, rounds = 4, 25
	var work sync.WaitGroup
	stop := make(chan struct{})
	var trims sync.WaitGroup
	trims.Go(func() { // waited for below
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.TrimJobs(testContextOf(t), at(9), 0); err != nil {
				t.Errorf("trim: %v", err)
				return
			}
		}
	})
	for i := range pushers {
		work.Go(func() {
			for k := range rounds {
				comeAndGo(t, s, fmt.Sprintf("%d.%d", i, k), fmt.Sprint("lane", k%2))
			}
		})
	}
	work.Wait()
	close(stop)
	trims.Wait()
	for n := 1; n > 0; {
		var err error
		if n, err = s.TrimJobs(testContextOf(t), at(9), 0); err != nil {
			t.Fatal(err)
		}
	}
	lanes, err := s.Lanes(testContextOf(t))
	left, ferr := collect(s.FindJobs(testContextOf(t), store.JobQuery{}))
	if err != nil || ferr != nil || len(lanes)+len(left) > 0 {
		t.Errorf("left are the lanes %+v (%v) and the jobs %+v (%v)", lanes, err, left, ferr)
	}
	j := job("again")
	j.Lane = "lane0"
	push(t, s, j)
	got, err := s.Take(testContextOf(t), "lane0", 9, at(1), at(2))
	if err != nil {
		t.Fatal(err)
	}
	wantIDs(t, got, "again")
}

// comeAndGo pushes a job, and takes and ends as many of its lane as it finds.
func comeAndGo(t *testing.T, s store.Jobs, id, lane string) {
	j := job(id)
	j.Lane = lane
	if err := s.Push(testContextOf(t), j); err != nil {
		t.Errorf("push %s: %v", id, err)
		return
	}
	taken, err := s.Take(testContextOf(t), lane, 9, at(1), at(1000))
	if err != nil {
		t.Errorf("take: %v", err)
		return
	}
	for i := range taken {
		c := store.Change{ID: taken[i].ID, Token: taken[i].Token, Status: store.JobSucceeded, Ended: at(2)}
		if errs, err := s.Change(testContextOf(t), c); err != nil || errs[0] != nil {
			t.Errorf("end %s: %v, %v", c.ID, errs, err)
		}
	}
}

// testOldest has jobs of two priorities, one that was tried, and some that are not due.
func testOldest(t *testing.T, open OpenJobs) {
	s := open(t)
	want := func(doing string, lane, other int) {
		t.Helper()
		got, err := s.Oldest(testContextOf(t))
		all := map[string]time.Time{}
		if lane > 0 {
			all["lane"] = at(lane)
		}
		if other > 0 {
			all["other"] = at(other)
		}
		if err != nil || !maps.Equal(got, all) {
			t.Errorf("%s: %v, %v, want %v", doing, got, err, all)
		}
	}
	want("an empty queue", 0, 0)
	made := func(id string, created, due, priority int) store.Job {
		j := job(id)
		j.Created, j.Priority = at(created), priority
		if due > 0 {
			j.Due = at(due)
		}
		return j
	}
	push(t, s, made("high", 30, 0, 5), made("higher", 40, 0, 5), made("low", 20, 0, -5))
	late := made("late", 1, 60, 0)
	late.Lane = "other"
	push(t, s, late)
	want("two priorities, and one that is not due", 20, 60)
	taken := takeJobs(t, s, 9, at(50), at(90))
	wantIDs(t, taken, "high", "higher", "low")
	want("all run", 0, 60)
	change(t, s, store.Change{ID: "low", Token: taken[2].Token, Status: store.JobWaiting, Due: at(80), Error: "E"})
	change(t, s, store.Change{ID: "high", Token: taken[0].Token, Status: store.JobWaiting, Due: at(70)})
	want("one is to be tried again, after one that was not tried", 70, 60)
	change(t, s, store.Change{ID: "high", Status: store.JobCancelled, Ended: at(51)})
	want("one is to be tried again", 20, 60)
}
