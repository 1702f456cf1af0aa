package logsapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/logs"
)

const (
	group   = "/aws/lambda/hello"
	streamA = "2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef"
	streamB = "2026/01/01/[1]fedcba9876543210fedcba9876543210"
)

var t0 = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

// server is the door behind the real middleware, over a real log room.
type server struct {
	url    string
	store  *logs.Store
	keys   *auth.Keys
	client *cwl.Client
}

func start(t *testing.T) server {
	t.Helper()
	store, err := logs.Open(logs.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.Open(t.TempDir(), auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	door := New(Options{Reader: store, Groups: store, Region: "us-east-1"})
	srv := httptest.NewServer(keys.Middleware(door, auth.MiddlewareOptions{Region: "us-east-1", Service: func(*http.Request) string { return "logs" }}))
	t.Cleanup(srv.Close)
	key := keys.Default()
	client := cwl.New(cwl.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key.Access, key.Secret, ""),
	})
	return server{srv.URL, store, keys, client}
}

// fill writes n lines, alternately to both streams, a second apart.
func (s server) fill(n int) {
	a, b := s.store.Open(auth.DefaultAccount, group, streamA), s.store.Open(auth.DefaultAccount, group, streamB)
	for i := range n {
		st := a
		if i%2 == 1 {
			st = b
		}
		st.WriteLine(t0.Add(time.Duration(i)*time.Second), fmt.Appendf(nil, "line %03d", i))
	}
}

func wantException(t *testing.T, err error, code, message string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), message) {
		t.Errorf("error %v, want %s: %s", err, code, message)
	}
}

func TestGroupsThroughSDK(t *testing.T) {
	s, ctx := start(t), context.Background()
	for i := range 60 {
		if _, err := s.client.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String(fmt.Sprintf("/g/%02d", i))}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.client.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String("/g/00")})
	wantException(t, err, "ResourceAlreadyExistsException", "The specified log group already exists")
	_, err = s.client.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String("a b")})
	wantException(t, err, "InvalidParameterException", "logGroupName")

	var names []string
	for p := cwl.NewDescribeLogGroupsPaginator(s.client, &cwl.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/g/")}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.LogGroups {
			names = append(names, *g.LogGroupName)
		}
		if g := page.LogGroups[0]; *g.Arn != "arn:aws:logs:us-east-1:000000000000:log-group:"+*g.LogGroupName+":*" || time.Since(time.UnixMilli(*g.CreationTime)) > time.Minute {
			t.Errorf("group %+v", g)
		}
	}
	if len(names) != 60 || names[0] != "/g/00" || names[59] != "/g/59" {
		t.Errorf("%d groups: %v", len(names), names)
	}
	if _, err := s.client.PutRetentionPolicy(ctx, &cwl.PutRetentionPolicyInput{LogGroupName: aws.String("/g/07"), RetentionInDays: aws.Int32(14)}); err != nil {
		t.Error(err)
	}
	got, err := s.client.DescribeLogGroups(ctx, &cwl.DescribeLogGroupsInput{LogGroupNamePattern: aws.String("G/07")})
	if err != nil || len(got.LogGroups) != 1 || aws.ToInt32(got.LogGroups[0].RetentionInDays) != 14 {
		t.Errorf("groups %+v, error %v", got, err)
	}
	_, err = s.client.PutRetentionPolicy(ctx, &cwl.PutRetentionPolicyInput{LogGroupName: aws.String("/g/07"), RetentionInDays: aws.Int32(15)})
	wantException(t, err, "InvalidParameterException", "retentionInDays")
	if _, err := s.client.DeleteRetentionPolicy(ctx, &cwl.DeleteRetentionPolicyInput{LogGroupName: aws.String("/g/07")}); err != nil {
		t.Error(err)
	}
	if _, err := s.client.DeleteLogGroup(ctx, &cwl.DeleteLogGroupInput{LogGroupName: aws.String("/g/07")}); err != nil {
		t.Error(err)
	}
	_, err = s.client.DeleteLogGroup(ctx, &cwl.DeleteLogGroupInput{LogGroupName: aws.String("/g/07")})
	wantException(t, err, "ResourceNotFoundException", "The specified log group does not exist.")
	chosen, err := s.client.DescribeLogGroups(ctx, &cwl.DescribeLogGroupsInput{LogGroupIdentifiers: []string{"/g/08", "arn:aws:logs:us-east-1:000000000000:log-group:/g/09"}})
	if err != nil || len(chosen.LogGroups) != 2 {
		t.Errorf("groups %+v, error %v", chosen, err)
	}
	_, err = s.client.PutMetricFilter(ctx, &cwl.PutMetricFilterInput{FilterName: aws.String("f"), FilterPattern: aws.String(""), LogGroupName: aws.String("/g/08"),
		MetricTransformations: []types.MetricTransformation{{MetricName: aws.String("m"), MetricNamespace: aws.String("n"), MetricValue: aws.String("1")}}})
	wantException(t, err, "UnknownOperationException", "PutMetricFilter is not implemented by lambent yet")
}

func TestTagsThroughSDK(t *testing.T) {
	s, ctx := start(t), context.Background()
	name, arn := aws.String("/tagged"), aws.String("arn:aws:logs:us-east-1:000000000000:log-group:/tagged")
	want := func(want map[string]string) {
		t.Helper()
		got, err := s.client.ListTagsForResource(ctx, &cwl.ListTagsForResourceInput{ResourceArn: arn})
		if err != nil || !maps.Equal(got.Tags, want) {
			t.Errorf("tags %v, error %v, want %v", got, err, want)
		}
	}
	_, err := s.client.ListTagsForResource(ctx, &cwl.ListTagsForResourceInput{ResourceArn: arn})
	wantException(t, err, "ResourceNotFoundException", "The specified log group does not exist.")
	if _, err := s.client.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: name, Tags: map[string]string{"team": "a"}}); err != nil {
		t.Fatal(err)
	}
	want(map[string]string{"team": "a"})
	if _, err := s.client.TagResource(ctx, &cwl.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"team": "b", "cost": "1"}}); err != nil {
		t.Error(err)
	}
	want(map[string]string{"team": "b", "cost": "1"})
	if _, err := s.client.UntagResource(ctx, &cwl.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"team", "none"}}); err != nil {
		t.Error(err)
	}
	want(map[string]string{"cost": "1"})
	_, err = s.client.TagResource(ctx, &cwl.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"aws:x": "1"}})
	wantException(t, err, "InvalidParameterException", "aws: prefixed tag key names are not allowed for external use.")
	many := map[string]string{}
	for i := range 50 {
		many[fmt.Sprint(i)] = "v"
	}
	_, err = s.client.TagResource(ctx, &cwl.TagResourceInput{ResourceArn: arn, Tags: many})
	wantException(t, err, "TooManyTagsException", "at most 50 tags")
	want(map[string]string{"cost": "1"})
}

func TestStreamsThroughSDK(t *testing.T) {
	s, ctx := start(t), context.Background()
	s.fill(10)
	names := func(in cwl.DescribeLogStreamsInput) string {
		in.LogGroupName = aws.String(group)
		out, err := s.client.DescribeLogStreams(ctx, &in)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, st := range out.LogStreams {
			list = append(list, strings.Split(*st.LogStreamName, "]")[0][11:])
		}
		return strings.Join(list, " ")
	}
	if got := names(cwl.DescribeLogStreamsInput{}); got != "[$LATEST [1" {
		t.Errorf("streams %s", got)
	}
	if got := names(cwl.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime, Descending: aws.Bool(true)}); got != "[1 [$LATEST" {
		t.Errorf("latest first: %s", got)
	}
	if got := names(cwl.DescribeLogStreamsInput{LogStreamNamePrefix: aws.String("2026/01/01/[1")}); got != "[1" {
		t.Errorf("with a prefix: %s", got)
	}
	first, err := s.client.DescribeLogStreams(ctx, &cwl.DescribeLogStreamsInput{LogGroupName: aws.String(group), Limit: aws.Int32(1)})
	if err != nil || len(first.LogStreams) != 1 || first.NextToken == nil {
		t.Fatalf("page %+v, error %v", first, err)
	}
	if st := first.LogStreams[0]; *st.FirstEventTimestamp != t0.UnixMilli() || *st.LastEventTimestamp != t0.Add(8*time.Second).UnixMilli() {
		t.Errorf("stream %+v", st)
	}
	second, err := s.client.DescribeLogStreams(ctx, &cwl.DescribeLogStreamsInput{LogGroupName: aws.String(group), Limit: aws.Int32(1), NextToken: first.NextToken})
	if err != nil || len(second.LogStreams) != 1 || *second.LogStreams[0].LogStreamName != streamB || second.NextToken != nil {
		t.Errorf("page %+v, error %v", second, err)
	}
	_, err = s.client.DescribeLogStreams(ctx, &cwl.DescribeLogStreamsInput{LogGroupName: aws.String("/none")})
	wantException(t, err, "ResourceNotFoundException", "The specified log group does not exist.")
}

func (s server) filter(t *testing.T, in cwl.FilterLogEventsInput) []types.FilteredLogEvent {
	t.Helper()
	if in.LogGroupIdentifier == nil {
		in.LogGroupName = aws.String(group)
	}
	var list []types.FilteredLogEvent
	for p := cwl.NewFilterLogEventsPaginator(s.client, &in); p.HasMorePages(); {
		page, err := p.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, page.Events...)
	}
	return list
}

func TestFilterThroughSDK(t *testing.T) {
	s := start(t)
	s.fill(100)
	at := func(i int) *int64 { return aws.Int64(t0.Add(time.Duration(i) * time.Second).UnixMilli()) }
	for name, c := range map[string]struct {
		in   cwl.FilterLogEventsInput
		want int
	}{
		"all":             {cwl.FilterLogEventsInput{}, 100},
		"pages of seven":  {cwl.FilterLogEventsInput{Limit: aws.Int32(7)}, 100},
		"one stream":      {cwl.FilterLogEventsInput{LogStreamNames: []string{streamA}}, 50},
		"prefix":          {cwl.FilterLogEventsInput{LogStreamNamePrefix: aws.String("2026/01/01/[1")}, 50},
		"times":           {cwl.FilterLogEventsInput{StartTime: at(10), EndTime: at(20)}, 11},
		"pattern":         {cwl.FilterLogEventsInput{FilterPattern: aws.String(`"line 01"`)}, 10},
		"by ARN":          {cwl.FilterLogEventsInput{LogGroupIdentifier: aws.String("arn:aws:logs:us-east-1:000000000000:log-group:" + group)}, 100},
		"nothing matches": {cwl.FilterLogEventsInput{FilterPattern: aws.String("absent")}, 0},
	} {
		got := s.filter(t, c.in)
		if len(got) != c.want {
			t.Errorf("%s: %d events, want %d", name, len(got), c.want)
		}
		seen := make(map[string]bool)
		for i, e := range got {
			if seen[*e.EventId] || i > 0 && *e.Timestamp < *got[i-1].Timestamp {
				t.Errorf("%s: event %d is out of order or repeated", name, i)
			}
			seen[*e.EventId] = true
		}
	}
	if e := s.filter(t, cwl.FilterLogEventsInput{Limit: aws.Int32(1), EndTime: at(0)}); len(e) != 1 || *e[0].Message != "line 000\n" || *e[0].LogStreamName != streamA || *e[0].Timestamp != *at(0) {
		t.Errorf("events %+v", e)
	}
	for _, bad := range []cwl.FilterLogEventsInput{
		{LogGroupName: aws.String(group), FilterPattern: aws.String("[a, b")},
		{LogGroupName: aws.String(group), LogStreamNames: []string{"a"}, LogStreamNamePrefix: aws.String("a")},
		{LogGroupName: aws.String(group), Limit: aws.Int32(10_001)},
		{LogGroupName: aws.String(group), NextToken: aws.String("junk")},
		{},
	} {
		_, err := s.client.FilterLogEvents(context.Background(), &bad)
		wantException(t, err, "InvalidParameterException", "")
	}
}

func TestGetLogEventsThroughSDK(t *testing.T) {
	s, ctx := start(t), context.Background()
	s.fill(100)
	get := func(next *string, head bool) *cwl.GetLogEventsOutput {
		out, err := s.client.GetLogEvents(ctx, &cwl.GetLogEventsInput{
			LogGroupName: aws.String(group), LogStreamName: aws.String(streamA), Limit: aws.Int32(20), NextToken: next, StartFromHead: aws.Bool(head),
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	text := func(out *cwl.GetLogEventsOutput) string {
		if len(out.Events) == 0 {
			return "-"
		}
		return fmt.Sprint(len(out.Events), *out.Events[0].Message, *out.Events[len(out.Events)-1].Message)
	}
	// Forward to the end, where the token stays the same.
	out, pages := get(nil, true), ""
	for {
		pages += text(out) + "|"
		next := get(out.NextForwardToken, true)
		if *next.NextForwardToken == *out.NextForwardToken {
			break
		}
		out = next
	}
	if want := "20line 000\nline 038\n|20line 040\nline 078\n|10line 080\nline 098\n|"; pages != want {
		t.Errorf("forward: %q", pages)
	}
	// Backward from the newest.
	out, pages = get(nil, false), ""
	for {
		pages += text(out) + "|"
		next := get(out.NextBackwardToken, false)
		if *next.NextBackwardToken == *out.NextBackwardToken {
			break
		}
		out = next
	}
	if want := "20line 060\nline 098\n|20line 020\nline 058\n|10line 000\nline 018\n|"; pages != want {
		t.Errorf("backward: %q", pages)
	}
	// From the end, one turn back gives the last page, and what comes later is found.
	end := get(get(nil, false).NextForwardToken, true)
	if text(end) != "-" {
		t.Errorf("beyond the end: %q", text(end))
	}
	if got := text(get(end.NextBackwardToken, false)); got != "20line 060\nline 098\n" {
		t.Errorf("turned back: %q", got)
	}
	s.store.Open(auth.DefaultAccount, group, streamA).WriteLine(t0.Add(time.Hour), []byte("late"))
	if got := text(get(end.NextForwardToken, true)); got != "1late\nlate\n" {
		t.Errorf("what came later: %q", got)
	}
	_, err := s.client.GetLogEvents(ctx, &cwl.GetLogEventsInput{LogGroupName: aws.String(group), LogStreamName: aws.String("none")})
	wantException(t, err, "ResourceNotFoundException", "The specified log stream does not exist.")
	_, err = s.client.GetLogEvents(ctx, &cwl.GetLogEventsInput{LogGroupName: aws.String(group), LogStreamName: aws.String(streamA), NextToken: aws.String("x/1/s")})
	wantException(t, err, "InvalidParameterException", "The specified nextToken is invalid.")
}

func TestOtherNamespaceSeesNothing(t *testing.T) {
	s := start(t)
	s.store.Open("111122223333", group, streamA).WriteLine(t0, []byte("theirs"))
	_, err := s.client.FilterLogEvents(context.Background(), &cwl.FilterLogEventsInput{LogGroupName: aws.String(group)})
	wantException(t, err, "ResourceNotFoundException", "")
}

func TestRawRefusals(t *testing.T) {
	store, err := logs.Open(logs.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	h := New(Options{Reader: store, Groups: store})
	post := func(target, body string, with bool) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("X-Amz-Target", target)
		if with {
			r = r.WithContext(auth.With(r.Context(), auth.Identity{AccountID: auth.DefaultAccount}))
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for name, c := range map[string]struct {
		target, body string
		with         bool
		want         string
	}{
		"no identity":      {"Logs_20140328.DescribeLogGroups", "{}", false, "MissingAuthenticationTokenException"},
		"other service":    {"DynamoDB_20120810.ListTables", "{}", true, "UnknownOperationException"},
		"not JSON":         {"Logs_20140328.DescribeLogGroups", "{", true, "SerializationException"},
		"wrong type":       {"Logs_20140328.DescribeLogGroups", `{"limit":"x"}`, true, "SerializationException"},
		"endless":          {"Logs_20140328.DescribeLogGroups", strings.Repeat(" ", maxRequest+1), true, "InvalidParameterException"},
		"escape from root": {"Logs_20140328.DeleteLogGroup", `{"logGroupName":"../.."}`, true, "ResourceNotFoundException"},
	} {
		w := post(c.target, c.body, c.with)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"__type":"`+c.want+`"`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
