package rollout

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/store"
)

const account = "000000000000"

// shelf has one alias of one function with versions 1 to 9.
type shelf struct {
	mu       sync.Mutex // guards the rest
	alias    lambent.Alias
	gone     bool
	revision int
	moves    []string
	crash    bool // fails after the next change, as if the server had ended there
}

func (s *shelf) Get(_, function, qualifier string) (catalog.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || function != "f" {
		return catalog.Entry{}, lambent.Errorf(lambent.CodeNotFound, "no %s", function)
	}
	return catalog.Entry{Version: &lambent.Version{Function: "f", Number: qualifier}}, nil
}

func (s *shelf) Alias(_, _, name string) (*lambent.Alias, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || name != "live" {
		return nil, lambent.Errorf(lambent.CodeNotFound, "no %s", name)
	}
	return new(s.alias), nil
}

func (s *shelf) UpdateAlias(_ context.Context, in catalog.UpdateAlias) (*lambent.Alias, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.RevisionID != "" && in.RevisionID != s.alias.RevisionID {
		return nil, lambent.Errorf(lambent.CodePrecondition, "the revision is another one")
	}
	s.revision++
	s.alias.Version, s.alias.Weights, s.alias.RevisionID = *in.Version, maps.Clone(*in.Weights), fmt.Sprint(s.revision)
	s.moves = append(s.moves, fmt.Sprintf("%s%v", s.alias.Version, s.alias.Weights))
	if s.crash {
		s.crash = false
		return nil, lambent.Errorf(lambent.CodeUnavailable, "crash")
	}
	return new(s.alias), nil
}

// stage is a room under which versions do as they are told.
type stage struct {
	*Room
	shelf   *shelf
	records store.Records
	mu      sync.Mutex                        // guards perform
	perform map[string]lambent.RolloutFigures // of a version, for each measurement
}

func (s *stage) begin(_, _, number string) func() lambent.RolloutFigures {
	return func() lambent.RolloutFigures {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.perform[number]
	}
}

func (s *stage) does(number string, f lambent.RolloutFigures) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.perform[number] = f
}

// run runs the room until the returned function is called.
func (s *stage) run(t *testing.T) (stop func()) {
	t.Helper()
	room, err := Open(t.Context(), Options{Records: s.records, Catalog: s.shelf, Begin: s.begin, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Room = room
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = room.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

func onStage(t *testing.T, test func(t *testing.T, s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{shelf: &shelf{alias: lambent.Alias{Name: "live", Version: "6", RevisionID: "0"}}, records: store.NewMemory(), perform: map[string]lambent.RolloutFigures{}}
		s.does("6", lambent.RolloutFigures{Calls: 1000, Failed: 1, P99: 100 * time.Millisecond})
		s.does("7", lambent.RolloutFigures{Calls: 50, P99: 110 * time.Millisecond})
		test(t, s)
	})
}

func wanted() lambent.Rollout {
	return lambent.Rollout{Namespace: account, Function: "f", Alias: "live", To: "7", Steps: []float64{5, 50}, Every: time.Minute,
		AbortOn: []string{"errors>1%", "p99>2x"}, MinCalls: 20}
}

func (s *stage) is(t *testing.T, state lambent.RolloutState, moves string) lambent.Rollout {
	t.Helper()
	synctest.Wait()
	all := s.Rollouts(account, "f")
	if len(all) != 1 || all[0].State != state {
		t.Fatalf("%+v, want %s", all, state)
	}
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	if got := strings.Join(s.shelf.moves, " "); got != moves {
		t.Errorf("the alias went %s, want %s", got, moves)
	}
	return all[0]
}

func TestMovesByItself(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		defer s.run(t)()
		v, err := s.Start(t.Context(), wanted())
		if err != nil || v.From != "6" || v.Step != 0 {
			t.Fatalf("%+v, %v", v, err)
		}
		if _, err := s.Start(t.Context(), wanted()); lambent.CodeOf(err) != lambent.CodeConflict {
			t.Errorf("a second one: %v", err)
		}
		time.Sleep(62 * time.Second)
		s.is(t, lambent.RolloutMoving, "6map[7:0.05] 6map[7:0.5]")
		time.Sleep(122 * time.Second)
		v = s.is(t, lambent.RolloutDone, "6map[7:0.05] 6map[7:0.5] 7map[]")
		if len(v.Evidence) != 3 || v.Evidence[1].New.Calls != 50 || v.Evidence[2].Ended.IsZero() {
			t.Errorf("evidence %+v", v.Evidence)
		}
	})
}

// unwell are records that cannot be written for a while, or do not answer.
type unwell struct {
	store.Records
	now, hangs atomic.Bool
}

func (u *unwell) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	if u.hangs.Load() {
		<-ctx.Done()
		return 0, lambent.Errorf(lambent.CodeTimeout, "%w", ctx.Err())
	}
	if u.now.Load() {
		return 0, lambent.Errorf(lambent.CodeUnavailable, "the disk is full")
	}
	return u.Records.Commit(ctx, ops...)
}

// A rollout that was refused does not begin later by itself.
func TestWhatIsNotOnRecordDoesNotMove(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		records := &unwell{Records: s.records}
		s.records = records
		defer s.run(t)()
		records.now.Store(true)
		if _, err := s.Start(t.Context(), wanted()); lambent.CodeOf(err) != lambent.CodeUnavailable {
			t.Fatalf("error %v", err)
		}
		records.now.Store(false)
		time.Sleep(10 * time.Second)
		if all := s.Rollouts(account, "f"); len(all) != 0 || len(s.shelf.moves) != 0 {
			t.Fatalf("%+v, the alias went %v", all, s.shelf.moves)
		}
		if _, err := s.Start(t.Context(), wanted()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Abort(t.Context(), account, "f", "live", "by hand"); err != nil {
			t.Fatal(err)
		}
		records.now.Store(true)
		if _, err := s.Start(t.Context(), wanted()); err == nil {
			t.Fatal("begun without a record")
		}
		s.is(t, lambent.RolloutAborted, "6map[7:0.05] 6map[]") // the one before
	})
}

func TestAStoreThatDoesNotAnswer(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		records := &unwell{Records: s.records}
		records.hangs.Store(true)
		room, err := Open(t.Context(), Options{Records: records, Catalog: s.shelf, Begin: s.begin, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := room.Start(t.Context(), wanted()); err == nil || time.Since(began) > commitTimeout {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

func TestGoesBackByItself(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		defer s.run(t)()
		if _, err := s.Start(t.Context(), wanted()); err != nil {
			t.Fatal(err)
		}
		s.does("7", lambent.RolloutFigures{Calls: 19, Failed: 19})
		time.Sleep(70 * time.Second)
		s.is(t, lambent.RolloutMoving, "6map[7:0.05] 6map[7:0.5]") // too few calls to judge by
		s.does("7", lambent.RolloutFigures{Calls: 100, Failed: 2, P99: 50 * time.Millisecond})
		time.Sleep(2 * time.Second)
		v := s.is(t, lambent.RolloutAborted, "6map[7:0.05] 6map[7:0.5] 6map[]")
		if want := "errors>1%: 2 of 100 calls have failed (2 %), of the old version 1 of 1000 (0.1 %)"; v.Reason != want || v.Evidence[1].Verdict != want {
			t.Errorf("because %q", v.Reason)
		}
		if _, err := s.Abort(t.Context(), account, "f", "live", "by hand"); lambent.CodeOf(err) != lambent.CodeConflict {
			t.Errorf("abort of an ended one: %v", err)
		}
	})
}

func TestSurvivesRestarts(t *testing.T) {
	for _, between := range []bool{false, true} {
		onStage(t, func(t *testing.T, s *stage) {
			stop := s.run(t)
			if _, err := s.Start(t.Context(), wanted()); err != nil {
				t.Fatal(err)
			}
			moves := "6map[7:0.05]"
			if between { // the alias was changed, and the record was not
				s.shelf.mu.Lock()
				s.shelf.crash = true
				s.shelf.mu.Unlock()
				time.Sleep(60*time.Second + time.Millisecond)
				moves += " 6map[7:0.5]"
			} else {
				time.Sleep(30 * time.Second)
			}
			stop()
			time.Sleep(time.Hour)
			defer s.run(t)()
			time.Sleep(2 * time.Second)
			v := s.is(t, lambent.RolloutMoving, moves)
			if len(v.Evidence) != 2 {
				t.Errorf("evidence %+v", v.Evidence)
			}
			time.Sleep(4 * time.Minute)
			s.is(t, lambent.RolloutDone, "6map[7:0.05] 6map[7:0.5] 7map[]")
		})
	}
}

func TestLeavesWhatSomebodyElseChanged(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		defer s.run(t)()
		if _, err := s.Start(t.Context(), wanted()); err != nil {
			t.Fatal(err)
		}
		version, none := "3", map[string]float64{}
		if _, err := s.shelf.UpdateAlias(t.Context(), catalog.UpdateAlias{Version: &version, Weights: &none}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		s.is(t, lambent.RolloutLost, "6map[7:0.05] 3map[]")
		s.shelf.mu.Lock()
		s.shelf.gone = true
		s.shelf.mu.Unlock()
		time.Sleep(2 * time.Second)
		if all := s.Rollouts(account, "f"); len(all) != 0 {
			t.Errorf("of a deleted function: %+v", all)
		}
	})
}

func TestConditions(t *testing.T) {
	was := lambent.RolloutFigures{Calls: 100, Failed: 1, P50: 10 * time.Millisecond, P99: 100 * time.Millisecond}
	for _, c := range []struct {
		text   string
		is     lambent.RolloutFigures
		broken bool
	}{
		{"errors>1%", lambent.RolloutFigures{Calls: 100, Failed: 1}, false},
		{"errors>1%", lambent.RolloutFigures{Calls: 100, Failed: 2}, true},
		{"errors > 2x", lambent.RolloutFigures{Calls: 100, Failed: 3}, true},
		{"p99>2x", lambent.RolloutFigures{Calls: 100, P99: 200 * time.Millisecond}, false},
		{"p99>2x", lambent.RolloutFigures{Calls: 100, P99: 201 * time.Millisecond}, true},
		{"p50>5ms", lambent.RolloutFigures{Calls: 100, P50: 6 * time.Millisecond}, true},
		{"p95>2x", lambent.RolloutFigures{Calls: 100, P95: time.Hour}, false}, // the old version shows none
	} {
		x, err := parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.broken(was, c.is); (got != "") != c.broken {
			t.Errorf("%s with %+v: %q", c.text, c.is, got)
		}
	}
	for _, wrong := range []string{"", "errors", "errors>", "errors>x", "errors>-1%", "errors>200%", "p99>1%", "p98>2x", "p99>0.5x", "p99>0s", "errors>NaN%"} {
		if _, err := parse(wrong); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"errors>1%", "p99>2x", "p50 > 80ms"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(text)
		if err == nil && c.share == 0 && c.most == 0 && c.times == 0 && !strings.Contains(text, "0") {
			t.Errorf("%q limits nothing", text)
		}
	})
}
