package logsapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/eventstream"
	"lambent.dev/lambent/internal/logs"
)

// Bounds of a live tail (StartLiveTail, CloudWatch Logs API reference). What comes
// faster is left out, and the update says so.
const (
	maxTailed    = 10 // groups
	maxTailNames = 10 // streams, or beginnings of their names
	maxUpdate    = 500
	updateEvery  = time.Second
	maxTail      = 3 * time.Hour
	partTimeout  = time.Minute // that a caller may take to read an update
)

// tailIn is the request of StartLiveTail; sessionStart says it again.
type tailIn struct {
	LogGroupIdentifiers   []string `json:"logGroupIdentifiers"`
	LogStreamNames        []string `json:"logStreamNames,omitempty"`
	LogStreamNamePrefixes []string `json:"logStreamNamePrefixes,omitempty"`
	LogEventFilterPattern string   `json:"logEventFilterPattern,omitempty"`
}

// liveTail is an answer that goes on: a message each second with what has come.
type liveTail struct {
	d      *door
	c      caller
	in     tailIn
	groups []string // names
	match  matcher
	after  string // id: events before the request are not meant
	buf    []byte

	mu      sync.Mutex // guards the rest: what has come since the last message
	events  []tailedEvent
	bytes   int
	sampled bool // and more than that
}

// tailedEvent is LiveTailSessionLogEvent of the API.
type tailedEvent struct {
	LogGroupIdentifier string `json:"logGroupIdentifier"`
	LogStreamName      string `json:"logStreamName"`
	Timestamp          int64  `json:"timestamp"`
	Message            string `json:"message"`
	IngestionTime      int64  `json:"ingestionTime"`
}

func (d *door) startLiveTail(ctx context.Context, c caller, body []byte) (any, error) {
	t := &liveTail{d: d, c: c, after: logs.Position(time.Now())}
	if err := decode(body, &t.in); err != nil {
		return nil, err
	}
	names, prefixes := len(t.in.LogStreamNames), len(t.in.LogStreamNamePrefixes)
	switch n := len(t.in.LogGroupIdentifiers); {
	case n == 0 || n > maxTailed || names > maxTailNames || prefixes > maxTailNames:
		return nil, invalid("A live tail is of 1 to 10 log groups, and of at most 10 log streams.")
	case names+prefixes > 0 && n > 1:
		return nil, invalid("Log streams can be specified for one log group only.")
	case names > 0 && prefixes > 0:
		return nil, invalid("Only one of the logStreamNames and logStreamNamePrefixes parameters can be specified.")
	}
	var err error
	if t.match, err = parsePattern(t.in.LogEventFilterPattern); err != nil {
		return nil, err
	}
	for _, id := range t.in.LogGroupIdentifiers {
		name := groupName(id)
		if slices.Contains(t.groups, name) {
			continue
		}
		known, err := d.o.Reader.Groups(ctx, c.namespace, name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(known, func(g logs.Group) bool { return g.Name == name }) {
			return nil, failure(lambent.CodeNotFound, "ResourceNotFoundException", "The specified log group does not exist.")
		}
		t.groups = append(t.groups, name)
	}
	return t, nil
}

// serve sends what comes until the caller leaves, the server stops, a group can be
// followed no longer, or three hours are over.
func (t *liveTail) serve(ctx context.Context, w http.ResponseWriter) {
	ctx, cancel := context.WithTimeout(ctx, maxTail)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	for _, name := range t.groups {
		following.Go(func() {
			defer cancel()
			t.follow(ctx, name)
		})
	}
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the connection keeps it else
	w.Header().Set("Content-Type", eventstream.ContentType)
	started := struct {
		RequestID string `json:"requestId"`
		SessionID string `json:"sessionId"`
		tailIn
	}{w.Header().Get("X-Amzn-Requestid"), uuid.NewString(), t.in}
	if !t.send(w, "initial-response", empty{}) || !t.send(w, "sessionStart", started) {
		return
	}
	tick := time.NewTicker(updateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.d.o.Stopping:
			return
		case <-tick.C:
		}
		if !t.send(w, "sessionUpdate", t.update()) {
			return
		}
	}
}

// follow gathers what is wanted of a group's events.
func (t *liveTail) follow(ctx context.Context, group string) {
	q := logs.Query{Namespace: t.c.namespace, Group: group, Streams: t.in.LogStreamNames, After: t.after}
	for e, err := range t.d.o.Reader.Follow(ctx, q) {
		if err != nil {
			t.d.o.Log.WarnContext(ctx, "live tail", "group", group, "err", err)
			return
		}
		if t.match(e.Message) && t.wants(e.Stream) {
			t.take(tailedEvent{t.c.groupARN(group), e.Stream, e.Time.UnixMilli(), e.Message, e.Ingested.UnixMilli()})
		}
	}
}

func (t *liveTail) wants(stream string) bool {
	return len(t.in.LogStreamNamePrefixes) == 0 ||
		slices.ContainsFunc(t.in.LogStreamNamePrefixes, func(p string) bool { return strings.HasPrefix(stream, p) })
}

func (t *liveTail) take(e tailedEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := len(e.Message) + eventOverhead
	if len(t.events) == maxUpdate || len(t.events) > 0 && t.bytes+size > maxPage {
		t.sampled = true
		return
	}
	t.events, t.bytes = append(t.events, e), t.bytes+size
}

// sessionUpdate is LiveTailSessionUpdate of the API.
type sessionUpdate struct {
	Metadata struct {
		Sampled bool `json:"sampled"`
	} `json:"sessionMetadata"`
	Results []tailedEvent `json:"sessionResults"`
}

// update is what has come since the last one.
func (t *liveTail) update() (u sessionUpdate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.Results, u.Metadata.Sampled = append([]tailedEvent{}, t.events...), t.sampled
	t.events, t.bytes, t.sampled = nil, 0, false
	return u
}

// send is false when the caller takes no more.
func (t *liveTail) send(w http.ResponseWriter, kind string, message any) bool {
	text, err := json.Marshal(message)
	if err != nil {
		return false
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(partTimeout)) // only a connection has one
	t.buf = eventstream.Append(t.buf[:0], kind, "application/json", text)
	if _, err := w.Write(t.buf); err != nil {
		return false
	}
	return control.Flush() == nil
}
