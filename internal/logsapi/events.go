package logsapi

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
)

// Limits of one page (CloudWatch Logs API reference, FilterLogEvents and
// GetLogEvents).
const (
	maxEvents     = 10_000
	maxPage       = 1 << 20 // bytes of messages
	maxStreams    = 100
	eventOverhead = 26 // bytes that each event counts for beside its message
)

// eventOut is FilteredLogEvent, and without stream and id OutputLogEvent, of the API.
type eventOut struct {
	LogStreamName string `json:"logStreamName,omitempty"`
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
	EventID       string `json:"eventId,omitempty"`
}

type filterIn struct {
	reference
	LogStreamNames      []string `json:"logStreamNames"`
	LogStreamNamePrefix string   `json:"logStreamNamePrefix"`
	StartTime           *int64   `json:"startTime"`
	EndTime             *int64   `json:"endTime"`
	FilterPattern       string   `json:"filterPattern"`
	NextToken           string   `json:"nextToken"`
	Limit               *int     `json:"limit"`
}

type filterOut struct {
	Events             []eventOut `json:"events"`
	SearchedLogStreams []empty    `json:"searchedLogStreams"`
	NextToken          string     `json:"nextToken,omitempty"`
}

// query turns the request into one of the log room. An event at EndTime is
// included.
func (in filterIn) query(namespace string) (logs.Query, error) {
	group, err := in.name()
	if err != nil {
		return logs.Query{}, err
	}
	switch {
	case len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != "":
		return logs.Query{}, invalid("Only one of the logStreamNames and logStreamNamePrefix parameters can be specified.")
	case len(in.LogStreamNames) > maxStreams:
		return logs.Query{}, invalid("At most 100 log streams can be specified.")
	}
	q := logs.Query{
		Namespace: namespace, Group: group, Streams: in.LogStreamNames, Prefix: in.LogStreamNamePrefix,
		From: timeOf(in.StartTime), After: in.NextToken,
	}
	if in.EndTime != nil {
		q.To = time.UnixMilli(*in.EndTime).Add(time.Millisecond)
	}
	return q, nil
}

func (d *door) filterLogEvents(ctx context.Context, c caller, body []byte) (any, error) {
	var in filterIn
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	limit, err := limitOf(in.Limit, maxEvents, maxEvents)
	if err != nil {
		return nil, err
	}
	match, err := parsePattern(in.FilterPattern)
	if err != nil {
		return nil, err
	}
	q, err := in.query(c.namespace)
	if err != nil {
		return nil, err
	}
	out := filterOut{Events: []eventOut{}, SearchedLogStreams: []empty{}}
	size := 0
	for e, err := range d.o.Reader.Events(ctx, q) {
		if err == nil {
			err = ctx.Err() // to look at one message may take a second
		}
		if err != nil {
			return nil, err
		}
		if !match(e.Message) {
			continue
		}
		if n := len(out.Events); n == limit || n > 0 && size+len(e.Message)+eventOverhead > maxPage {
			out.NextToken = out.Events[n-1].EventID
			break
		}
		size += len(e.Message) + eventOverhead
		out.Events = append(out.Events, eventOut{e.Stream, e.Time.UnixMilli(), e.Message, e.Ingested.UnixMilli(), e.ID})
	}
	slices.SortStableFunc(out.Events, func(a, b eventOut) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	return out, nil
}

type getIn struct {
	reference
	LogStreamName string `json:"logStreamName"`
	StartTime     *int64 `json:"startTime"`
	EndTime       *int64 `json:"endTime"`
	NextToken     string `json:"nextToken"`
	Limit         *int   `json:"limit"`
	StartFromHead bool   `json:"startFromHead"`
}

type getOut struct {
	Events            []eventOut `json:"events"`
	NextForwardToken  string     `json:"nextForwardToken"`
	NextBackwardToken string     `json:"nextBackwardToken"`
}

// token is a place in a stream: before or after the event with that id.
type token struct {
	forward bool
	id      uint64
}

func (t token) String() string {
	if t.forward {
		return fmt.Sprintf("f/%020d/s", t.id)
	}
	return fmt.Sprintf("b/%020d/s", t.id)
}

func parseToken(s string) (token, error) {
	kind, rest, _ := strings.Cut(s, "/")
	number, end, _ := strings.Cut(rest, "/")
	id, err := strconv.ParseUint(number, 10, 64)
	if err != nil || kind != "f" && kind != "b" || end != "s" {
		return token{}, invalid("The specified nextToken is invalid.")
	}
	return token{forward: kind == "f", id: id}, nil
}

func (d *door) getLogEvents(ctx context.Context, c caller, body []byte) (any, error) {
	in, group, err := readNamed[getIn](body)
	if err != nil {
		return nil, err
	}
	limit, err := limitOf(in.Limit, maxEvents, maxEvents)
	if err != nil {
		return nil, err
	}
	if in.LogStreamName == "" {
		return nil, invalid("1 validation error detected: Value null at 'logStreamName' failed to satisfy constraint: Member must not be null")
	}
	at := token{forward: in.StartFromHead}
	q := logs.Query{
		Namespace: c.namespace, Group: group, Streams: []string{in.LogStreamName},
		From: timeOf(in.StartTime), To: timeOf(in.EndTime),
	}
	if in.NextToken != "" {
		if at, err = parseToken(in.NextToken); err != nil {
			return nil, err
		}
		if id := fmt.Sprintf("%020d", at.id); at.forward {
			q.After = id
		} else {
			q.Before = id
		}
	}
	q.Backward = !at.forward
	events, err := d.page(ctx, q, limit)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 && in.NextToken == "" {
		if err := d.streamExists(ctx, q); err != nil {
			return nil, err
		}
	}
	return getPage(events, at)
}

// page reads events, in the order of the query.
func (d *door) page(ctx context.Context, q logs.Query, limit int) ([]logs.Event, error) {
	var list []logs.Event
	size := 0
	for e, err := range d.o.Reader.Events(ctx, q) {
		if err != nil {
			return nil, err
		}
		size += len(e.Message) + eventOverhead
		if len(list) == limit || len(list) > 0 && size > maxPage {
			break
		}
		list = append(list, e)
	}
	return list, nil
}

// getPage makes the answer, oldest event first. Where a page is empty the token
// that was given is returned again, which is how clients know the end.
func getPage(events []logs.Event, at token) (any, error) {
	if !at.forward {
		slices.Reverse(events)
	}
	out := getOut{Events: []eventOut{}}
	for _, e := range events {
		out.Events = append(out.Events, eventOut{Timestamp: e.Time.UnixMilli(), Message: e.Message, IngestionTime: e.Ingested.UnixMilli()})
	}
	forward, backward := token{true, at.id}, token{false, at.id}
	switch {
	case len(events) > 0:
		first, err := strconv.ParseUint(events[0].ID, 10, 64)
		if err != nil {
			return nil, lambent.Errorf(lambent.CodeInternal, "read event id: %w", err)
		}
		last, err := strconv.ParseUint(events[len(events)-1].ID, 10, 64)
		if err != nil {
			return nil, lambent.Errorf(lambent.CodeInternal, "read event id: %w", err)
		}
		forward.id, backward.id = last, first
	case at.forward:
		backward.id = at.id + 1
	case at.id > 0:
		forward.id = at.id - 1
	}
	out.NextForwardToken, out.NextBackwardToken = forward.String(), backward.String()
	return out, nil
}

// streamExists is an error for a stream that the group does not have.
func (d *door) streamExists(ctx context.Context, q logs.Query) error {
	name := q.Streams[0]
	list, err := d.o.Reader.Streams(ctx, q.Namespace, q.Group, name)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(s logs.StreamInfo) bool { return s.Name == name }) {
		return nil
	}
	return failure(lambent.CodeNotFound, "ResourceNotFoundException", "The specified log stream does not exist.")
}
