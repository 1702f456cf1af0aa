package logsapi

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent/internal/logs"
)

// Bounds of events that are put (PutLogEvents, CloudWatch Logs API reference).
const (
	maxStreamName = 512 // bytes; AWS counts characters
	maxSpan       = 24 * time.Hour
)

type streamIn struct {
	reference
	LogStreamName string `json:"logStreamName"`
}

func (in streamIn) check() error {
	if in.LogStreamName == "" || len(in.LogStreamName) > maxStreamName || strings.ContainsAny(in.LogStreamName, ":*") {
		return invalid("1 validation error detected: Value at 'logStreamName' failed to satisfy constraint: " +
			"Member must satisfy regular expression pattern: [^:*]*, and have a length from 1 to 512")
	}
	return nil
}

func (d *door) createLogStream(ctx context.Context, c caller, body []byte) (any, error) {
	in, group, err := readNamed[streamIn](body)
	if err == nil {
		err = in.check()
	}
	if err != nil {
		return nil, err
	}
	return empty{}, d.o.Groups.CreateStream(ctx, c.namespace, group, in.LogStreamName)
}

// putIn is the request of PutLogEvents; sequence tokens have no meaning any more.
type putIn struct {
	streamIn
	LogEvents []struct {
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	} `json:"logEvents"`
}

// rejected tells which events were not taken: those before an end, or from a start on.
type rejected struct {
	TooNew  *int `json:"tooNewLogEventStartIndex,omitempty"`
	TooOld  *int `json:"tooOldLogEventEndIndex,omitempty"`
	Expired *int `json:"expiredLogEventEndIndex,omitempty"`
}

type putOut struct {
	NextSequenceToken string    `json:"nextSequenceToken"`
	Rejected          *rejected `json:"rejectedLogEventsInfo,omitempty"`
}

func (d *door) putLogEvents(ctx context.Context, c caller, body []byte) (any, error) {
	in, group, err := readNamed[putIn](body)
	if err == nil {
		err = cmp.Or(in.check(), in.checkEvents())
	}
	if err != nil {
		return nil, err
	}
	events := make([]logs.PutEvent, len(in.LogEvents))
	for i, e := range in.LogEvents {
		events[i] = logs.PutEvent{Time: time.UnixMilli(e.Timestamp), Message: e.Message}
	}
	kept, err := d.o.Groups.Put(ctx, c.namespace, group, in.LogStreamName, events)
	if err != nil {
		return nil, err
	}
	out := putOut{NextSequenceToken: strconv.FormatInt(time.Now().UnixMilli(), 10)}
	if kept.Expired > 0 || kept.TooOld > 0 || kept.TooNew < len(events) {
		out.Rejected = &rejected{}
		some := func(into **int, index int, yes bool) {
			if yes {
				*into = &index
			}
		}
		some(&out.Rejected.Expired, kept.Expired, kept.Expired > 0)
		some(&out.Rejected.TooOld, kept.TooOld, kept.TooOld > 0)
		some(&out.Rejected.TooNew, kept.TooNew, kept.TooNew < len(events))
	}
	return out, nil
}

// checkEvents refuses what AWS takes nothing of.
func (in *putIn) checkEvents() error {
	n, size := len(in.LogEvents), 0
	if n == 0 || n > logs.MaxPutEvents {
		return invalid("1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have a length from 1 to " + strconv.Itoa(logs.MaxPutEvents))
	}
	for i := range in.LogEvents {
		e := &in.LogEvents[i]
		size += len(e.Message) + eventOverhead
		switch {
		case e.Message == "" || e.Timestamp < 0:
			return invalid("1 validation error detected: Value at 'logEvents." + strconv.Itoa(i+1) + ".member' failed to satisfy constraint: it has a message, and a timestamp of 0 or more")
		case len(e.Message) > logs.MaxEvent:
			return invalid("Log event too large: " + strconv.Itoa(len(e.Message)) + " bytes exceeds limit of " + strconv.Itoa(logs.MaxEvent))
		case i > 0 && e.Timestamp < in.LogEvents[i-1].Timestamp:
			return invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
	}
	if size > logs.MaxPut {
		return invalid("Upload too large: " + strconv.Itoa(size) + " bytes exceeds limit of " + strconv.Itoa(logs.MaxPut))
	}
	if in.LogEvents[n-1].Timestamp-in.LogEvents[0].Timestamp > maxSpan.Milliseconds() {
		return invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	return nil
}
