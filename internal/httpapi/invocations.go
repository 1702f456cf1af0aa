package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/telemetry"
)

// Events is the room of asynchronous calls.
type Events interface {
	Accept(ctx context.Context, r async.Request) (id string, again bool, err error)
	List(ctx context.Context, q async.Query) ([]*async.Object, error)
	Get(ctx context.Context, namespace, id string) (*async.Object, error)
	Wait(ctx context.Context, namespace, id string) (*async.Object, error)
	Watch(ctx context.Context, namespace, id string, see func(*async.Object) bool) error
	Cancel(ctx context.Context, namespace, id string) (*async.Object, error)
	Retry(ctx context.Context, namespace, id string) (string, error)
	Replay(ctx context.Context, namespace, id, qualifier string) (*async.Replayed, error)
	Queue(ctx context.Context, namespace, function string) (telemetry.EventCounts, error)
}

// invocationRoutes are those of kept invocations and of what becomes of them.
func (a *api) invocationRoutes() {
	a.route("GET", "/v1/functions/{name}/events/{qualifier}", mayRead, maxControlBody, a.getEvents)
	a.route("PUT", "/v1/functions/{name}/events/{qualifier}", mayWrite, maxControlBody, a.putEvents)
	a.route("DELETE", "/v1/functions/{name}/events/{qualifier}", mayWrite, maxControlBody, a.deleteEvents)
	if a.o.Events == nil {
		return
	}
	a.route("GET", "/v1/functions/{name}/events", mayRead, maxControlBody, a.getQueue)
	a.route("POST", "/v1/invocations", mayInvoke, 2*lambent.MaxAsyncPayload, a.accept)
	a.route("GET", "/v1/invocations", mayRead, maxControlBody, a.listCalls)
	a.route("GET", "/v1/invocations/{id}", mayRead, maxControlBody, a.getCall)
	a.route("GET", "/v1/invocations/{id}/events", mayRead, maxControlBody, a.watchCall)
	a.route("POST", "/v1/invocations/{id}/cancel", mayInvoke, maxControlBody, a.cancelCall)
	a.route("POST", "/v1/invocations/{id}/retry", mayInvoke, maxControlBody, a.retryCall)
	a.route("POST", "/v1/invocations/{id}/replay", mayInvoke, maxControlBody, a.replayCall)
}

// accept keeps a call to be made later.
func (a *api) accept(c *call) error {
	body, err := auth.Body(c.Request)
	if err != nil {
		return err
	}
	var in client.CallRequest
	if err := readStrict(body, &in); err != nil {
		return err
	}
	if !lambent.ValidName(in.Function) {
		return lambent.Errorf(lambent.CodeInvalid, "%q is not the name of a function", clip(in.Function)).WithReason("InvalidName")
	}
	if len(in.Payload) == 0 {
		in.Payload = json.RawMessage("{}")
	}
	now := time.Now()
	at := in.At
	if in.InSeconds != 0 {
		if !at.IsZero() || !(in.InSeconds > 0 && in.InSeconds < 1e9) {
			return lambent.Errorf(lambent.CodeInvalid, "want at or inSeconds, and no negative time")
		}
		at = now.Add(time.Duration(in.InSeconds * float64(time.Second)))
	}
	id, again, err := a.o.Events.Accept(c.Context(), async.Request{
		Invocation: &lambent.Invocation{
			RequestID: async.NewID(), Namespace: c.id.AccountID, Function: in.Function, Qualifier: in.Qualifier,
			Payload: in.Payload, Source: "v1", Arrived: now,
		},
		At: at, Priority: in.Priority, Key: in.Key, Idempotency: in.IdempotencyKey, Labels: in.Labels,
	})
	if err != nil {
		return err
	}
	return c.answer(http.StatusAccepted, client.CallAccepted{ID: id, Again: again})
}

// listCalls searches.
func (a *api) listCalls(c *call) error {
	q, err := c.callQuery()
	if err != nil {
		return err
	}
	found, err := a.o.Events.List(c.Context(), q)
	if err != nil {
		return err
	}
	page := client.CallList{Invocations: make([]client.Call, 0, len(found))}
	for _, o := range found {
		page.Invocations = append(page.Invocations, wireCall(o))
	}
	if len(found) == q.Limit {
		page.Next = strconv.FormatInt(found[len(found)-1].Seq, 10)
	}
	return c.answer(http.StatusOK, page)
}

// kinds and callStatuses are what can be asked for.
var (
	kinds        = []string{async.KindEvent, async.KindDestination, async.KindCall}
	callStatuses = []store.JobStatus{store.JobWaiting, store.JobRunning, store.JobSucceeded, store.JobFailed, store.JobCancelled, store.JobExpired}
)

func (c *call) callQuery() (async.Query, error) {
	values := c.URL.Query()
	bad := func(name string) error {
		return lambent.Errorf(lambent.CodeInvalid, "%s %q: it is not one", name, clip(values.Get(name)))
	}
	q := async.Query{
		Namespace: c.id.AccountID, Function: values.Get("function"), Kind: values.Get("kind"), Error: values.Get("error"), Limit: defaultPage,
	}
	if q.Kind != "" && !slices.Contains(kinds, q.Kind) {
		return q, bad("kind")
	}
	for text := range strings.SplitSeq(values.Get("status"), ",") {
		if status := store.JobStatus(text); slices.Contains(callStatuses, status) {
			q.Statuses = append(q.Statuses, status)
		} else if text != "" {
			return q, bad("status")
		}
	}
	for _, label := range values["label"] {
		name, value, ok := strings.Cut(label, "=")
		if !ok {
			return q, lambent.Errorf(lambent.CodeInvalid, "label %q: want NAME=VALUE", clip(label))
		}
		if q.Labels == nil {
			q.Labels = map[string]string{}
		}
		q.Labels[name] = value
	}
	for name, into := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if text := values.Get(name); text != "" {
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return q, bad(name)
			}
			*into = at
		}
	}
	var err error
	if text := values.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > maxPage {
			return q, lambent.Errorf(lambent.CodeInvalid, "limit %q: want a number from 1 to %d", clip(text), maxPage)
		}
	}
	if text := values.Get("after"); text != "" {
		if q.Before, err = strconv.ParseInt(text, 10, 64); err != nil || q.Before < 1 {
			return q, bad("after")
		}
	}
	return q, nil
}

// maxCallWait bounds a long poll.
const maxCallWait = time.Minute

func (a *api) getCall(c *call) error {
	text := c.URL.Query().Get("wait")
	if text == "" {
		o, err := a.o.Events.Get(c.Context(), c.id.AccountID, c.PathValue("id"))
		if err != nil {
			return err
		}
		return c.answer(http.StatusOK, wireCall(o))
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 {
		return lambent.Errorf(lambent.CodeInvalid, "wait %q: want a duration such as 30s", clip(text))
	}
	ctx, cancel := context.WithTimeout(c.Context(), min(wait, maxCallWait))
	defer cancel()
	defer a.whenStopping(cancel)()
	o, err := a.o.Events.Wait(ctx, c.id.AccountID, c.PathValue("id"))
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, wireCall(o))
}

// whenStopping has a wait end when the server begins to stop. The function that it
// returns ends that.
func (a *api) whenStopping(cancel context.CancelFunc) (over func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-a.o.Stopping: // nil is never
			cancel()
		case <-done:
		}
	}()
	return func() { close(done) }
}

// watchCall tells of a call as server-sent events (WHATWG HTML, "Server-sent
// events"), from its state now to its end.
func (a *api) watchCall(c *call) error {
	if _, err := a.o.Events.Get(c.Context(), c.id.AccountID, c.PathValue("id")); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	defer a.whenStopping(cancel)()
	out := c.lines()
	defer out.end()
	c.w.Header().Set("Content-Type", "text/event-stream")
	return a.o.Events.Watch(ctx, c.id.AccountID, c.PathValue("id"), func(o *async.Object) bool {
		return out.event(string(o.Status), wireCall(o)) == nil
	})
}

// event writes a server-sent event.
func (l *lines) event(name string, v any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	data, err := marshal(v)
	if err == nil && l.failed == nil {
		_ = l.control.SetWriteDeadline(time.Now().Add(stallLimit))
		_, l.failed = l.out.Write([]byte("event: " + name + "\ndata: " + string(bytes.TrimRight(data, "\n")) + "\n\n"))
	}
	if err == nil && l.failed == nil {
		l.failed = l.control.Flush()
	}
	return l.failed
}

func (a *api) cancelCall(c *call) error {
	o, err := a.o.Events.Cancel(c.Context(), c.id.AccountID, c.PathValue("id"))
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, wireCall(o))
}

func (a *api) retryCall(c *call) error {
	id, err := a.o.Events.Retry(c.Context(), c.id.AccountID, c.PathValue("id"))
	if err != nil {
		return err
	}
	return c.answer(http.StatusAccepted, client.CallAccepted{ID: id})
}

func (a *api) replayCall(c *call) error {
	r, err := a.o.Events.Replay(c.Context(), c.id.AccountID, c.PathValue("id"), c.URL.Query().Get("qualifier"))
	if err != nil {
		return err
	}
	out := client.Replay{Was: wireCall(r.Was), Now: invocation(r.ID, r.Now)}
	var before json.RawMessage
	if out.Was.Answer != nil {
		before = out.Was.Answer.Payload
	}
	// Where each tells its own id, they do not differ.
	before = bytes.ReplaceAll(before, []byte(r.Was.ID), []byte(r.ID))
	out.Differences = differences(before, out.Now.Payload)
	out.Same = len(out.Differences) == 0 && (r.Was.Answer == nil || r.Was.Answer.FunctionError == r.Now.FunctionError)
	return c.answer(http.StatusOK, out)
}

// wireCall is a call in our dialect.
func wireCall(o *async.Object) client.Call {
	out := client.Call{
		ID: o.ID, Kind: o.Kind, Function: o.Function, Qualifier: o.Qualifier, Status: string(o.Status), Error: o.Error, Source: o.Source,
		Priority: o.Priority, Key: o.Key, Labels: o.Labels, Created: o.Created, Due: o.Due, Started: o.Started, Ended: o.Ended,
		Dropped: o.Dropped, Retries: o.Retries, Refused: o.Refused, Progress: o.Progress, Condition: o.Condition,
		RetryOf: o.RetryOf, For: o.For, To: o.To, TraceID: o.TraceID,
	}
	for _, t := range o.Attempts {
		attempt := client.CallAttempt{
			Start: t.Start, End: t.End, Version: t.Version, Instance: t.Instance, Error: t.Error, Message: t.Message,
			DurationMS: ms(t.Duration), InitMS: ms(t.Init), Cold: t.Cold, Next: t.Next,
		}
		for _, s := range t.Stages {
			attempt.Stages = append(attempt.Stages, client.Timing{Name: s.Name, MS: ms(s.Took)})
		}
		out.Attempts = append(out.Attempts, attempt)
	}
	for _, s := range o.Sent {
		out.Destinations = append(out.Destinations, client.CallDestination(s))
	}
	if o.Payload != nil {
		out.Payload = asJSON(o.Payload)
	}
	if n := o.Answer; n != nil {
		out.Answer = &client.CallAnswer{
			Version: n.Version, ContentType: n.ContentType, FunctionError: n.FunctionError, Payload: asJSON(n.Payload), Truncated: n.Truncated,
			DurationMS: ms(n.Duration), BilledMS: ms(n.Billed), MemoryMB: n.MemoryMB, MaxMemoryMB: n.MaxMemoryMB, LogTail: n.LogTail,
		}
	}
	return out
}

func (a *api) getEvents(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	out, err := a.events(c, name)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) putEvents(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	var in client.EventSettings
	if err := c.read(&in); err != nil {
		return err
	}
	change := catalog.EventChange{
		Namespace: c.id.AccountID, Function: name, Qualifier: c.PathValue("qualifier"), MaxRetries: in.MaxRetries,
		OnSuccess: destination(in.OnSuccess), OnFailure: destination(in.OnFailure),
	}
	if in.MaxAgeSeconds != nil {
		if !(*in.MaxAgeSeconds >= 1 && *in.MaxAgeSeconds <= 1e8) {
			return lambent.Errorf(lambent.CodeInvalid, "maxAgeSeconds is not from 1 to 100000000")
		}
		change.MaxAge = new(seconds(*in.MaxAgeSeconds))
	}
	if in.Rules != nil {
		change.Rules = new([]lambent.RetryRule{})
		for _, r := range *in.Rules {
			if !(r.DelaySeconds >= 0 && r.DelaySeconds <= 1e6) || !(r.MaxDelaySeconds >= 0 && r.MaxDelaySeconds <= 1e6) {
				return lambent.Errorf(lambent.CodeInvalid, "a delay is not from 0 to 1000000 seconds")
			}
			*change.Rules = append(*change.Rules, lambent.RetryRule{
				Error: r.Error, MaxRetries: r.MaxRetries, Delay: seconds(r.DelaySeconds), Factor: r.Factor, MaxDelay: seconds(r.MaxDelaySeconds), Jitter: r.Jitter,
			})
		}
	}
	var letter *lambent.Destination
	if in.DeadLetter != nil {
		letter = &lambent.Destination{ARN: *in.DeadLetter}
	}
	if err := a.o.Catalog.SetEvents(c.Context(), change, letter); err != nil {
		return err
	}
	out, err := a.events(c, name)
	if err != nil && lambent.CodeOf(err) != lambent.CodeNotFound { // the last setting may have been taken back
		return err
	}
	return c.answer(http.StatusOK, out)
}

func (a *api) deleteEvents(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	if err := a.o.Catalog.ClearEvents(c.Context(), c.id.AccountID, name, c.PathValue("qualifier")); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// destination reads a destination; nil leaves it.
func destination(in *client.EventDestination) *lambent.Destination {
	if in == nil {
		return nil
	}
	if in.URL != "" {
		return &lambent.Destination{ARN: lambent.HTTPDestination + in.URL, Secret: in.Secret}
	}
	return &lambent.Destination{ARN: in.ARN, Secret: in.Secret}
}

// eventSettings shows the secrets: whoever may read them may set others.
func eventSettings(e *lambent.EventConfig) client.EventSettings {
	out := client.EventSettings{Qualifier: e.Qualifier, MaxRetries: e.MaxRetries}
	if e.MaxAge > 0 {
		out.MaxAgeSeconds = new(e.MaxAge.Seconds())
	}
	show := func(d lambent.Destination) *client.EventDestination {
		if d.ARN == "" {
			return nil
		}
		url, ok := strings.CutPrefix(d.ARN, lambent.HTTPDestination)
		if ok {
			return &client.EventDestination{URL: url, Secret: d.Secret}
		}
		return &client.EventDestination{ARN: d.ARN}
	}
	out.OnSuccess, out.OnFailure = show(e.OnSuccess), show(e.OnFailure)
	if len(e.Rules) > 0 {
		out.Rules = new([]client.RetryRule{})
	}
	for _, r := range e.Rules {
		*out.Rules = append(*out.Rules, client.RetryRule{
			Error: r.Error, MaxRetries: r.MaxRetries, DelaySeconds: r.Delay.Seconds(), Factor: r.Factor, MaxDelaySeconds: r.MaxDelay.Seconds(), Jitter: r.Jitter,
		})
	}
	return out
}
