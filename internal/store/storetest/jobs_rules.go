package storetest

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

func testTakeOrder(t *testing.T, open OpenJobs) {
	s := open(t)
	high, low, other := job("high"), job("low"), job("other")
	high.Priority, low.Priority, other.Lane = 3, -3, "other"
	push(t, s, job("a"), low, job("b"), other)
	push(t, s, high, job("c"))
	got := takeJobs(t, s, 2, at(0), at(9))
	wantIDs(t, got, "high", "a")
	if j := got[0]; j.Status != store.JobRunning || !j.Lease.Equal(at(9)) || j.Token <= 0 || j.Attempts != 1 {
		t.Errorf("the taken job is %+v", j)
	}
	wantIDs(t, takeJobs(t, s, 0, at(0), at(9)))
	wantIDs(t, takeJobs(t, s, 100, at(0), at(9)), "b", "c", "low")
	wantIDs(t, takeJobs(t, s, 100, at(0), at(9)))
	if got, err := s.Take(testContextOf(t), "absent", 1, at(0), at(9)); err != nil || len(got) != 0 {
		t.Errorf("an absent lane gives %v, %v", got, err)
	}
}

func testDelays(t *testing.T, open OpenJobs) {
	s := open(t)
	late, later := job("late"), job("later")
	late.Due, later.Due = at(10), at(20)
	push(t, s, later, late)
	wantIDs(t, takeJobs(t, s, 9, at(10).Add(-1), at(99)))
	wantIDs(t, takeJobs(t, s, 9, at(10), at(99)), "late")
	push(t, s, job("now"))
	got := takeJobs(t, s, 1, at(20), at(99)) // both are due now, in the order of arrival
	wantIDs(t, got, "later")
	change(t, s, store.Change{ID: "later", Token: got[0].Token, Status: store.JobWaiting, Due: at(30), Uncounted: true})
	wantIDs(t, takeJobs(t, s, 9, at(20), at(99)), "now") // back, but not before 30
	got = takeJobs(t, s, 9, at(30), at(99))
	wantIDs(t, got, "later")
	if got[0].Attempts != 1 {
		t.Errorf("the job was tried %d times, want once", got[0].Attempts)
	}
	due := job("due")
	due.Due = at(40)
	push(t, s, due, job("first"))
	wantIDs(t, takeJobs(t, s, 1, at(50), at(99)), "due")
	back := job("back")
	back.Due = at(60)
	push(t, s, back)
	wantIDs(t, takeJobs(t, s, 1, at(70), at(99)), "first") // and "back" has come due
	wantIDs(t, takeJobs(t, s, 1, at(1), at(99)), "back")   // though the clock was set back
}

func testLeases(t *testing.T, open OpenJobs) {
	s := open(t)
	push(t, s, job("a"), job("b"))
	first := takeJobs(t, s, 2, at(0), at(10))
	wantIDs(t, takeJobs(t, s, 2, at(9), at(19)))
	change(t, s, store.Change{ID: "b", Token: first[1].Token, Status: store.JobRunning, Lease: at(50), State: []byte("half")})
	again := takeJobs(t, s, 2, at(10), at(20))
	wantIDs(t, again, "a")
	if again[0].Token == first[0].Token || again[0].Attempts != 2 {
		t.Errorf("taken again it is %+v", again[0])
	}
	// A lease that has passed is still the taker's while nobody else has it.
	change(t, s, store.Change{ID: "a", Token: again[0].Token, Status: store.JobSucceeded, Ended: at(30)})
	wantIDs(t, takeJobs(t, s, 2, at(49), at(90)))
	c := job("c")
	c.Priority = -1
	push(t, s, c)
	got := takeJobs(t, s, 2, at(50), at(90))
	wantIDs(t, got, "b", "c")
	if string(got[0].State) != "half" {
		t.Errorf("its state is %q", got[0].State)
	}
}

func testKeys(t *testing.T, open OpenJobs) {
	s := open(t)
	keyed := func(id string, priority int, due time.Time) store.Job {
		j := job(id)
		j.Key, j.Priority, j.Due = "k", priority, due
		return j
	}
	other := keyed("other", 0, time.Time{})
	other.Lane = "lane2"
	push(t, s, keyed("1", 0, at(10)), keyed("2", 5, time.Time{}), keyed("3", 0, at(5)), job("free"), other)
	wantIDs(t, takeJobs(t, s, 9, at(5), at(99)), "free") // 1 is first, and not due
	got := takeJobs(t, s, 9, at(10), at(99))
	wantIDs(t, got, "1")
	change(t, s, store.Change{ID: "1", Token: got[0].Token, Status: store.JobWaiting, Due: at(20)})
	wantIDs(t, takeJobs(t, s, 9, at(19), at(99))) // its retry holds the others up
	got = takeJobs(t, s, 9, at(20), at(99))
	wantIDs(t, got, "1")
	change(t, s, store.Change{ID: "2", Status: store.JobCancelled, Ended: at(21)})
	wantIDs(t, takeJobs(t, s, 9, at(21), at(99))) // 1 still runs
	change(t, s, store.Change{ID: "1", Token: got[0].Token, Status: store.JobFailed, Ended: at(22), Error: "E"})
	push(t, s, keyed("4", 9, time.Time{}))
	wantIDs(t, takeJobs(t, s, 9, at(22), at(30)), "3")
	wantIDs(t, takeJobs(t, s, 9, at(30), at(40)), "3") // the lease has passed
	wantIDs(t, takeJobs(t, s, 9, at(31), at(40)))
}

func testStale(t *testing.T, open OpenJobs) {
	s := open(t)
	push(t, s, job("a"), job("b"))
	old := takeJobs(t, s, 1, at(0), at(10))[0]
	now := takeJobs(t, s, 1, at(10), at(20))[0]
	wantIDs(t, []store.Job{old, now}, "a", "a")
	end := func(id string, token int64) store.Change {
		return store.Change{ID: id, Token: token, Status: store.JobSucceeded, Ended: at(11)}
	}
	errs, err := s.Change(testContextOf(t), end("a", old.Token), end("absent", 1), end("b", 7), end("a", 0), end("a", now.Token), end("a", now.Token))
	if err != nil || len(errs) != 6 {
		t.Fatalf("change: %v, %v", errs, err)
	}
	wantErr(t, "the old taker", errs[0], store.ErrConflict, lambent.CodeConflict)
	wantErr(t, "an absent job", errs[1], store.ErrNotFound, lambent.CodeNotFound)
	wantErr(t, "a job not taken", errs[2], store.ErrConflict, lambent.CodeConflict)
	wantErr(t, "cancelling what runs", errs[3], store.ErrConflict, lambent.CodeConflict)
	if errs[4] != nil {
		t.Errorf("the taker: %v", errs[4])
	}
	wantErr(t, "ending it again", errs[5], store.ErrConflict, lambent.CodeConflict)
	wantIDs(t, takeJobs(t, s, 9, at(90), at(99)), "b")
}

func testChanges(t *testing.T, open OpenJobs) {
	s := open(t)
	j := job("a")
	j.State, j.Error = []byte("new"), "Old"
	push(t, s, j)
	want := takeJobs(t, s, 1, at(0), at(10))[0]
	step := func(c store.Change, expect func(*store.Job)) {
		t.Helper()
		c.ID = "a"
		change(t, s, c)
		expect(&want)
		if got, err := s.Job(testContextOf(t), "a"); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("after %+v it is\n%+v, %v, want\n%+v", c, got, err, want)
		}
	}
	step(store.Change{Token: want.Token, Status: store.JobRunning, Lease: at(20), State: []byte("half")},
		func(j *store.Job) { j.Lease, j.State = at(20), []byte("half") })
	step(store.Change{Token: want.Token, Status: store.JobWaiting, Due: at(30), Error: "E", Uncounted: true, Result: []byte("part")},
		func(j *store.Job) {
			j.Status, j.Due, j.Lease, j.Error, j.Attempts, j.Result = store.JobWaiting, at(30), time.Time{}, "E", 0, []byte("part")
		})
	step(store.Change{Status: store.JobWaiting, State: []byte{}},
		func(j *store.Job) { j.Due, j.Error, j.State = time.Time{}, "", nil })
	want = takeJobs(t, s, 1, at(1), at(10))[0]
	step(store.Change{Token: want.Token, Status: store.JobSucceeded, Ended: at(5), Result: []byte("whole"), State: []byte("done")},
		func(j *store.Job) {
			j.Status, j.Ended, j.Lease, j.Result, j.State = store.JobSucceeded, at(5), time.Time{}, []byte("whole"), []byte("done")
		})
	if errs, err := s.Change(testContextOf(t)); err != nil || len(errs) != 0 {
		t.Errorf("no changes give %v, %v", errs, err)
	}
}

func testLanes(t *testing.T, open OpenJobs) {
	s := open(t)
	lanes := func(want ...store.Lane) {
		t.Helper()
		got, err := s.Lanes(testContextOf(t))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("the lanes are %+v, %v, want %+v", got, err, want)
		}
	}
	lanes()
	ready := time.Unix(0, 0).UTC()
	late, held, ended := job("late"), job("held"), job("ended")
	late.Due, late.Lane, late.Key = at(10), "b", "k"
	held.Lane, held.Key = "b", "k"
	ended.Status, ended.Ended = store.JobSucceeded, at(1)
	push(t, s, job("a"), late, held, ended)
	lanes(store.Lane{Name: "b", Waiting: 2, Next: at(10)}, store.Lane{Name: "lane", Waiting: 1, Ready: 1, Next: ready})
	got := takeJobs(t, s, 9, at(0), at(5))
	lanes(store.Lane{Name: "b", Waiting: 2, Next: at(10)}, store.Lane{Name: "lane", Running: 1, Next: at(5)})
	change(t, s, store.Change{ID: "a", Token: got[0].Token, Status: store.JobWaiting, Due: at(7)})
	change(t, s, store.Change{ID: "late", Status: store.JobCancelled, Ended: at(2)})
	lanes(store.Lane{Name: "b", Waiting: 1, Ready: 1, Next: ready}, store.Lane{Name: "lane", Waiting: 1, Next: at(7)})
	change(t, s, store.Change{ID: "a", Status: store.JobExpired, Ended: at(2)})
	change(t, s, store.Change{ID: "held", Status: store.JobWaiting, Due: at(50)})
	lanes(store.Lane{Name: "b", Waiting: 1, Next: at(50)})
	change(t, s, store.Change{ID: "held", Status: store.JobWaiting, Due: at(60)})
	if _, err := s.Take(testContextOf(t), "b", 1, at(55), at(99)); err != nil { // finds nothing
		t.Fatal(err)
	}
	lanes(store.Lane{Name: "b", Waiting: 1, Next: at(60)})
}

func testFind(t *testing.T, open OpenJobs) {
	s := open(t)
	for i, id := range []string{"a", "b", "c", "d", "e"} {
		j := job(id)
		j.Created, j.Lane, j.Kind = at(i), []string{"x/1", "x/2", "y/1", "x/1", "x/1"}[i], []string{"event", "sync"}[i%2]
		j.Labels = map[string]string{"n": []string{"odd", "even"}[i%2], "all": ""}
		j.Body, j.State = []byte("body"), []byte("state")
		if i == 3 {
			j.Status, j.Ended, j.Error, j.Result = store.JobFailed, at(9), "Oops", []byte("r")
		}
		push(t, s, j)
	}
	if _, err := s.Take(testContextOf(t), "x/2", 1, at(9), at(99)); err != nil {
		t.Fatal(err)
	}
	fourth, err := s.Job(testContextOf(t), "d")
	if err != nil {
		t.Fatal(err)
	}
	waiting := []store.JobStatus{store.JobWaiting}
	for name, c := range map[string]struct {
		q    store.JobQuery
		want []string
	}{
		"all":         {store.JobQuery{}, []string{"e", "d", "c", "b", "a"}},
		"limit":       {store.JobQuery{Limit: 2}, []string{"e", "d"}},
		"page":        {store.JobQuery{Before: fourth.Seq, Limit: 2}, []string{"c", "b"}},
		"prefix":      {store.JobQuery{Prefix: "x/"}, []string{"e", "d", "b", "a"}},
		"lane":        {store.JobQuery{Lane: "x/1"}, []string{"e", "d", "a"}},
		"lane waits":  {store.JobQuery{Lane: "x/1", Statuses: waiting}, []string{"e", "a"}},
		"running":     {store.JobQuery{Statuses: []store.JobStatus{store.JobRunning}}, []string{"b"}},
		"lane runs":   {store.JobQuery{Lane: "x/2", Statuses: []store.JobStatus{store.JobRunning}}, []string{"b"}},
		"failed":      {store.JobQuery{Statuses: []store.JobStatus{store.JobFailed, store.JobExpired}}, []string{"d"}},
		"two":         {store.JobQuery{Statuses: []store.JobStatus{store.JobFailed, store.JobRunning}}, []string{"d", "b"}},
		"succeeded":   {store.JobQuery{Statuses: []store.JobStatus{store.JobSucceeded}}, nil},
		"unknown":     {store.JobQuery{Statuses: []store.JobStatus{"lost"}}, nil},
		"kind":        {store.JobQuery{Kind: "sync"}, []string{"d", "b"}},
		"error":       {store.JobQuery{Error: "Oops"}, []string{"d"}},
		"label":       {store.JobQuery{Labels: map[string]string{"n": "even"}}, []string{"d", "b"}},
		"two labels":  {store.JobQuery{Labels: map[string]string{"n": "even", "all": ""}, Lane: "x/1"}, []string{"d"}},
		"wrong label": {store.JobQuery{Labels: map[string]string{"n": "even", "all": "x"}}, nil},
		"time":        {store.JobQuery{From: at(1), To: at(3)}, []string{"c", "b"}},
		"everything":  {store.JobQuery{Lane: "x/1", Prefix: "x", Error: "Oops", Kind: "sync", Statuses: []store.JobStatus{store.JobFailed}, From: at(0)}, []string{"d"}},
	} {
		got, err := collect(s.FindJobs(testContextOf(t), c.q))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Log(name)
		wantIDs(t, got, c.want...)
		for _, j := range got {
			if j.Body != nil || j.Result != nil || string(j.State) != "state" || len(j.Labels) != 2 {
				t.Errorf("%s: found %+v", name, j)
			}
		}
	}
}

func testTrim(t *testing.T, open OpenJobs) {
	s := open(t)
	for i, id := range []string{"a", "b", "c", "d"} {
		j := job(id)
		j.Status, j.Ended, j.Body, j.Labels = store.JobSucceeded, at(10-i), make([]byte, 100), map[string]string{"x": "y"}
		push(t, s, j)
	}
	live := job("live")
	live.Body = make([]byte, 1000)
	push(t, s, live)
	trim := func(before time.Time, bytes int64, want int) {
		t.Helper()
		if n, err := s.TrimJobs(testContextOf(t), before, bytes); err != nil || n != want {
			t.Fatalf("trim gives %d, %v, want %d", n, err, want)
		}
	}
	left := func(want ...string) {
		t.Helper()
		got, err := collect(s.FindJobs(testContextOf(t), store.JobQuery{Labels: map[string]string{"x": "y"}}))
		if err != nil {
			t.Fatal(err)
		}
		wantIDs(t, got, want...)
	}
	trim(at(7), 0, 0)
	trim(at(8), 0, 1)
	left("c", "b", "a")
	trim(time.Time{}, 300, 0)
	trim(time.Time{}, 299, 1)
	left("b", "a")
	got := takeJobs(t, s, 1, at(0), at(9))[0]
	change(t, s, store.Change{ID: "live", Token: got.Token, Status: store.JobFailed, Ended: at(20), Result: make([]byte, 50), State: make([]byte, 50)})
	trim(time.Time{}, 1300, 0)
	trim(time.Time{}, 1299, 1)
	trim(at(99), 1, 2)
	trim(at(99), 1, 0)
	push(t, s, job("live")) // it is forgotten wholly
}
