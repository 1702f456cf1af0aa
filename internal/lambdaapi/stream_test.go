package lambdaapi_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent"
)

// streamer streams what its event asks for, in parts.
type streamer struct {
	echo
	parts []string
	wait  chan struct{} // before the second part, if set
	res   lambent.Result
	err   error
	wrote error
}

func (s *streamer) Invoke(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	if len(s.parts) == 0 || inv.Stream == nil {
		return s.echo.Invoke(ctx, inv)
	}
	if err := inv.Stream.Begin("text/plain"); err != nil {
		return nil, err
	}
	for i, p := range s.parts {
		if i == 1 && s.wait != nil {
			<-s.wait
		}
		if _, s.wrote = inv.Stream.Write([]byte(p)); s.wrote != nil {
			break
		}
	}
	res := s.res
	res.ExecutedVersion = "$LATEST"
	return &res, s.err
}

// streamClient is AWS's client of a door whose functions stream.
func streamClient(t *testing.T, s *streamer) *awslambda.Client {
	t.Helper()
	o := rooms(t, nil)
	s.echo = echo{o.Catalog}
	o.Invoker = s
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = o.Catalog.Run(ctx) }() // waited for below
	srv := httptest.NewServer(signed(o))
	t.Cleanup(func() { srv.Close(); cancel(); <-stopped })
	c := awslambda.New(awslambda.Options{
		Region: region, BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""),
	})
	create(t, c, "f")
	return c
}

func TestSDKStream(t *testing.T) {
	big := strings.Repeat("x", 300<<10)
	for name, c := range map[string]struct {
		parts []string
		res   lambent.Result
		event string
		want  string
		last  types.InvokeWithResponseStreamCompleteEvent
	}{
		"buffered": {event: `{"a":1}`, want: `{"a":1}`},
		"streamed": {parts: []string{"one ", "two ", big}, want: "one two " + big},
		"failed in the middle": {
			parts: []string{"one "}, want: "one ",
			res:  lambent.Result{FunctionError: "Unhandled", Payload: []byte(`{"errorType":"E"}`)},
			last: types.InvokeWithResponseStreamCompleteEvent{ErrorCode: aws.String("Unhandled"), ErrorDetails: aws.String(`{"errorType":"E"}`)},
		},
		"nothing": {event: "", want: "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			client := streamClient(t, &streamer{parts: c.parts, res: c.res})
			out := must[*awslambda.InvokeWithResponseStreamOutput](t)(client.InvokeWithResponseStream(t.Context(),
				&awslambda.InvokeWithResponseStreamInput{FunctionName: aws.String("f"), Payload: []byte(c.event)}))
			if *out.ExecutedVersion != "$LATEST" {
				t.Errorf("version %v", *out.ExecutedVersion)
			}
			var got bytes.Buffer
			var last *types.InvokeWithResponseStreamCompleteEvent
			for e := range out.GetStream().Events() {
				switch e := e.(type) {
				case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
					got.Write(e.Value.Payload)
				case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
					last = &e.Value
				}
			}
			if err := out.GetStream().Err(); err != nil || got.String() != c.want {
				t.Errorf("%d bytes, %v, want %d", got.Len(), err, len(c.want))
			}
			if last == nil || aws.ToString(last.ErrorCode) != aws.ToString(c.last.ErrorCode) || aws.ToString(last.ErrorDetails) != aws.ToString(c.last.ErrorDetails) {
				t.Errorf("ends with %+v", last)
			}
		})
	}
}

// What a function has written is there before it goes on, and a stream that the
// platform breaks off does not look whole.
func TestStreamAsItComes(t *testing.T) {
	wait := make(chan struct{})
	client := streamClient(t, &streamer{parts: []string{"one", "two"}, wait: wait, err: errors.New("lost")})
	out := must[*awslambda.InvokeWithResponseStreamOutput](t)(client.InvokeWithResponseStream(t.Context(),
		&awslambda.InvokeWithResponseStreamInput{FunctionName: aws.String("f")}))
	events := out.GetStream().Events()
	if e, ok := (<-events).(*types.InvokeWithResponseStreamResponseEventMemberPayloadChunk); !ok || string(e.Value.Payload) != "one" {
		t.Errorf("first comes %v", e)
	}
	close(wait)
	for e := range events {
		if _, ok := e.(*types.InvokeWithResponseStreamResponseEventMemberInvokeComplete); ok {
			t.Error("a broken stream is complete")
		}
	}
}

func TestSDKStreamErrors(t *testing.T) {
	client := streamClient(t, &streamer{})
	_, err := client.InvokeWithResponseStream(t.Context(), &awslambda.InvokeWithResponseStreamInput{FunctionName: aws.String("none")})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = client.InvokeWithResponseStream(t.Context(), &awslambda.InvokeWithResponseStreamInput{FunctionName: aws.String("f"), Payload: []byte("{")})
	wantCode(t, err, "InvalidRequestContentException")
	_, err = client.InvokeWithResponseStream(t.Context(), &awslambda.InvokeWithResponseStreamInput{FunctionName: aws.String("f"), Payload: make([]byte, lambent.MaxPayload+1)})
	var answered interface{ HTTPStatusCode() int }
	if !errors.As(err, &answered) || answered.HTTPStatusCode() != http.StatusRequestEntityTooLarge {
		t.Errorf("too large an event answers %v", err)
	}
}
