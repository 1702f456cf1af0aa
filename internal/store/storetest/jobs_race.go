package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"lambent.dev/lambent/internal/store"
)

// Many push, take, give back and end jobs at the same time: every job is some
// taker's once at a time, and ends once.
func testTakers(t *testing.T, open OpenJobs) {
	const pushers, takers, each = 4, 4, 30
	s := open(t)
	ctx := testContextOf(t)
	var mu sync.Mutex // guards the two maps
	held, ended := map[string]bool{}, map[string]int{}
	var all sync.WaitGroup
	for p := range pushers {
		all.Go(func() {
			for i := range each {
				j := job(fmt.Sprintf("%d/%d", p, i))
				if i%3 == 0 {
					j.Key = fmt.Sprint("key", i%2)
				}
				if err := s.Push(ctx, j); err != nil {
					t.Error("push:", err)
					return
				}
			}
		})
	}
	finish := func(j store.Job) {
		mu.Lock()
		if held[j.ID] || ended[j.ID] > 0 {
			t.Errorf("%s is taken, and was held %t or ended %d times", j.ID, held[j.ID], ended[j.ID])
		}
		back := j.Attempts == 1 && j.Seq%5 == 0
		held[j.ID] = true
		mu.Unlock()
		c := store.Change{ID: j.ID, Token: j.Token, Status: store.JobSucceeded, Ended: at(1)}
		if back {
			c = store.Change{ID: j.ID, Token: j.Token, Status: store.JobWaiting}
		}
		mu.Lock()
		if held[j.ID] = false; !back {
			ended[j.ID]++
		}
		mu.Unlock()
		if errs, err := s.Change(ctx, c); err != nil || errs[0] != nil {
			t.Errorf("change %s: %v, %v", j.ID, errs, err)
		}
	}
	done := func() bool { mu.Lock(); defer mu.Unlock(); return len(ended) == pushers*each }
	for range takers {
		all.Go(func() {
			for !done() && ctx.Err() == nil && !t.Failed() {
				jobs, err := s.Take(ctx, "lane", 3, at(0), at(1000))
				if err != nil {
					t.Error("take:", err)
					return
				}
				for _, j := range jobs {
					finish(j)
				}
			}
		})
	}
	all.Wait()
	if !done() {
		t.Errorf("%d of %d jobs have ended", len(ended), pushers*each)
	}
	if lanes, err := s.Lanes(testContextOf(t)); err != nil || len(lanes) != 0 {
		t.Errorf("the lanes are %+v, %v", lanes, err)
	}
}

// call is what a client does in the test of linearizability, and answer what it
// gets: the ids and tokens of what it took, or whether its change applied.
type call struct {
	push   string
	take   int // how many
	now    int
	change store.Change
}

type answer struct {
	ids    []string
	tokens []int64
	ok     bool
}

// testLinear records what concurrent clients do to one lane, and asks whether
// some order of the calls, each between its beginning and its end, explains the
// answers. The memory driver says what each call does.
func testLinear(t *testing.T, open OpenJobs) {
	const clients, calls, rounds = 4, 12, 3
	s := open(t)
	for round := range rounds {
		lane := fmt.Sprint("linear", round)
		var mu sync.Mutex // guards history
		var history []porcupine.Operation
		start := time.Now()
		var all sync.WaitGroup
		for client := range clients {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(client)))
				var mine []store.Job
				for i := range calls {
					in := choose(rng, fmt.Sprintf("%s/%d/%d", lane, client, i), mine)
					begin := time.Since(start)
					out, taken, err := perform(t, s, lane, in)
					end := time.Since(start)
					if err != nil {
						t.Error(err)
						return
					}
					mine = append(mine, taken...)
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: int64(begin), Output: out, Return: int64(end)})
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if result := porcupine.CheckOperationsTimeout(model(), history, 10*time.Second); result == porcupine.Illegal {
			t.Fatalf("no order explains %+v", history)
		}
	}
}

func choose(rng *rand.Rand, id string, mine []store.Job) call {
	now := rng.IntN(30)
	switch n := rng.IntN(10); {
	case n < 4:
		return call{push: id}
	case n < 7 || len(mine) == 0:
		return call{take: 1 + rng.IntN(2), now: now}
	case n == 7:
		j := mine[rng.IntN(len(mine))]
		return call{change: store.Change{ID: j.ID, Token: j.Token, Status: store.JobWaiting}}
	default:
		j := mine[rng.IntN(len(mine))]
		return call{change: store.Change{ID: j.ID, Token: j.Token, Status: store.JobSucceeded, Ended: at(1)}}
	}
}

func perform(t *testing.T, s store.Jobs, lane string, in call) (out answer, taken []store.Job, err error) {
	ctx := testContextOf(t)
	switch {
	case in.push != "":
		j := job(in.push)
		j.Lane = lane
		err = s.Push(ctx, j)
	case in.take > 0:
		taken, err = s.Take(ctx, lane, in.take, at(in.now), at(in.now+5))
		for _, j := range taken {
			out.ids, out.tokens = append(out.ids, j.ID), append(out.tokens, j.Token)
		}
	default:
		var errs []error
		if errs, err = s.Change(ctx, in.change); err == nil {
			out.ok = errs[0] == nil
			if !out.ok && !errors.Is(errs[0], store.ErrConflict) {
				err = errs[0]
			}
		}
	}
	return out, taken, err
}

// row is a live job of the model.
type row struct {
	id    string
	runs  bool
	until int
	token int64
}

// model does one call after the other; its state is the live jobs in the order of
// arrival, and is never changed in place.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return []row(nil) },
		Step: func(state, input, output any) (bool, any) {
			rows, in, out := slices.Clone(state.([]row)), input.(call), output.(answer)
			switch {
			case in.push != "":
				return true, append(rows, row{id: in.push})
			case in.take > 0:
				return takeRows(rows, in, out), rows
			}
			i := slices.IndexFunc(rows, func(r row) bool { return r.id == in.change.ID && r.runs && r.token == in.change.Token })
			if (i >= 0) != out.ok {
				return false, rows
			}
			if i < 0 {
				return true, rows
			}
			if in.change.Status == store.JobWaiting {
				rows[i].runs = false
				return true, rows
			}
			return true, slices.Delete(rows, i, i+1)
		},
		Equal: func(a, b any) bool { return slices.Equal(a.([]row), b.([]row)) },
	}
}

// takeRows takes in place, and tells whether that gives the answer.
func takeRows(rows []row, in call, out answer) bool {
	n := 0
	for i := range rows {
		r := &rows[i]
		if r.runs && r.until > in.now {
			continue
		}
		if n == in.take {
			break
		}
		r.runs, r.until = true, in.now+5
		if r.token++; n >= len(out.ids) || out.ids[n] != r.id || out.tokens[n] != r.token {
			return false
		}
		n++
	}
	return n == len(out.ids)
}
