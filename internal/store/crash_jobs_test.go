package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
)

// crashingQueue pushes numbered jobs without end, and takes and ends them. It
// prints what it was told is durable: "pushed ID", "ended ID NOW"; and "taken ID
// THEN" before it does anything with a job, where THEN is when it began to take.
func crashingQueue(s store.Jobs) {
	ctx := context.Background()
	var all sync.WaitGroup
	var mu sync.Mutex // keeps the lines whole
	say := func(args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(args...)
	}
	name := strconv.FormatInt(time.Now().UnixNano(), 36)
	for w := range crashWriters {
		all.Go(func() {
			for i := 0; ; i++ {
				j := numbered(fmt.Sprintf("%s/%d/%d", name, w, i))
				if i%3 == 0 {
					j.Key = fmt.Sprint("key", w)
				}
				if err := s.Push(ctx, j); err != nil {
					say("fault", err)
				}
				say("pushed", j.ID)
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for {
				now := time.Now()
				jobs, err := s.Take(ctx, "lane", 5, now, now.Add(10*time.Millisecond))
				if err != nil {
					say("fault", err)
				}
				for _, j := range jobs {
					say("taken", j.ID, now.UnixNano())
					errs, err := s.Change(ctx, store.Change{ID: j.ID, Token: j.Token, Status: store.JobSucceeded, Ended: now, Result: []byte(j.ID)})
					if err != nil {
						say("fault", err)
					} else if errs[0] == nil {
						say("ended", j.ID, time.Now().UnixNano())
					}
				}
			}
		})
	}
	all.Wait()
}

func numbered(id string) store.Job {
	return store.Job{ID: id, Lane: "lane", Status: store.JobWaiting, Created: time.Unix(1e9, 0), Body: []byte("body of " + id)}
}

// told is what a server acknowledged, over all its lives.
type told struct {
	pushed map[string]bool
	ended  map[string]int64 // when
	again  int              // taken more than once
	taken  map[string]bool
}

func newTold() *told {
	return &told{pushed: map[string]bool{}, ended: map[string]int64{}, taken: map[string]bool{}}
}

func (m *told) hear(t *testing.T, line string) {
	var what, id string
	var at int64
	if n, _ := fmt.Sscan(line, &what, &id, &at); n < 2 || n < 3 && what != "pushed" {
		return // the last line, cut
	}
	switch what {
	case "pushed":
		m.pushed[id] = true
	case "ended":
		m.ended[id] = at
	case "taken":
		if end, ok := m.ended[id]; ok && at > end {
			t.Errorf("%s is taken, and had ended", id)
		}
		if m.taken[id] {
			m.again++
		}
		m.taken[id] = true
	}
}

// A server that takes in and works off jobs is killed a hundred times at named
// points and at any moment: what it acknowledged is there, what it ended stays so.
func TestKilledServerLosesNoJob(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	dir := t.TempDir()
	m := newTold()
	points := []string{"store.applied", "store.before-commit", "store.after-commit", "", ""}
	for i := range 100 {
		v := storetest.Victim{Dir: dir, Work: workJobs, Point: points[i%len(points)], After: rand.IntN(40)}
		v.Live(t, v.Span(15*time.Millisecond, 55*time.Millisecond), func(line string) bool {
			m.hear(t, line)
			return false
		})
	}
	s := openSQLite(t, dir)
	defer closeStore(t, s)
	for id := range m.pushed {
		j, err := s.Job(t.Context(), id)
		if err != nil || string(j.Body) != "body of "+id {
			t.Errorf("%s was acknowledged, and is %+v, %v", id, j, err)
		}
		if m.ended[id] > 0 && (j.Status != store.JobSucceeded || string(j.Result) != id) {
			t.Errorf("%s had ended, and is %+v", id, j)
		}
	}
	if len(m.ended) == 0 {
		t.Error("nothing ever ended")
	}
	t.Logf("%d jobs were acknowledged, %d ended, %d taken again", len(m.pushed), len(m.ended), m.again)
}

// The disk loses what was not synced: at some moments a copy of it is made as it
// would be found after a loss of power, and every job acknowledged before is in
// the copy. The disk is a file system of its own in a file, to which the kernel
// writes nothing but what is synced, or what it chooses.
func TestPowerLossLosesNoJob(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk")
	dir := mountImage(t, image, true)
	acks := make(chan string, 100_000)
	var copies []string
	seen := [][]string{}
	var acked []string
	commits := 0
	point := func(name string) { // called by the one writer, which waits meanwhile
		if name != "store.after-commit" {
			return
		}
		if commits++; commits%25 != 0 || len(copies) == 8 {
			return
		}
		for more := true; more; {
			select {
			case id := <-acks:
				acked = append(acked, id)
			default:
				more = false
			}
		}
		name = fmt.Sprintf("%s-%d", image, len(copies))
		copySteady(t, image, name)
		copies, seen = append(copies, name), append(seen, append([]string{}, acked...))
	}
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir, Point: point})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 250 {
				id := fmt.Sprintf("%d/%d", w, i)
				if err := s.Push(t.Context(), numbered(id)); err != nil {
					t.Error(err)
					return
				}
				acks <- id
			}
		})
	}
	all.Go(func() { endJobs(t, s, 1000, acks) })
	all.Wait()
	closeStore(t, s)
	if len(copies) == 0 || len(seen[len(seen)-1]) == 0 {
		t.Fatal("the power was never lost")
	}
	for i, name := range copies {
		t.Run(fmt.Sprint(len(seen[i])), func(t *testing.T) {
			s := openSQLite(t, mountImage(t, name, false))
			defer closeStore(t, s)
			for _, id := range seen[i] {
				id, ended := strings.CutSuffix(id, endedMark)
				j, err := s.Job(t.Context(), id)
				if err != nil || string(j.Body) != "body of "+id || ended && (j.Status != store.JobSucceeded || string(j.Result) != id) {
					t.Fatalf("%s was acknowledged before the power was lost (ended: %t), and is %+v, %v", id, ended, j, err)
				}
			}
		})
	}
}

// endedMark is what follows the id of a job whose end was acknowledged.
const endedMark = " ended"

// endJobs takes and ends so many jobs, and says which have ended.
func endJobs(t *testing.T, s store.Jobs, n int, acks chan<- string) {
	for n > 0 && !t.Failed() {
		jobs, err := s.Take(t.Context(), "lane", min(n, 5), time.Now(), time.Now().Add(time.Hour))
		if err != nil {
			t.Error(err)
			return
		}
		for _, j := range jobs {
			errs, err := s.Change(t.Context(), store.Change{ID: j.ID, Token: j.Token, Status: store.JobSucceeded, Ended: time.Now(), Result: []byte(j.ID)})
			if err != nil || errs[0] != nil {
				t.Errorf("end %s: %v, %v", j.ID, err, errs)
				return
			}
			acks <- j.ID + endedMark
		}
		n -= len(jobs)
	}
}

// copySteady copies a file that the kernel may write to meanwhile: until two
// copies are the same.
func copySteady(t *testing.T, from, to string) {
	var last string
	for range 20 {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Error(err)
			return
		}
		if string(data) == last {
			if err := os.WriteFile(to, data, 0o600); err != nil {
				t.Error(err)
			}
			return
		}
		last = string(data)
	}
	t.Error("the disk does not come to rest")
}
