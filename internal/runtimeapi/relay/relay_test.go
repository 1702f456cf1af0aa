package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rig is a relay with a listener in the instance, in a bubble of synctest.
type rig struct {
	*testing.T
	r *Relay

	mu     sync.Mutex // guards the rest
	refuse int        // how many connections are refused
	status int        // what the listener answers; 0 is 200
	stall  chan struct{}
	paths  []string
	got    [][]event
	ports  []int
}

type event struct {
	Time   string          `json:"time"`
	Type   string          `json:"type"`
	Record json.RawMessage `json:"record"`
}

func newRig(t *testing.T, budget *Budget) *rig {
	g := &rig{T: t}
	g.r = New(Options{Dial: g.dial, Reserved: 9001, Budget: budget})
	return g
}

func (g *rig) dial(_ context.Context, port int) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ports = append(g.ports, port)
	if g.refuse > 0 {
		g.refuse--
		return nil, errors.New("refused")
	}
	ours, theirs := net.Pipe()
	go g.serve(theirs)
	return ours, nil
}

// serve answers one request, or takes lines.
func (g *rig) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for first, err := in.Peek(1); err == nil && first[0] == '{'; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			g.Errorf("a line %q", line)
		}
		g.took("", []event{e})
	}
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	g.mu.Lock()
	status, stall := g.status, g.stall
	g.mu.Unlock()
	if stall != nil {
		<-stall
	}
	var batch []event
	if err := json.Unmarshal(body, &batch); err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		g.Errorf("%s %v, body %.100q: %v", req.Method, req.Header, body, err)
	}
	if status == 0 {
		status = http.StatusOK
		g.took(req.Host+req.URL.String(), batch)
	}
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status)
}

func (g *rig) took(path string, batch []event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paths, g.got = append(g.paths, path), append(g.got, batch)
}

// batches are the types of the events of each delivery so far.
func (g *rig) batches() string {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for _, b := range g.got {
		var types []string
		for _, e := range b {
			types = append(types, strings.TrimPrefix(e.Type, "platform."))
		}
		all = append(all, strings.Join(types, " "))
	}
	return strings.Join(all, " | ")
}

func (g *rig) subscribe(name, types, more string) {
	g.Helper()
	body := `{"schemaVersion":"2022-12-13","types":[` + types + `],"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:4243/in?x=1"}` + more + `}`
	if _, refused := g.r.Subscribe(Telemetry, name, []byte(body)); refused != nil {
		g.Fatalf("subscribe: %+v", refused)
	}
}

func (g *rig) add(kind Kind, name string) { g.r.Add(kind, Encode(time.Now(), name, struct{}{})) }

// buffered is what the first subscriber has not been given.
func (g *rig) buffered() (held, lost int) {
	s := g.r.subscribers[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held), s.lost
}

func (g *rig) want(want string) {
	g.Helper()
	if got := g.batches(); got != want {
		g.Errorf("delivered %q, want %q", got, want)
	}
}

// bubble runs f in a bubble of synctest, with what it starts ended before that does.
func bubble(t *testing.T, budget *Budget, f func(g *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, budget)
		defer g.r.Close()
		f(g)
	})
}

func TestBatches(t *testing.T) {
	bubble(t, nil, func(g *rig) {
		g.add(Platform, "platform.initStart")
		g.add(Function, "function") // nobody will have asked for it
		first, refused := g.r.Subscribe(Telemetry, "a", []byte(`{"schemaVersion":"2022-07-01","types":["platform","extension"],"destination":{"protocol":"HTTP","URI":"http://sandbox:4243"}}`))
		if !first || refused != nil {
			g.Errorf("first %v, refused %+v", first, refused)
		}
		time.Sleep(999 * time.Millisecond)
		g.want("")
		time.Sleep(time.Millisecond)
		g.want("initStart telemetrySubscription")
		g.add(Extension, "extension")
		time.Sleep(500 * time.Millisecond)
		g.add(Platform, "platform.start")
		time.Sleep(500 * time.Millisecond) // counted from the first event
		g.want("initStart telemetrySubscription | extension start")
		g.r.Seal()
		g.add(Platform, "platform.report")
		ctx, cancel := context.WithTimeout(g.Context(), time.Second)
		defer cancel()
		began := time.Now()
		g.r.Flush(ctx)
		if took := time.Since(began); took != 0 {
			g.Errorf("a flush took %s", took)
		}
		g.want("initStart telemetrySubscription | extension start | report")
		g.r.Flush(ctx) // of nothing
		if _, refused := g.r.Subscribe(Telemetry, "late", []byte(`{}`)); refused == nil || refused.Status != 403 || refused.Type != "Telemetry.SubscriptionClosed" {
			g.Errorf("a late subscription: %+v", refused)
		}
	})
}

// A second subscription of the same extension changes the first.
func TestSubscribeAgain(t *testing.T) {
	bubble(t, nil, func(g *rig) {
		g.subscribe("a", `"platform","function"`, "")
		g.subscribe("a", `"platform"`, `,"buffering":{"timeoutMs":25}`)
		g.add(Function, "function")
		time.Sleep(25 * time.Millisecond)
		g.want("telemetrySubscription telemetrySubscription")
		if !strings.Contains(string(g.got[0][1].Record), `"state":"Already subscribed","types":["platform"]`) {
			g.Errorf("told of the second: %s", g.got[0][1].Record)
		}
		if want := "sandbox.localdomain:4243/in?x=1"; g.paths[0] != want {
			g.Errorf("delivered to %q, want %q", g.paths[0], want)
		}
	})
}

func TestNobodyListens(t *testing.T) {
	bubble(t, nil, func(g *rig) {
		if !g.r.Wanted() {
			g.Error("nothing is wanted before the end of the initialisation")
		}
		g.r.Seal()
		if g.r.Wanted() {
			g.Error("events are wanted although nobody has subscribed")
		}
		g.add(Platform, "platform.start")
		g.r.Flush(g.Context())
		if allocs := testing.AllocsPerRun(100, func() { g.r.Add(Platform, nil) }); allocs != 0 {
			g.Errorf("an event for nobody allocates %v times", allocs)
		}
	})
}

// A listener that is not there yet, or has trouble, gets the batch later.
func TestRetry(t *testing.T) {
	bubble(t, nil, func(g *rig) {
		g.refuse = 2
		g.subscribe("a", `"platform"`, "")
		time.Sleep(time.Second + 299*time.Millisecond)
		g.want("")
		g.mu.Lock()
		g.status = 500
		g.mu.Unlock()
		time.Sleep(time.Millisecond)
		g.want("")
		g.mu.Lock()
		g.status = 0
		g.mu.Unlock()
		time.Sleep(400 * time.Millisecond)
		g.want("telemetrySubscription")
	})
}

// One that never comes loses events, is told how many when it does, and costs a
// bounded amount of memory meanwhile.
func TestDropped(t *testing.T) {
	budget := NewBudget(10 << 20)
	bubble(t, budget, func(g *rig) {
		g.refuse = 1 << 30
		g.subscribe("a", `"platform","function"`, `,"buffering":{"maxItems":1000}`)
		lost := len(Encode(time.Now(), "platform.telemetrySubscription", struct {
			Name  string   `json:"name"`
			State string   `json:"state"`
			Types []string `json:"types"`
		}{"a", "Subscribed", []string{"platform", "function"}}))
		time.Sleep(10 * time.Second) // the first batch is given up
		for range 5000 {
			g.add(Function, "function")
			lost += len(Encode(time.Now(), "function", struct{}{}))
		}
		synctest.Wait()
		if held, lost := g.buffered(); held > 2000 {
			g.Errorf("%d held, %d lost", held, lost)
		}
		time.Sleep(10 * time.Second)
		g.mu.Lock()
		g.refuse = 0
		g.mu.Unlock()
		time.Sleep(10 * time.Second)
		g.add(Platform, "platform.start")
		time.Sleep(time.Second)
		synctest.Wait()
		told, n := 0, 0
		for _, b := range g.got {
			for _, e := range b {
				var r struct{ DroppedRecords, DroppedBytes int }
				if e.Type == "platform.logsDropped" && json.Unmarshal(e.Record, &r) == nil {
					told += r.DroppedRecords
					lost -= r.DroppedBytes
				} else {
					n++
					lost -= len(Encode(time.Now(), e.Type, struct{}{}))
				}
			}
		}
		lost += len(Encode(time.Now(), "platform.start", struct{}{}))
		if told+n != 5000+2 || told < 1000 || lost != 0 {
			g.Errorf("%d events came and %d were dropped, of 5002; %d bytes are missing", n, told, lost)
		}
		g.r.Close()
		if left := budget.left.Load(); left != 10<<20 {
			g.Errorf("%d bytes of the budget are left", left)
		}
	})
}

func TestBudget(t *testing.T) {
	budget := NewBudget(300)
	bubble(t, budget, func(g *rig) {
		g.subscribe("a", `"function"`, "")
		for range 10 {
			g.add(Function, "function")
		}
		if held, lost := g.buffered(); held >= 10 || held+lost != 10 {
			g.Errorf("%d held, %d lost", held, lost)
		}
		g.r.Flush(g.Context())
		if left := budget.left.Load(); left != 300 {
			g.Errorf("%d bytes of the budget are left", left)
		}
	})
}

// While the instance is frozen nothing is sent; what came meanwhile goes out after it.
func TestPause(t *testing.T) {
	bubble(t, nil, func(g *rig) {
		g.subscribe("a", `"platform"`, "")
		g.r.Pause(g.Context())
		g.want("telemetrySubscription")
		g.add(Platform, "platform.report")
		time.Sleep(time.Hour)
		g.want("telemetrySubscription")
		g.r.Resume()
		g.want("telemetrySubscription | report")

		// A listener that hangs does not hold up the freezing.
		g.mu.Lock()
		g.stall = make(chan struct{})
		g.mu.Unlock()
		g.add(Platform, "platform.start")
		ctx, cancel := context.WithTimeout(g.Context(), time.Second)
		defer cancel()
		began := time.Now()
		g.r.Pause(ctx)
		if took := time.Since(began); took != time.Second {
			g.Errorf("a pause took %s", took)
		}
		close(g.stall)
	})
}

func TestLines(t *testing.T) {
	bubble(t, nil, func(g *rig) {
		if _, refused := g.r.Subscribe(Telemetry, "a", []byte(`{"schemaVersion":"2022-12-13","types":["function"],"destination":{"protocol":"TCP","port":99}}`)); refused != nil {
			g.Fatalf("%+v", refused)
		}
		for n := range 3 {
			g.add(Function, fmt.Sprint("function", n))
			time.Sleep(time.Second)
		}
		g.want("function0 | function1 | function2")
		if !slices.Equal(g.ports, []int{99}) {
			g.Errorf("connected to %v", g.ports)
		}
	})
}

func TestLine(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	for _, c := range []struct {
		line    string
		objects bool
		want    string
	}{
		{"hello <you>", false, `"hello \u003cyou\u003e"`},
		{"bad \xff\r", false, `"bad ` + "\ufffd" + `"`},
		{`{"a": 1}`, false, `"{\"a\": 1}"`},
		{`{"a": 1}`, true, `{"a":1}`},
		{`{"a": `, true, `"{\"a\": "`},
		{`[1]`, true, `"[1]"`},
	} {
		want := `{"time":"2023-11-14T22:13:20.123Z","type":"function","record":` + c.want + `}`
		if got := string(Line(at, Function, []byte(c.line), c.objects)); got != strings.ReplaceAll(want, "\ufffd", `\ufffd`) {
			t.Errorf("%q: %s, want %s", c.line, got, want)
		}
	}
}
