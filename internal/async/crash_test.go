package async

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/store/storetest"
)

// The crash test runs this binary again as the server that is killed. Its work is the
// first number that it sends, or toTheEnd.
const toTheEnd = "to the end of what there is"

func TestMain(m *testing.M) {
	if v, yes := storetest.AmVictim(); yes {
		crashingChild(v)
		os.Exit(1) // it never ends by itself
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// said keeps the lines of the child whole.
var said sync.Mutex

func say(words ...any) {
	said.Lock()
	defer said.Unlock()
	fmt.Println(words...)
}

// numbered is the function of the crash test: it tells of each number that it gets.
// Every tenth one fails at first, and every hundredth always.
type numbered struct{}

func (numbered) Invoke(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	if inv.Function == "morgue" {
		say("buried", inv.RequestID)
		return answer("1"), nil
	}
	n, _ := strconv.Atoi(string(inv.Payload))
	time.Sleep(rand.N(2 * time.Millisecond))
	switch {
	case n%100 == 99:
		return failure("Poison", "never"), nil
	case n%10 == 9 && rand.IntN(2) == 0:
		return failure("Flaky", "again"), nil
	}
	say("ran", n)
	return answer(string(inv.Payload)), nil
}

// crashingChild sends numbers without end, and runs them.
func crashingChild(v storetest.Victim) {
	db, err := store.OpenSQLite(context.Background(), store.Options{Dir: v.Dir, Point: v.Killer()})
	if err != nil {
		say("fault", err)
		return
	}
	shelf := &shelf{}
	shelf.configure("f", lambent.EventConfig{OnFailure: lambent.Destination{ARN: "arn:aws:lambda:us-east-1:" + ns + ":function:morgue"}, Rules: []lambent.RetryRule{
		{Error: "Poison", MaxRetries: 2, Delay: time.Millisecond},
		{Error: "Flaky", MaxRetries: 100, Delay: time.Millisecond},
	}})
	s := New(Options{Jobs: db, Invoker: numbered{}, Catalog: shelf, Region: region, Alone: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	go func() { say("fault", s.Run(context.Background())) }() // it ends with the process
	if v.Work == toTheEnd {
		for s.idle(db) != nil {
			time.Sleep(10 * time.Millisecond)
		}
		say("idle")
		time.Sleep(time.Hour)
	}
	next, _ := strconv.Atoi(v.Work)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for n := next + w; ; n += 8 {
				_, _, err := s.Accept(context.Background(), Request{
					Invocation: &lambent.Invocation{Namespace: ns, Function: "f", Payload: fmt.Append(nil, n)}, Labels: map[string]string{"n": strconv.Itoa(n)},
				})
				if err != nil {
					say("fault", err)
				} else {
					say("ack", n)
				}
			}
		})
	}
	all.Wait()
}

// idle is nil when no job lives.
func (s *Service) idle(db store.Jobs) error {
	lanes, err := db.Lanes(context.Background())
	if err == nil && len(lanes) > 0 {
		err = fmt.Errorf("%d lanes have jobs", len(lanes))
	}
	return err
}

// tally is what the lives of the child have told.
type tally struct {
	acked map[int]bool
	ran   map[int]int
	next  int
	last  bool // the life that goes on to the end
	ended bool
	done  map[int]int // how often a number had run when its event was seen to have ended
}

// The server is killed at named points and at any moment, again and again over the
// same data, while it takes and runs numbered events. Every acknowledged number is
// delivered, and an event that has ended is not run again.
func TestKilledServerDeliversAll(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	kills := 100
	if text := os.Getenv("ASYNC_TEST_KILLS"); text != "" {
		kills, _ = strconv.Atoi(text)
	}
	dir := t.TempDir()
	all := &tally{acked: map[int]bool{}, ran: map[int]int{}, done: map[int]int{}}
	for i := range kills {
		point := []string{"store.before-commit", "store.after-commit", "", ""}[i%4]
		live(t, dir, point, all)
		if i%10 == 9 {
			examine(t, dir, all)
		}
	}
	before := len(all.ran)
	all.last = true
	live(t, dir, "", all)
	lost, duplicates, poison := 0, 0, 0
	for n := range all.acked {
		switch {
		case n%100 == 99:
			poison++
		case all.ran[n] == 0:
			lost++
		}
	}
	for _, runs := range all.ran {
		duplicates += max(runs-1, 0)
	}
	buried, alive := examine(t, dir, all)
	t.Logf("killed %d times: acknowledged %d, delivered %d (%d of them before the last kill), duplicates %d, lost=%d, poison %d with %d in the morgue",
		kills, len(all.acked), len(all.ran), before, duplicates, lost, poison, buried)
	if lost > 0 || len(all.acked) == 0 || buried < poison || alive > 0 {
		t.Errorf("lost %d of %d; %d of %d poison events are in the morgue; %d live after the end", lost, len(all.acked), buried, poison, alive)
	}
}

// live runs one child until it is dead, or idle.
func live(t *testing.T, dir, point string, all *tally) {
	t.Helper()
	if all.next > 0 { // what was sent and not heard of keeps its number
		all.next += 1000
	}
	v := storetest.Victim{Dir: dir, Work: strconv.Itoa(all.next), Point: point, After: rand.IntN(40)}
	limit := v.Span(40*time.Millisecond, 140*time.Millisecond)
	if all.last {
		v.Work, limit = toTheEnd, 30*time.Second
	}
	v.Live(t, limit, func(line string) bool {
		word, rest, _ := strings.Cut(line, " ")
		n, _ := strconv.Atoi(rest)
		switch word {
		case "ack":
			all.acked[n] = true
			all.next = max(all.next, n+1)
		case "ran":
			all.ran[n]++
			all.next = max(all.next, n+1)
		case "idle":
			all.ended = true
		}
		return all.ended
	})
	if all.last && !all.ended {
		t.Error("the last server did not come to an end")
	}
}

// examine looks at what is kept. What had ended earlier must not have run since.
func examine(t *testing.T, dir string, all *tally) (buried, alive int) {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // it was only read
	events := 0
	for j, err := range db.FindJobs(t.Context(), store.JobQuery{Limit: 1 << 30}) {
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(j.Labels["n"])
		switch {
		case !j.Status.Ended():
			if alive++; all.last {
				lanes, err := db.Lanes(t.Context())
				t.Logf("alive after the end: %+v; lanes %+v, %v", j, lanes, err)
			}
		case j.Kind == KindDestination:
			buried++
		default:
			if had, seen := all.done[n]; seen && had != all.ran[n] {
				t.Errorf("%d had ended after %d runs, and has run %d times", n, had, all.ran[n])
			}
			all.done[n] = all.ran[n]
		}
		if j.Kind == KindEvent {
			events++
		}
	}
	if events < len(all.acked) {
		t.Errorf("%d events are kept of %d acknowledged", events, len(all.acked))
	}
	return buried, alive
}
