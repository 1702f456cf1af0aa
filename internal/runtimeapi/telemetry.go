package runtimeapi

import (
	"context"
	"net"
	"net/http"
	"time"

	"lambent.dev/lambent/internal/runtimeapi/relay"
	"lambent.dev/lambent/internal/sandbox"
)

// Telemetry is what a session needs to serve the Telemetry API. The zero value is a
// place without it, which clients carry on after.
type Telemetry struct {
	// Dial connects to a port of the instance's loopback; nil is no Telemetry API.
	Dial func(ctx context.Context, port int) (net.Conn, error)
	// Port is the Runtime API's own.
	Port int
	// Budget bounds what the sessions that share it hold for extensions; nil does not.
	Budget *relay.Budget
	// Begun is what is told of the initialisation's start.
	Begun sandbox.Begun
	// Objects tells that lines of the function that are JSON are passed on as such.
	Objects bool
	// Tap, if set, is called once, when the first extension has subscribed: from then on
	// Line is wanted.
	Tap func()
}

// openRelay begins to note what happens, for extensions that may subscribe. The caller
// holds mu, or is the only one who knows the session.
func (s *Session) openRelay() {
	o := s.opts.Telemetry
	if o.Dial == nil || s.relay.Load() != nil || s.isClosed() {
		return
	}
	r := relay.New(relay.Options{Dial: o.Dial, Reserved: o.Port, Budget: o.Budget, Log: s.opts.Log})
	r.Add(relay.Platform, relay.Encode(s.started, "platform.initStart", struct {
		Type       string `json:"initializationType"`
		Phase      string `json:"phase"`
		Runtime    string `json:"runtimeVersion,omitempty"`
		RuntimeARN string `json:"runtimeVersionArn,omitempty"`
		Function   string `json:"functionName"`
		Version    string `json:"functionVersion"`
	}{o.Begun.Type, "init", o.Begun.Runtime, o.Begun.RuntimeARN, s.opts.FunctionName, s.opts.FunctionVersion}))
	s.relay.Store(r)
}

// subscribe takes PUT /telemetry and /logs, which extensions can do until the
// initialisation is over.
func (s *Session) subscribe(api relay.API, h extensionHead, p *post) reply {
	if s.opts.Telemetry.Dial == nil {
		return refuse(http.StatusAccepted, api.String()+".NotSupported", api.String()+" API is not supported")
	}
	s.mu.Lock()
	e, r := s.extension(h.id), s.relay.Load()
	s.mu.Unlock()
	if e == nil || r == nil {
		return refuseUnregistered(h.id)
	}
	body, err := receive(p, relay.MaxSubscription)
	if err != nil {
		return refuseSubscription(api.Invalid("Failed to read request body: " + err.Error()))
	}
	first, refused := r.Subscribe(api, e.name, body)
	if refused != nil {
		return refuseSubscription(refused)
	}
	if first && s.opts.Telemetry.Tap != nil {
		s.opts.Telemetry.Tap()
	}
	return reply{status: http.StatusOK, body: []byte(`"OK"`)}
}

func refuseSubscription(r *relay.Refusal) reply { return refuse(r.Status, r.Type, r.Message) }

// note tells subscribers of an event of the platform. It waits for nobody, so that it
// may be called with mu held, which keeps events in their order.
func (s *Session) note(kind string, record any) {
	if r := s.relay.Load(); r != nil && r.Wanted() {
		r.Add(relay.Platform, relay.Encode(time.Now(), kind, record))
	}
}

// initEvent is the record of platform.initRuntimeDone and platform.initReport.
type initEvent struct {
	Type    string       `json:"initializationType"`
	Phase   string       `json:"phase"`
	Status  string       `json:"status"`
	Error   string       `json:"errorType,omitempty"`
	Metrics *initMetrics `json:"metrics,omitempty"`
}

type initMetrics struct {
	DurationMs float64 `json:"durationMs"`
}

// noteInit tells of the end of the runtime's initialisation, or, with how long it took,
// of everybody's.
func (s *Session) noteInit(kind string, f *sandbox.Failure, took time.Duration) {
	e := initEvent{Type: s.opts.Telemetry.Begun.Type, Phase: "init", Status: "success"}
	switch {
	case f == nil:
	case f.Type == "Sandbox.Timedout":
		e.Status = "timeout"
	default:
		e.Status, e.Error = "error", f.Type
	}
	if took > 0 {
		e.Metrics = &initMetrics{float64(took.Microseconds()) / 1000}
	}
	s.note(kind, e)
}

// noteExtension tells how an extension came out of its initialisation.
func (s *Session) noteExtension(e *extension, state, errorType string) {
	events := []string{}
	if e.invoke {
		events = append(events, "INVOKE")
	}
	if e.end {
		events = append(events, "SHUTDOWN")
	}
	s.note("platform.extension", struct {
		Name   string   `json:"name"`
		State  string   `json:"state"`
		Events []string `json:"events"`
		Error  string   `json:"errorType,omitempty"`
	}{e.name, state, events, errorType})
}

// Listening tells whether an extension has subscribed to telemetry, or still may.
func (s *Session) Listening() bool {
	r := s.relay.Load()
	return r != nil && r.Wanted()
}

// Tell passes on an event of the platform: JSON in the Telemetry API's shape, which
// belongs to the session from now on.
func (s *Session) Tell(event []byte) {
	if r := s.relay.Load(); r != nil {
		r.Add(relay.Platform, event)
	}
}

// Line passes on what the function or, by an extension, one of those has written.
func (s *Session) Line(at time.Time, byExtension bool, line []byte) {
	r := s.relay.Load()
	if r == nil || !r.Wanted() {
		return
	}
	kind := relay.Function
	if byExtension {
		kind = relay.Extension
	}
	r.Add(kind, relay.Line(at, kind, line, s.opts.Telemetry.Objects && !byExtension))
}

// Flush delivers what subscribers have not been told yet, for as long as ctx lets it.
func (s *Session) Flush(ctx context.Context) {
	if r := s.relay.Load(); r != nil {
		r.Flush(ctx)
	}
}

// Pause does so, too, and then holds everything back until Resume: the instance is
// about to be frozen.
func (s *Session) Pause(ctx context.Context) {
	if r := s.relay.Load(); r != nil {
		r.Pause(ctx)
	}
}

// Resume ends Pause.
func (s *Session) Resume() {
	if r := s.relay.Load(); r != nil {
		r.Resume()
	}
}

// closeRelay ends it, if there is one. The caller does not hold mu.
func (s *Session) closeRelay() {
	if r := s.relay.Load(); r != nil {
		r.Close()
	}
}
