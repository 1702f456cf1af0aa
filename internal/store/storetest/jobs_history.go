package storetest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lambent.dev/lambent/internal/store"
)

// historyTime bounds the random histories of a driver.
const historyTime = 10 * time.Second

// Random pushes, takes, changes and steps of the clock, also back, on one driver
// and on the memory driver must give the same answers. The histories share one
// store, of which each uses lanes of its own.
func testJobHistories(t *testing.T, open OpenJobs) {
	driver, model := open(t), store.NewMemory()
	corner, end := 0, time.Now().Add(historyTime)
	rapid.Check(t, func(rt *rapid.T) {
		if corner++; time.Now().After(end) {
			return // on a slow disk the first ones have to do
		}
		h := &jobHistory{t: t, driver: driver, model: model, corner: fmt.Sprintf("h%d/", corner), now: 100}
		rt.Repeat(map[string]func(*rapid.T){
			"push":   h.push,
			"take":   h.take,
			"change": h.change,
			"clock":  func(rt *rapid.T) { h.now += rapid.IntRange(-10, 20).Draw(rt, "step") },
			"find":   h.find,
			"trim":   h.trim,
			"":       h.compare,
		})
	})
}

type jobHistory struct {
	t             *testing.T
	driver, model store.Jobs
	corner        string
	now           int
	jobs          []store.Job // all that were pushed, as last seen
}

func (h *jobHistory) lane(rt *rapid.T) string {
	return h.corner + rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "lane")
}

// when is zero, or a moment about now.
func (h *jobHistory) when(rt *rapid.T) time.Time {
	if rapid.Bool().Draw(rt, "at once") {
		return time.Time{}
	}
	return at(h.now + rapid.IntRange(-5, 15).Draw(rt, "when"))
}

func (h *jobHistory) push(rt *rapid.T) {
	var jobs []store.Job
	for i := range rapid.IntRange(1, 3).Draw(rt, "jobs") {
		j := store.Job{
			ID: fmt.Sprintf("%s%d/%d", h.corner, len(h.jobs), i), Lane: h.lane(rt), Status: store.JobWaiting, Due: h.when(rt), Created: at(h.now),
			Key: rapid.SampledFrom([]string{"", "", "k", "l"}).Draw(rt, "key"), Priority: rapid.IntRange(-1, 1).Draw(rt, "priority"),
			Body: rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(rt, "body"),
		}
		if rapid.Bool().Draw(rt, "labels") {
			j.Labels = map[string]string{"l": rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "label")}
		}
		if rapid.IntRange(0, 9).Draw(rt, "ended") == 0 {
			j.Status, j.Ended = store.JobFailed, at(h.now)
		}
		jobs = append(jobs, j)
	}
	if len(h.jobs) > 0 && rapid.IntRange(0, 9).Draw(rt, "again") == 0 {
		jobs = append(jobs, h.jobs[0])
		jobs[len(jobs)-1].Status, jobs[len(jobs)-1].Ended = store.JobWaiting, time.Time{}
	}
	got, want := h.driver.Push(testContextOf(h.t), jobs...), h.model.Push(testContextOf(h.t), jobs...)
	if !same(got, want) {
		rt.Fatalf("push gives %v; the memory driver %v", got, want)
	}
	if want == nil {
		h.jobs = append(h.jobs, jobs...)
	}
}

func (h *jobHistory) take(rt *rapid.T) {
	lane, limit := h.lane(rt), rapid.IntRange(0, 4).Draw(rt, "limit")
	now, until := at(h.now), at(h.now+rapid.IntRange(1, 20).Draw(rt, "lease"))
	got, err := h.driver.Take(testContextOf(h.t), lane, limit, now, until)
	want, wantErr := h.model.Take(testContextOf(h.t), lane, limit, now, until)
	if !sameJobs(got, want) || !same(err, wantErr) {
		rt.Fatalf("take gives %+v, %v; the memory driver %+v, %v", got, err, want, wantErr)
	}
}

func (h *jobHistory) change(rt *rapid.T) {
	if len(h.jobs) == 0 {
		return
	}
	var changes []store.Change
	for range rapid.IntRange(1, 3).Draw(rt, "changes") {
		c := store.Change{
			ID:     h.jobs[rapid.IntRange(0, len(h.jobs)-1).Draw(rt, "job")].ID,
			Status: rapid.SampledFrom([]store.JobStatus{store.JobWaiting, store.JobRunning, store.JobSucceeded, store.JobCancelled}).Draw(rt, "status"),
			Due:    h.when(rt), Lease: at(h.now + rapid.IntRange(1, 20).Draw(rt, "lease")), Ended: at(h.now),
			Uncounted: rapid.Bool().Draw(rt, "uncounted"), Error: rapid.SampledFrom([]string{"", "E"}).Draw(rt, "error"),
			State: rapid.SampledFrom([][]byte{nil, {}, []byte("s")}).Draw(rt, "state"), Result: rapid.SampledFrom([][]byte{nil, {}, []byte("rr")}).Draw(rt, "result"),
		}
		if j, err := h.model.Job(testContextOf(h.t), c.ID); err == nil && (j.Status == store.JobRunning || c.Status == store.JobRunning) {
			c.Token = j.Token + int64(rapid.SampledFrom([]int{0, 0, 0, -1}).Draw(rt, "off by"))
		}
		if c.Status == store.JobRunning && c.Token <= 0 {
			c.Token = 1
		}
		changes = append(changes, c)
	}
	got, err := h.driver.Change(testContextOf(h.t), changes...)
	want, wantErr := h.model.Change(testContextOf(h.t), changes...)
	if !same(err, wantErr) || len(got) != len(want) {
		rt.Fatalf("change gives %v, %v; the memory driver %v, %v", got, err, want, wantErr)
	}
	for i := range want {
		if !same(got[i], want[i]) {
			rt.Fatalf("change %+v gives %v; the memory driver %v", changes[i], got[i], want[i])
		}
	}
}

func (h *jobHistory) find(rt *rapid.T) {
	q := store.JobQuery{
		Prefix: h.corner,
		Lane:   rapid.SampledFrom([]string{"", h.corner + "a"}).Draw(rt, "lane"),
		Statuses: rapid.SampledFrom([][]store.JobStatus{nil, {store.JobWaiting}, {store.JobRunning}, {store.JobFailed, store.JobCancelled},
			{store.JobRunning, store.JobSucceeded}}).Draw(rt, "statuses"),
		Error: rapid.SampledFrom([]string{"", "", "E"}).Draw(rt, "error"),
		From:  h.when(rt), To: h.when(rt), Limit: rapid.IntRange(0, 4).Draw(rt, "limit"),
	}
	if rapid.Bool().Draw(rt, "by label") {
		q.Labels = map[string]string{"l": "x"}
	}
	h.wantSame(rt, q)
}

func (h *jobHistory) wantSame(rt *rapid.T, q store.JobQuery) {
	got, err := collect(h.driver.FindJobs(testContextOf(h.t), q))
	want, wantErr := collect(h.model.FindJobs(testContextOf(h.t), q))
	if !sameJobs(got, want) || !same(err, wantErr) {
		rt.Fatalf("find %+v gives\n%+v, %v; the memory driver\n%+v, %v", q, got, err, want, wantErr)
	}
}

func (h *jobHistory) trim(rt *rapid.T) {
	before, bytes := at(h.now-rapid.IntRange(0, 20).Draw(rt, "age")), int64(rapid.IntRange(0, 40).Draw(rt, "bytes"))
	got, err := h.driver.TrimJobs(testContextOf(h.t), before, bytes)
	want, wantErr := h.model.TrimJobs(testContextOf(h.t), before, bytes)
	if got != want || !same(err, wantErr) {
		rt.Fatalf("trim gives %d, %v; the memory driver %d, %v", got, err, want, wantErr)
	}
}

// compare looks at all there is. When a lane has something next may be told too
// early, but not too late.
func (h *jobHistory) compare(rt *rapid.T) {
	h.wantSame(rt, store.JobQuery{Prefix: h.corner, Limit: 1000})
	got, err := h.lanes(h.driver)
	want, wantErr := h.lanes(h.model)
	if len(got) != len(want) || err != nil || wantErr != nil {
		rt.Fatalf("the lanes are %+v, %v; the memory driver's %+v, %v", got, err, want, wantErr)
	}
	for i := range want {
		g, w := got[i], want[i]
		if g.Next.After(w.Next) || g.Next.IsZero() != w.Next.IsZero() {
			rt.Fatalf("lane %s has something at %v; the memory driver's at %v", g.Name, g.Next, w.Next)
		}
		if g.Next = w.Next; g != w {
			rt.Fatalf("a lane is %+v; the memory driver's %+v", g, w)
		}
	}
	since, err := h.oldest(h.driver)
	wantSince, wantErr := h.oldest(h.model)
	if !maps.Equal(since, wantSince) || err != nil || wantErr != nil {
		rt.Fatalf("the oldest wait since %v, %v; the memory driver's since %v, %v", since, err, wantSince, wantErr)
	}
}

// oldest are those of this history.
func (h *jobHistory) oldest(s store.Jobs) (map[string]time.Time, error) {
	all, err := s.Oldest(testContextOf(h.t))
	maps.DeleteFunc(all, func(name string, _ time.Time) bool { return !strings.HasPrefix(name, h.corner) })
	return all, err
}

// lanes are those of this history.
func (h *jobHistory) lanes(s store.Jobs) ([]store.Lane, error) {
	lanes, err := s.Lanes(testContextOf(h.t))
	return slices.DeleteFunc(lanes, func(l store.Lane) bool { return !strings.HasPrefix(l.Name, h.corner) }), err
}

func sameJobs(a, b []store.Job) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}
