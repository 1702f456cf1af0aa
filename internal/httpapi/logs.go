package httpapi

import (
	"context"
	"strconv"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/logs"
)

// logs streams a function's lines: ?since= is a time (RFC 3339) or an age such as
// 10m, ?request= one invocation's, and ?follow=true goes on with new ones.
func (a *api) logs(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	query := c.URL.Query()
	since, err := parseSince(query.Get("since"), time.Now())
	if err != nil {
		return err
	}
	follow := false
	if text := query.Get("follow"); text != "" {
		if follow, err = strconv.ParseBool(text); err != nil {
			return lambent.Errorf(lambent.CodeInvalid, "follow %q: want true or false", clip(text))
		}
	}
	group, err := a.logGroup(c.Context(), c.id.AccountID, name)
	if err != nil {
		return err
	}
	q := logs.Query{Namespace: c.id.AccountID, Group: group, RequestID: query.Get("request"), From: since}
	a.stream(c, q, follow)
	return nil
}

// stream writes the lines that are there and, with follow, those that come. A
// function that has logged nothing has no log group yet.
func (a *api) stream(c *call, q logs.Query, follow bool) {
	out := c.lines()
	defer out.end()
	began := logs.Position(time.Now())
	for e, err := range a.o.Logs.Events(c.Context(), q) {
		if lambent.CodeOf(err) == lambent.CodeNotFound {
			break
		}
		if err != nil {
			a.fail(c, out, err)
			return
		}
		if out.write(logEvent(e), false) != nil {
			return
		}
		q.After = e.ID
	}
	// Also when there was nothing: the caller sees the head.
	if out.control.Flush() != nil || !follow {
		return
	}
	if q.After == "" && q.From.IsZero() {
		q.After = began // and not from now on: lines may have come meanwhile
	}
	ctx, cancel := context.WithCancel(c.Context())
	var watch sync.WaitGroup
	watch.Go(func() { // waited for below
		select {
		case <-a.o.Stopping:
			cancel()
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel()
	for e, err := range a.o.Logs.Follow(ctx, q) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			a.fail(c, out, err)
			return
		}
		if out.write(logEvent(e), true) != nil {
			return
		}
	}
}

func logEvent(e logs.Event) client.LogEvent {
	return client.LogEvent{Time: e.Time.UTC(), Stream: e.Stream, RequestID: e.RequestID, Message: e.Message}
}

// logGroup is the log group of a function. What a deleted function has written
// can still be read.
func (a *api) logGroup(ctx context.Context, namespace, name string) (string, error) {
	entry, err := a.o.Catalog.Get(namespace, name, "")
	if err == nil {
		return entry.Version.LogGroup(), nil
	}
	if lambent.CodeOf(err) != lambent.CodeNotFound {
		return "", err
	}
	old := (&lambent.Version{Function: name}).LogGroup()
	groups, listErr := a.o.Logs.Groups(ctx, namespace, old)
	if listErr != nil {
		return "", listErr
	}
	for _, g := range groups {
		if g.Name == old {
			return old, nil
		}
	}
	return "", err
}

// parseSince reads a time, or an age before now. Empty is the zero time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, nil
	}
	if age, err := time.ParseDuration(text); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	return time.Time{}, lambent.Errorf(lambent.CodeInvalid, "since %q: want a time such as 2026-01-02T15:04:05Z or an age such as 10m", clip(text))
}
