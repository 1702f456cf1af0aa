package trigger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/telemetry"
)

const (
	ns     = "000000000000"
	region = "us-east-1"
)

// shelf is a catalog of functions that exist when their name does not begin with
// "no".
type shelf struct{}

func (shelf) Get(namespace, function, _ string) (catalog.Entry, error) {
	if strings.HasPrefix(function, "no") {
		return catalog.Entry{}, lambent.Errorf(lambent.CodeNotFound, "Function not found: %s", function)
	}
	return catalog.Entry{
		Function: &lambent.Function{Namespace: namespace, Name: function},
		Version:  &lambent.Version{Namespace: namespace, Function: function, Number: lambent.Latest},
	}, nil
}

func (shelf) EventConfigOf(_, _, _ string) *lambent.EventConfig { return nil }

// rig is a room over a store that outlives it. Calls are kept and not run.
type rig struct {
	*Room
	t       *testing.T
	store   store.Store
	records store.Records // that the room writes to, if not the store
	queue   Queue
	shared  bool // there are other servers
	may     func(*lambent.Schedule) error
	trusts  func(*lambent.Schedule) bool
	metrics *telemetry.Metrics
	log     bytes.Buffer
	end     func()
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, store: store.NewMemory(), metrics: telemetry.NewMetrics()}
	r.records = r.store
	r.queue = async.New(async.Options{Jobs: r.store, Catalog: shelf{}, Region: region})
	r.start()
	return r
}

// start opens the room and runs it, as a server that starts does.
func (r *rig) start() {
	r.t.Helper()
	room, err := Open(r.t.Context(), Options{
		Records: r.records, Queue: r.queue, Region: region, Alone: !r.shared, May: r.may, Trusts: r.trusts, Metrics: r.metrics,
		Log: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- room.Run(ctx) }() // waited for by end
	r.Room = room
	r.end = func() {
		stop()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

func target(function string) string { return lambent.FunctionARN(region, ns, function, "") }

// make creates a schedule of the function f.
func (r *rig) make(name, expression string, edit ...func(*lambent.Schedule)) {
	r.t.Helper()
	s := lambent.Schedule{Namespace: ns, Name: name, Expression: expression, Target: target("f"), MaxRetries: lambent.MaxScheduleRetries}
	for _, e := range edit {
		e(&s)
	}
	if _, err := r.Create(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

// calls are the payloads that were handed over, the oldest first.
func (r *rig) calls() []string {
	r.t.Helper()
	var out []string
	for j, err := range r.store.FindJobs(r.t.Context(), store.JobQuery{Kind: async.KindEvent, Limit: 1000}) {
		if err != nil {
			r.t.Fatal(err)
		}
		whole, err := r.store.Job(r.t.Context(), j.ID)
		if err != nil {
			r.t.Fatal(err)
		}
		_, payload, _ := strings.Cut(string(whole.Body), "\n")
		out = append(out, payload)
	}
	slices.Reverse(out)
	return out
}

// times are the scheduled times of the calls.
func (r *rig) times() []string {
	r.t.Helper()
	var out []string
	for _, c := range r.calls() {
		var e scheduledEvent
		if err := json.Unmarshal([]byte(c), &e); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, strings.TrimPrefix(e.Time, "2000-01-"))
	}
	return out
}

func (r *rig) want(got []string, want ...string) {
	r.t.Helper()
	if !slices.Equal(got, want) {
		r.t.Errorf("calls %q, want %q", got, want)
	}
}

func (r *rig) counted(metric string) bool {
	w := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return strings.Contains(w.Body.String(), metric+"\n")
}

// inTime runs a test in a bubble, whose clock begins with the year 2000.
func inTime(t *testing.T, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		test(t, r)
		r.end()
	})
}

func TestSchedulesFireAtTheirTimes(t *testing.T) {
	for _, c := range []struct {
		name, expression string
		edit             func(*lambent.Schedule)
		during           time.Duration
		want             []string
	}{
		{"cron", "cron(0/20 * * * ? *)", nil, time.Hour, []string{"01T00:00:00Z", "01T00:20:00Z", "01T00:40:00Z"}},
		{"rate", "rate(5 minutes)", nil, 11 * time.Minute, []string{"01T00:00:00Z", "01T00:05:00Z", "01T00:10:00Z"}},
		{"at", "at(2000-01-01T02:00:00)", func(s *lambent.Schedule) { s.Timezone = "Europe/Berlin" }, 3 * time.Hour, []string{"01T01:00:00Z"}},
		{"past", "at(1999-01-01T02:00:00)", nil, time.Hour, nil},
		{"disabled", "rate(1 minute)", func(s *lambent.Schedule) { s.Disabled = true }, time.Hour, nil},
		{"bounded", "rate(1 hour)", func(s *lambent.Schedule) {
			s.Start, s.End = time.Now().Add(30*time.Minute), time.Now().Add(150*time.Minute)
		}, 5 * time.Hour, []string{"01T00:30:00Z", "01T01:30:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, r *rig) {
				edit := c.edit
				if edit == nil {
					edit = func(*lambent.Schedule) {}
				}
				r.make(c.name, c.expression, edit)
				time.Sleep(c.during - time.Second)
				synctest.Wait()
				r.want(r.times(), c.want...)
			})
		})
	}
}

func TestEvents(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.make("own", "at(2000-01-01T00:00:05)", func(s *lambent.Schedule) {
			s.Input = `{"arn":"<aws.scheduler.schedule-arn>","at":"<aws.scheduler.scheduled-time>","n":<aws.scheduler.attempt-number>}`
		})
		r.make("plain", "at(2000-01-01T00:00:10)")
		time.Sleep(time.Minute)
		calls := r.calls()
		if len(calls) != 2 {
			t.Fatalf("calls: %q", calls)
		}
		arn := "arn:aws:scheduler:us-east-1:000000000000:schedule/default/"
		if want := `{"arn":"` + arn + `own","at":"2000-01-01T00:00:05Z","n":1}`; calls[0] != want {
			t.Errorf("event %s, want %s", calls[0], want)
		}
		var e scheduledEvent
		if err := json.Unmarshal([]byte(calls[1]), &e); err != nil || e.Source != "aws.scheduler" || e.DetailType != "Scheduled Event" ||
			e.Account != ns || !slices.Equal(e.Resources, []string{arn + "plain"}) || e.ID == "" {
			t.Errorf("event %s: %v", calls[1], err)
		}
		if !r.counted(`lambent_schedule_firings_total{namespace="000000000000",outcome="done"} 2`) {
			t.Error("the calls are not counted")
		}
	})
}

// The one window of a schedule is the same for all its times and leaves none out.
func TestFlexibleWindow(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.make("wide", "cron(0 * * * ? *)", func(s *lambent.Schedule) { s.Flexible = 30 * time.Minute })
		offset := r.of[keyIn(ns, "", "wide")].plan.offset
		if offset <= 0 || offset >= 30*time.Minute {
			t.Fatalf("the call comes %v after its time", offset)
		}
		time.Sleep(offset - time.Second)
		synctest.Wait()
		r.want(r.times())
		time.Sleep(3*time.Hour + time.Minute)
		synctest.Wait()
		r.want(r.times(), "01T00:00:00Z", "01T01:00:00Z", "01T02:00:00Z", "01T03:00:00Z")
	})
}

// A server that was down calls for the last of the times that it has missed, unless
// that is too long ago.
func TestMissedTimes(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.make("often", "cron(0 * * * ? *)")
		r.make("once", "at(2000-01-01T03:30:00)")
		r.make("young", "cron(30 1 * * ? *)", func(s *lambent.Schedule) { s.MaxAge = time.Hour })
		r.end()
		time.Sleep(5*time.Hour + time.Minute)
		r.start()
		synctest.Wait()
		got := r.times()
		slices.Sort(got)
		r.want(got, "01T00:00:00Z", "01T03:30:00Z", "01T05:00:00Z")
		if !r.counted(`lambent_schedule_firings_total{namespace="000000000000",outcome="missed"} 1`) || !strings.Contains(r.log.String(), "missed") {
			t.Error("what was missed is not told")
		}
		r.end()
		r.start()
		time.Sleep(time.Minute)
		if n := len(r.calls()); n != 3 {
			t.Errorf("%d calls after another start, want 3", n)
		}
	})
}

// failing are records that take no marks, as if the server ended before it wrote one.
type failing struct{ store.Store }

func (f failing) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	for _, op := range ops {
		if strings.HasPrefix(op.Key, "fired/") {
			return 0, errors.New("the server has ended")
		}
	}
	return f.Store.Commit(ctx, ops...)
}

func TestUnmarkedCallIsNotMadeTwice(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.end()
		r.records = failing{r.store}
		r.start()
		r.make("hourly", "cron(0 * * * ? *)")
		r.make("gone", "at(2000-01-01T01:00:00)", func(s *lambent.Schedule) { s.DeleteAfter = true })
		time.Sleep(61 * time.Minute)
		r.end()
		r.want(r.times(), "01T00:00:00Z", "01T01:00:00Z", "01T01:00:00Z")
		r.records = r.store
		r.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		r.want(r.times(), "01T00:00:00Z", "01T01:00:00Z", "01T01:00:00Z")
		if _, err := r.Schedule(ns, "", "gone"); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("the schedule is there after its last call: %v", err)
		}
	})
}

func TestFailureIsSeen(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.make("lost", "at(2000-01-01T00:00:05)", func(s *lambent.Schedule) {
			s.Target, s.DeadLetter = target("nothing"), "arn:aws:sqs:us-east-1:000000000000:dead"
		})
		time.Sleep(time.Hour)
		r.failed()
	})
}

// failed checks that one schedule has failed, and where it is told.
func (r *rig) failed() {
	r.t.Helper()
	if !r.counted(`lambent_schedule_firings_total{namespace="000000000000",outcome="failed"} 1`) || !strings.Contains(r.log.String(), "schedule failed") {
		r.t.Errorf("the failure is not told: %s", r.log.String())
	}
	var letters []store.Job
	for j, err := range r.store.FindJobs(r.t.Context(), store.JobQuery{Kind: async.KindDestination}) {
		if err != nil {
			r.t.Fatal(err)
		}
		letters = append(letters, j)
	}
	if len(letters) != 1 || letters[0].Error != "NoDeliverer" {
		r.t.Errorf("letters: %+v", letters)
	}
}

// mute is a store that does what it is asked for and does not say so.
type mute struct {
	store.Store
	lost *atomic.Bool
}

func (m mute) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	rev, err := m.Store.Commit(ctx, ops...)
	if err == nil && m.lost.Load() {
		return 0, errors.New("the answer is lost")
	}
	return rev, err
}

// What was written without an answer is known all the same, of groups too.
func TestAnswerOfTheStoreIsLost(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.end()
		var lost atomic.Bool
		r.records = mute{r.store, &lost}
		r.start()
		group := lambent.ScheduleGroup{Namespace: ns, Name: "team"}
		unavailable := func(what string, err error) {
			t.Helper()
			if lambent.CodeOf(err) != lambent.CodeUnavailable {
				t.Errorf("%s: %v", what, err)
			}
		}
		lost.Store(true)
		_, err := r.CreateGroup(t.Context(), group)
		unavailable("made", err)
		if _, err := r.Group(ns, "team"); err != nil {
			t.Errorf("the group that was made: %v", err)
		}
		lost.Store(false)
		r.make("hourly", "rate(1 hour)", func(s *lambent.Schedule) { s.Group = "team" })
		time.Sleep(time.Minute)
		lost.Store(true)
		unavailable("deleted", r.DeleteGroup(t.Context(), ns, "team"))
		if _, err := r.Group(ns, "team"); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("the group that was deleted: %v", err)
		}
		lost.Store(false)
		time.Sleep(time.Hour)
		r.want(r.times(), "01T00:00:00Z")
	})
}

// The inputs of a namespace have a bound, whatever becomes of its schedules.
func TestInputsAreBounded(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		s := lambent.Schedule{Namespace: ns, Expression: "rate(1 hour)", Target: target("f"), Disabled: true}
		large := strconv.Quote(strings.Repeat("x", lambent.MaxAsyncPayload-2))
		full := func(err error) {
			t.Helper()
			if lambent.ReasonOf(err) != "Quota" {
				t.Errorf("beyond the bound: %v", err)
			}
		}
		n := maxInputs / len(large)
		for i := range n {
			s.Name, s.Input = strconv.Itoa(i), large
			if _, err := r.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		s.Name = "small"
		_, err := r.Create(t.Context(), s)
		full(err)
		s.Input = ""
		if _, err = r.Create(t.Context(), s); err != nil {
			t.Error(err)
		}
		s.Input = large
		_, err = r.Update(t.Context(), s)
		full(err)
		if err := r.Delete(t.Context(), ns, "", "0"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // it takes its own place
			if _, err = r.Update(t.Context(), s); err != nil {
				t.Error(err)
			}
		}
	})
}

// between is a store that does something before a schedule is written.
type between struct {
	store.Store
	do func()
}

func (b between) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	if strings.HasPrefix(ops[0].Key, "schedule/") && !ops[0].Delete {
		b.do()
	}
	return b.Store.Commit(ctx, ops...)
}

// A schedule does not outlive its group that is deleted while it is made.
func TestGroupGoesMeanwhile(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.end()
		r.records = between{r.store, func() {
			if err := r.DeleteGroup(t.Context(), ns, "team"); err != nil {
				t.Error(err)
			}
		}}
		r.start()
		if _, err := r.CreateGroup(t.Context(), lambent.ScheduleGroup{Namespace: ns, Name: "team"}); err != nil {
			t.Fatal(err)
		}
		s := lambent.Schedule{Namespace: ns, Group: "team", Name: "late", Expression: "at(2000-01-01T01:00:00)", Target: target("f")}
		if _, err := r.Create(t.Context(), s); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("made in a group that is gone: %v", err)
		}
		time.Sleep(2 * time.Hour)
		r.want(r.times())
	})
}

// A clock that was far ahead, and was set back, keeps no schedule from its times: neither
// while the server runs nor after it has started again.
func TestClockIsSetBack(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.make("hourly", "rate(1 hour)")
		time.Sleep(time.Minute)
		r.want(r.times(), "01T00:00:00Z")
		ahead := time.Now().Add(10 * 365 * 24 * time.Hour).Round(0)
		r.mu.Lock()
		e := r.of[key{ns, lambent.DefaultGroup, "hourly"}]
		e.fired, e.at, r.seen = ahead, ahead.Add(time.Hour), ahead // as if that had been its time
		r.Room.queue.put(e)
		r.mu.Unlock()
		time.Sleep(time.Hour)
		r.want(r.times(), "01T00:00:00Z", "01T01:00:00Z")
		r.end()
		mark := store.Op{Key: key{ns, lambent.DefaultGroup, "hourly"}.mark(), Value: []byte(ahead.UTC().Format(time.RFC3339))}
		if _, err := r.store.Commit(t.Context(), mark); err != nil {
			t.Fatal(err)
		}
		r.start()
		time.Sleep(time.Hour)
		r.want(r.times(), "01T00:00:00Z", "01T01:00:00Z", "01T02:00:00Z")
	})
}

// A role that does not let the scheduler have it is refused when a schedule gets it.
func TestRoleThatLetsNobody(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.end()
		const closed = "arn:aws:iam::" + ns + ":role/closed"
		r.trusts = func(s *lambent.Schedule) bool {
			if s.Group != lambent.DefaultGroup {
				t.Errorf("asked for the group %q", s.Group)
			}
			return s.Role != closed
		}
		r.start()
		r.make("clerk", "rate(1 hour)")
		s, err := r.Schedule(ns, "", "clerk")
		if err != nil {
			t.Fatal(err)
		}
		changed := *s
		changed.Role, changed.Group = closed, ""
		_, err = r.Update(t.Context(), changed)
		if lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), "must allow AWS EventBridge Scheduler to assume the role") {
			t.Errorf("changed: %v", err)
		}
		changed.Name = "another"
		if _, err = r.Create(t.Context(), changed); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("made: %v", err)
		}
	})
}

// What a schedule's role allows is asked when it is due, not when it is made.
func TestRoleIsAsked(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.end()
		var denied atomic.Bool
		r.may = func(*lambent.Schedule) error {
			if denied.Load() {
				return lambent.Errorf(lambent.CodeDenied, "the role does not let it")
			}
			return nil
		}
		r.start()
		r.make("clerk", "rate(1 hour)", func(s *lambent.Schedule) { s.DeadLetter = "arn:aws:sqs:us-east-1:000000000000:dead" })
		time.Sleep(time.Minute)
		denied.Store(true)
		time.Sleep(time.Hour)
		r.want(r.times(), "01T00:00:00Z")
		r.failed()
		if !strings.Contains(r.log.String(), "the role does not let it") {
			t.Errorf("the log does not say why: %s", r.log.String())
		}
	})
}

// busy is a queue that refuses so many calls.
type busy struct {
	Queue
	left int
}

func (b *busy) Accept(ctx context.Context, q async.Request) (string, bool, error) {
	if b.left--; b.left >= 0 {
		return "", false, lambent.Errorf(lambent.CodeUnavailable, "too many events wait")
	}
	return b.Queue.Accept(ctx, q)
}

func TestHandOverIsTriedAgain(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		r.end()
		r.queue = &busy{r.queue, 3}
		r.start()
		r.make("patient", "at(2000-01-01T00:00:05)", func(s *lambent.Schedule) { s.Input = `<aws.scheduler.attempt-number>` })
		time.Sleep(5*time.Second + 6*time.Second)
		r.want(r.calls())
		time.Sleep(2 * time.Second)
		r.want(r.calls(), "4")

		r.queue.(*busy).left = 3
		r.make("impatient", "at(2000-01-01T01:00:05)", func(s *lambent.Schedule) { s.MaxRetries = 1 })
		time.Sleep(2 * time.Hour)
		r.want(r.calls(), "4")
		if !r.counted(`lambent_schedule_firings_total{namespace="000000000000",outcome="failed"} 1`) {
			t.Error("the failure is not counted")
		}
	})
}

func TestChanges(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		r.make("s", "rate(1 hour)")
		time.Sleep(30 * time.Minute)
		s, err := r.Schedule(ns, "", "s")
		if err != nil {
			t.Fatal(err)
		}
		change := func(edit func(*lambent.Schedule)) {
			t.Helper()
			next := *s
			edit(&next)
			if s, err = r.Update(ctx, next); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		change(func(s *lambent.Schedule) { s.Description = "another text changes no time" })
		r.want(r.times(), "01T00:00:00Z")
		change(func(s *lambent.Schedule) { s.Disabled = true })
		time.Sleep(2 * time.Hour)
		change(func(s *lambent.Schedule) { s.Disabled = false })
		r.want(r.times(), "01T00:00:00Z", "01T02:30:00Z")
		change(func(s *lambent.Schedule) { s.Expression = "cron(45 * * * ? *)" })
		if next, last := r.Times(ns, "", "s", 2); len(next) != 2 || !next[1].Equal(time.Date(2000, 1, 1, 3, 45, 0, 0, time.UTC)) || last.IsZero() {
			t.Errorf("times %v, the last %v", next, last)
		}
		soon := r.Soon(time.Now(), time.Now().Add(time.Hour))
		if len(soon) != 1 || soon[0].Function != "f" || !soon[0].At.Equal(time.Date(2000, 1, 1, 2, 45, 0, 0, time.UTC)) {
			t.Errorf("soon: %+v", soon)
		}
		if err := r.Delete(ctx, ns, "", "s"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.want(r.times(), "01T00:00:00Z", "01T02:30:00Z")
		if err := r.Delete(ctx, ns, "", "s"); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("delete what is not there: %v", err)
		}
	})
}

func TestGroups(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		g := lambent.ScheduleGroup{Namespace: ns, Name: "night", Tags: map[string]string{"a": "1"}, Token: "t"}
		if _, err := r.CreateGroup(ctx, g); err != nil {
			t.Fatal(err)
		}
		if _, err := r.CreateGroup(ctx, g); err != nil {
			t.Errorf("the same request again: %v", err)
		}
		g.Token = "other"
		if _, err := r.CreateGroup(ctx, g); lambent.CodeOf(err) != lambent.CodeConflict {
			t.Errorf("another request: %v", err)
		}
		if err := r.Tag(ctx, ns, "night", map[string]string{"b": "2"}, []string{"a"}); err != nil {
			t.Fatal(err)
		}
		r.make("s", "rate(1 hour)", func(s *lambent.Schedule) { s.Group = "night" })
		r.make("s", "rate(1 hour)")
		r.end()
		r.start()
		if got, err := r.Group(ns, "night"); err != nil || len(got.Tags) != 1 || got.Tags["b"] != "2" {
			t.Errorf("group %+v, %v", got, err)
		}
		if err := r.DeleteGroup(ctx, ns, "night"); err != nil {
			t.Fatal(err)
		}
		if left := r.Schedules(ns, "", ""); len(left) != 1 || left[0].Group != lambent.DefaultGroup {
			t.Errorf("schedules: %+v", left)
		}
		if err := r.DeleteGroup(ctx, ns, lambent.DefaultGroup); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("delete the default group: %v", err)
		}
		_, err := r.Create(ctx, lambent.Schedule{Namespace: ns, Group: "night", Name: "x", Expression: "rate(1 hour)", Target: target("f")})
		if lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("create in no group: %v", err)
		}
	})
}

func TestRefused(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		for what, edit := range map[string]func(*lambent.Schedule){
			"name":       func(s *lambent.Schedule) { s.Name = "a/b" },
			"expression": func(s *lambent.Schedule) { s.Expression = "rate(1 minutes)" },
			"plain cron": func(s *lambent.Schedule) { s.Expression = "0 9 * * 1-5" },
			"zone":       func(s *lambent.Schedule) { s.Timezone = "Mars/Olympus" },
			"host zone":  func(s *lambent.Schedule) { s.Timezone = "Local" },
			"queue":      func(s *lambent.Schedule) { s.Target = "arn:aws:sqs:us-east-1:000000000000:q" },
			"bare name":  func(s *lambent.Schedule) { s.Target = "f" },
			"account":    func(s *lambent.Schedule) { s.Target = lambent.FunctionARN(region, "111111111111", "f", "") },
			"region":     func(s *lambent.Schedule) { s.Target = lambent.FunctionARN("eu-west-1", ns, "f", "") },
			"input":      func(s *lambent.Schedule) { s.Input = "{" },
			"role":       func(s *lambent.Schedule) { s.Role = "me" },
			"retries":    func(s *lambent.Schedule) { s.MaxRetries = 186 },
			"age":        func(s *lambent.Schedule) { s.MaxAge = time.Second },
			"window":     func(s *lambent.Schedule) { s.Flexible = 25 * time.Hour },
			"letter":     func(s *lambent.Schedule) { s.DeadLetter = "arn:aws:sns:us-east-1:000000000000:t" },
			"start":      func(s *lambent.Schedule) { s.Start = time.Now().Add(-time.Hour) },
			"end":        func(s *lambent.Schedule) { s.Start, s.End = time.Now(), time.Now() },
		} {
			s := lambent.Schedule{Namespace: ns, Name: "s", Expression: "rate(1 hour)", Target: target("f")}
			edit(&s)
			if _, err := r.Create(t.Context(), s); lambent.CodeOf(err) != lambent.CodeInvalid {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// Thousands of schedules that are far off cost their server nothing, and those that
// come due together are all called.
func TestManySchedules(t *testing.T) {
	inTime(t, func(t *testing.T, r *rig) {
		const many = 2000
		for i := range many {
			s := lambent.Schedule{Namespace: ns, Name: "s" + strconv.Itoa(i), Expression: "at(2000-01-02T00:00:00)", Target: target("f"), DeleteAfter: i%2 == 0}
			if _, err := r.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if !r.counted(`lambent_schedule_firings_total{namespace="000000000000",outcome="done"} 2000`) {
			t.Error("some were not called")
		}
		if left := len(r.Schedules(ns, "", "")); left != many/2 {
			t.Errorf("%d schedules are left, want %d", left, many/2)
		}
	})
}
