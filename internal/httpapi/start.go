package httpapi

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/invoke"
	"lambent.dev/lambent/internal/logs"
)

// Applications passes requests to HTTP applications.
type Applications interface {
	Forward(ctx context.Context, inv *lambent.Invocation, send invoke.Send) error
}

// Bounds of a try: what an application that is up may take for the one answer,
// how long after its connections its end may be noticed, and how many lines of what
// it wrote are told.
const (
	tryAnswer    = 10 * time.Second
	endNoticed   = 200 * time.Millisecond
	tryLines     = 20
	tryLineBytes = 1 << 10
)

// start tries an application: an instance is made, unless there is one, and asked
// once. That it does not start, or ends over the question, is an answer and no error.
func (a *api) start(c *call) error {
	entry, err := a.entry(c)
	if err != nil {
		return err
	}
	if a.o.Applications == nil {
		return lambent.Errorf(lambent.CodeUnsupported, "this server starts no applications")
	}
	v := entry.Version
	began := time.Now()
	inv := &lambent.Invocation{
		RequestID: c.requestID, Namespace: v.Namespace, Function: v.Function, Qualifier: c.URL.Query().Get("qualifier"),
		Source: "v1", Arrived: began,
	}
	var out client.Started
	err = a.o.Applications.Forward(c.Context(), inv, func(ctx context.Context, to invoke.Backend) (err error) {
		out.Status, err = try(ctx, to)
		return err
	})
	var e *lambent.Error
	if errors.As(err, &e) && e.Code == lambent.CodeUnavailable && e.Reason != "" {
		out.Failure = &client.FunctionError{Type: e.Reason, Message: e.Message}
		out.Output, err = a.written(c.Context(), v, began), nil
	}
	if err != nil {
		return err
	}
	out.MS = ms(time.Since(began))
	return c.answer(http.StatusOK, out)
}

// try asks an instance for its health path, or for its first page, and returns the
// status. Servers with workers open their port before these are up, and end when they
// cannot be: only a question tells. No answer in time, or one that is not HTTP/1.1,
// says nothing of an application that goes on: its status is 0.
func try(ctx context.Context, to invoke.Backend) (status int, err error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return to.Dial(ctx) }, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	app := to.Version().App
	ctx, cancel := context.WithTimeout(ctx, tryAnswer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:"+strconv.Itoa(app.Port)+cmp.Or(app.Health, "/"), nil)
	if err != nil {
		return 0, lambent.Errorf(lambent.CodeInvalid, "ask for %s: %w", app.Health, err)
	}
	req.Header.Set("User-Agent", "lambent-health")
	res, err := transport.RoundTrip(req)
	if err == nil {
		_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that it can finish its answer
		_ = res.Body.Close()
		return res.StatusCode, nil
	}
	select {
	case <-to.Done():
	case <-time.After(endNoticed):
		return 0, nil
	}
	why := to.Why()
	return 0, &lambent.Error{Code: lambent.CodeUnavailable, Reason: why.Type, Message: "The application ended when it was asked for a page: " + why.Message}
}

// written is the end of what the latest instance of a version wrote since a time.
func (a *api) written(ctx context.Context, v *lambent.Version, since time.Time) (lines []string) {
	if a.o.Instances == nil {
		return nil
	}
	starts := a.o.Instances.ColdStarts(v.Namespace, v.Function, v.Number)
	if len(starts) == 0 {
		return nil
	}
	q := logs.Query{Namespace: v.Namespace, Group: v.LogGroup(), Streams: []string{starts[len(starts)-1].Stream}, From: since, Limit: tryLines, Backward: true}
	for e, err := range a.o.Logs.Events(ctx, q) {
		if err != nil {
			return nil // the failure alone has to do
		}
		if line := strings.TrimRight(e.Message, "\r\n"); !strings.HasPrefix(line, "INIT_START ") { // the platform's own
			lines = append(lines, line[:min(len(line), tryLineBytes)])
		}
	}
	slices.Reverse(lines)
	return lines
}
