package async

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/store"
)

const (
	ns     = "000000000000"
	region = "us-east-1"
)

// shelf is a catalog of functions that exist when their name does not begin with
// "no".
type shelf struct {
	mu       sync.Mutex // guards the rest
	events   map[string]*lambent.EventConfig
	settings lambent.Settings
	extra    map[string][]byte
	reserved *int
}

func (c *shelf) Get(ns, fn, qualifier string) (catalog.Entry, error) {
	if len(fn) > 1 && fn[:2] == "no" {
		return catalog.Entry{}, lambent.Errorf(lambent.CodeNotFound, "Function not found: %s", fn)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return catalog.Entry{
		Function: &lambent.Function{Namespace: ns, Name: fn, Settings: c.settings, Reserved: c.reserved},
		Version:  &lambent.Version{Namespace: ns, Function: fn, Number: lambent.Latest, Extra: c.extra},
	}, nil
}

func (c *shelf) EventConfigOf(_, fn, qualifier string) *lambent.EventConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[fn+":"+qualifier]
}

func (c *shelf) configure(fn string, e lambent.EventConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.events == nil {
		c.events = map[string]*lambent.EventConfig{}
	}
	c.events[fn+":"+lambent.Latest] = &e
}

// spine runs calls by a script and counts them.
type spine struct {
	script func(ctx context.Context, inv *lambent.Invocation, n int) (*lambent.Result, error)

	mu    sync.Mutex // guards the rest
	calls map[string]int
	order []string
	ended map[string]int // calls that the script has answered well
}

func (s *spine) Invoke(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	s.mu.Lock()
	if s.calls == nil {
		s.calls, s.ended = map[string]int{}, map[string]int{}
	}
	s.calls[inv.RequestID]++
	n := s.calls[inv.RequestID]
	s.order = append(s.order, string(inv.Payload))
	s.mu.Unlock()
	res, err := s.script(ctx, inv, n)
	if err == nil && res.FunctionError == "" {
		s.mu.Lock()
		s.ended[inv.RequestID]++
		s.mu.Unlock()
	}
	return res, err
}

func (s *spine) called(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[id]
}

// ran is the order in which calls have begun, the oldest first.
func (s *spine) ran() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

func answer(text string) *lambent.Result {
	return &lambent.Result{ExecutedVersion: lambent.Latest, Payload: []byte(text), Report: lambent.Report{Duration: time.Millisecond, Instance: "i-1"}}
}

func failure(typ, message string) *lambent.Result {
	b, _ := json.Marshal(map[string]string{"errorType": typ, "errorMessage": message})
	return &lambent.Result{ExecutedVersion: lambent.Latest, Payload: b, FunctionError: "Unhandled", LogTail: []byte("log\n")}
}

// works answers what it gets.
func works(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
	time.Sleep(time.Millisecond)
	return answer(string(inv.Payload)), nil
}

type rig struct {
	*Service
	t     *testing.T
	store *store.Memory
	shelf *shelf
	spine *spine
	end   func()
}

// newRig starts a room; it ends with the test, or by end.
func newRig(t *testing.T, script func(context.Context, *lambent.Invocation, int) (*lambent.Result, error), edit func(*Options)) *rig {
	r := &rig{t: t, store: store.NewMemory(), shelf: &shelf{}, spine: &spine{script: script}}
	o := Options{Jobs: r.store, Invoker: r.spine, Catalog: r.shelf, Region: region, Alone: true, Operator: ns, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if edit != nil {
		edit(&o)
	}
	r.Service = New(o)
	r.run()
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(r.end)
}

func (r *rig) accept(fn, payload string, edit ...func(*Request)) string {
	r.t.Helper()
	q := Request{Invocation: &lambent.Invocation{Namespace: ns, Function: fn, Payload: []byte(payload), Source: "test"}}
	for _, e := range edit {
		e(&q)
	}
	id, _, err := r.Accept(context.Background(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// wait returns the call when it has ended.
func (r *rig) wait(id string) *Object {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	o, err := r.Wait(ctx, ns, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) want(id string, status store.JobStatus) *Object {
	r.t.Helper()
	o := r.wait(id)
	if o.Status != status {
		r.t.Fatalf("%s is %s with %q, want %s; attempts %+v", id, o.Status, o.Error, status, o.Attempts)
	}
	return o
}

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}
