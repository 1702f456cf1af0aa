package logsapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"lambent.dev/lambent/internal/auth"
)

// put sends events of some times, as offsets from now, with their numbers for messages.
func (s server) put(ctx context.Context, stream string, offsets ...time.Duration) (*cwl.PutLogEventsOutput, error) {
	var events []types.InputLogEvent
	for i, off := range offsets {
		events = append(events, types.InputLogEvent{Timestamp: aws.Int64(time.Now().Add(off).UnixMilli()), Message: aws.String(fmt.Sprint("event ", i))})
	}
	return s.client.PutLogEvents(ctx, &cwl.PutLogEventsInput{LogGroupName: aws.String(group), LogStreamName: aws.String(stream), LogEvents: events})
}

func (s server) messages(t *testing.T, stream string) []string {
	t.Helper()
	out, err := s.client.GetLogEvents(t.Context(), &cwl.GetLogEventsInput{LogGroupName: aws.String(group), LogStreamName: &stream, StartFromHead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range out.Events {
		all = append(all, *e.Message)
	}
	return all
}

func TestPutThroughSDK(t *testing.T) {
	s, ctx := start(t), t.Context()
	create := func(stream string) error {
		_, err := s.client.CreateLogStream(ctx, &cwl.CreateLogStreamInput{LogGroupName: aws.String(group), LogStreamName: &stream})
		return err
	}
	wantException(t, create("mine"), "ResourceNotFoundException", "log group")
	_, err := s.put(ctx, "mine", 0)
	wantException(t, err, "ResourceNotFoundException", "log group")
	s.store.Open(auth.DefaultAccount, group, streamA).WriteLine(time.Now(), []byte("a line"))
	_, err = s.put(ctx, "mine", 0)
	wantException(t, err, "ResourceNotFoundException", "log stream")
	if err := create("mine"); err != nil {
		t.Fatal(err)
	}
	wantException(t, create("mine"), "ResourceAlreadyExistsException", "log stream")
	wantException(t, create(streamA), "ResourceAlreadyExistsException", "log stream")
	wantException(t, create("a:b"), "InvalidParameterException", "logStreamName")
	list, err := s.client.DescribeLogStreams(ctx, &cwl.DescribeLogStreamsInput{LogGroupName: aws.String(group), LogStreamNamePrefix: aws.String("mi")})
	if err != nil || len(list.LogStreams) != 1 || list.LogStreams[0].LastEventTimestamp != nil || time.Since(time.UnixMilli(*list.LogStreams[0].CreationTime)) > time.Minute {
		t.Errorf("the new stream: %+v, %v", list, err)
	}
	if got := s.messages(t, "mine"); got != nil {
		t.Errorf("the new stream has %q", got)
	}

	out, err := s.put(ctx, "mine", -time.Minute, -time.Second, 0)
	if err != nil || out.RejectedLogEventsInfo != nil {
		t.Fatalf("%+v, %v", out.RejectedLogEventsInfo, err)
	}
	if _, err = s.put(ctx, streamA, 0); err != nil { // one that a function has begun
		t.Fatal(err)
	}
	if got := s.messages(t, "mine"); !slices.Equal(got, []string{"event 0", "event 1", "event 2"}) {
		t.Errorf("put became %q", got)
	}
	if got := s.messages(t, streamA); !slices.Equal(got, []string{"a line\n", "event 0"}) {
		t.Errorf("beside a function's: %q", got)
	}
	_, err = s.put(ctx, "mine", 0, -time.Second)
	wantException(t, err, "InvalidParameterException", "chronological order")
	_, err = s.put(ctx, "mine", -25*time.Hour, 0)
	wantException(t, err, "InvalidParameterException", "24 hours")
	_, err = s.client.PutLogEvents(ctx, &cwl.PutLogEventsInput{LogGroupName: aws.String(group), LogStreamName: aws.String("mine"),
		LogEvents: []types.InputLogEvent{{Timestamp: aws.Int64(0), Message: aws.String(strings.Repeat("x", 300_000))}}})
	wantException(t, err, "InvalidParameterException", "too large")
}

// Events that are too old, or of the future, are told of and left out.
func TestPutRejects(t *testing.T) {
	s, ctx := start(t), t.Context()
	if err := s.store.CreateGroup(ctx, auth.DefaultAccount, group, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.store.CreateStream(ctx, auth.DefaultAccount, group, "mine"); err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	out, err := s.put(ctx, "mine", -14*day-time.Minute, -14*day+time.Minute)
	if r := out.RejectedLogEventsInfo; err != nil || r == nil || *r.TooOldLogEventEndIndex != 1 || r.TooNewLogEventStartIndex != nil || r.ExpiredLogEventEndIndex != nil {
		t.Errorf("too old: %+v, %v", r, err)
	}
	if err := s.store.SetRetention(ctx, auth.DefaultAccount, group, 1); err != nil {
		t.Fatal(err)
	}
	out, err = s.put(ctx, "mine", -day+3*time.Hour, 0, time.Hour, 2*time.Hour+time.Minute)
	if r := out.RejectedLogEventsInfo; err != nil || r == nil || *r.TooNewLogEventStartIndex != 3 || r.TooOldLogEventEndIndex != nil || r.ExpiredLogEventEndIndex != nil {
		t.Errorf("too new: %+v, %v", r, err)
	}
	out, err = s.put(ctx, "mine", -3*day, -3*day)
	if r := out.RejectedLogEventsInfo; err != nil || r == nil || *r.ExpiredLogEventEndIndex != 2 {
		t.Errorf("expired: %+v, %v", r, err)
	}
	if got := s.messages(t, "mine"); !slices.Equal(got, []string{"event 1", "event 0", "event 1", "event 2"}) {
		t.Errorf("kept: %q", got)
	}
}

// Streams that were made and never used are not kept without end.
func TestMadeStreamsAreBounded(t *testing.T) {
	s := start(t)
	if err := s.store.CreateGroup(t.Context(), auth.DefaultAccount, group, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 1100 {
		if err := s.store.CreateStream(t.Context(), auth.DefaultAccount, group, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.store.Streams(t.Context(), auth.DefaultAccount, group, ""); err != nil || len(list) != 1000 {
		t.Errorf("%d streams, %v", len(list), err)
	}
}

// ownBody sends requests with bodies of its own. The SDK closes a body as soon as there is
// an answer, while net/http may still look for its end: then it ends the connection.
type ownBody struct{ *http.Client }

func (c ownBody) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return c.Client.Do(r)
}

func TestLiveTailThroughSDK(t *testing.T) {
	s := start(t)
	arn := "arn:aws:logs:us-east-1:000000000000:log-group:" + group
	client := ownBody{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	tail := func(in cwl.StartLiveTailInput) (*cwl.StartLiveTailEventStream, error) {
		out, err := s.client.StartLiveTail(t.Context(), &in, func(o *cwl.Options) {
			o.HTTPClient = client
			o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
				return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("no prefix of the host's name", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
					return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
				}), middleware.After)
			})
		})
		if err != nil {
			return nil, err
		}
		return out.GetStream(), nil
	}
	_, err := tail(cwl.StartLiveTailInput{LogGroupIdentifiers: []string{arn}})
	wantException(t, err, "ResourceNotFoundException", "log group")
	st := s.store.Open(auth.DefaultAccount, group, streamA)
	st.WriteLine(time.Now(), []byte("ERROR before"))
	_, err = tail(cwl.StartLiveTailInput{LogGroupIdentifiers: []string{arn}, LogStreamNames: []string{"a"}, LogStreamNamePrefixes: []string{"b"}})
	wantException(t, err, "InvalidParameterException", "Only one of")
	_, err = tail(cwl.StartLiveTailInput{LogGroupIdentifiers: []string{arn}, LogEventFilterPattern: aws.String("{")})
	wantException(t, err, "InvalidParameterException", "")
	time.Sleep(2 * time.Millisecond) // what was before is of an earlier millisecond
	events, err := tail(cwl.StartLiveTailInput{LogGroupIdentifiers: []string{arn}, LogEventFilterPattern: aws.String("ERROR"), LogStreamNamePrefixes: []string{"2026/01/01/[$"}})
	if err != nil {
		t.Fatal(err)
	}
	st.WriteLine(time.Now(), []byte("ERROR one"))
	st.WriteLine(time.Now(), []byte("nothing"))
	s.store.Open(auth.DefaultAccount, group, streamB).WriteLine(time.Now(), []byte("ERROR of another"))
	for range 1500 { // more than two updates hold
		st.WriteLine(time.Now(), []byte("ERROR more"))
	}
	var got []types.LiveTailSessionLogEvent
	sampled, started := false, false
	for e := range events.Events() {
		switch e := e.(type) {
		case *types.StartLiveTailResponseStreamMemberSessionStart:
			started = *e.Value.LogEventFilterPattern == "ERROR" && *e.Value.SessionId != ""
		case *types.StartLiveTailResponseStreamMemberSessionUpdate:
			got = append(got, e.Value.SessionResults...)
			sampled = sampled || e.Value.SessionMetadata.Sampled
		}
		if sampled {
			break
		}
	}
	if err := events.Close(); err != nil {
		t.Error(err)
	}
	if !started || !sampled || len(got) < 500 || *got[0].Message != "ERROR one\n" || *got[0].LogStreamName != streamA || *got[0].LogGroupIdentifier != arn || *got[1].Message != "ERROR more\n" {
		t.Errorf("started %v, sampled %v, %d events", started, sampled, len(got))
	}
}
