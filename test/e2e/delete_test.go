package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// TestDeletedWhileInvoked deletes a function that is running: the call is
// answered, the next one finds nothing, and no instance stays.
func TestDeletedWhileInvoked(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "doomed", Timeout: 20})
	deployProbe(t, s, harness.Function{Name: "other", Timeout: 20})
	wantPayload(t, s.Invoke(t, "doomed", `{"do":"echo"}`), `{"do":"echo"}`)
	answered := make(chan *lambda.InvokeOutput, 1)
	go func() {
		out, err := s.TryInvoke("doomed", `{"do":"sleep","n":1500}`)
		if err != nil {
			t.Errorf("the running call: %v", err)
		}
		answered <- out
	}()
	time.Sleep(300 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := s.Lambda().DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String("doomed")}); err != nil {
		t.Fatal(err)
	}
	var missing *types.ResourceNotFoundException
	if _, err := s.TryInvoke("doomed", `{}`); !errors.As(err, &missing) {
		t.Errorf("invoke after the delete: %v", err)
	}
	if out := <-answered; out != nil {
		wantPayload(t, out, `"slept"`)
	}
	wantPayload(t, s.Invoke(t, "other", `{"do":"echo"}`), `{"do":"echo"}`)
	for deadline := time.Now().Add(5 * time.Second); len(s.Instances()) > 1; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("instances %v, want only the other function's", s.Instances())
		}
	}
}

// TestInvokeRefusals asks for what is not there and sends what cannot be read.
func TestInvokeRefusals(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployProbe(t, s, harness.Function{Name: "probe"})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, c := range []struct {
		name, want string
		in         lambda.InvokeInput
	}{
		{"unknown function", "ResourceNotFoundException", lambda.InvokeInput{FunctionName: aws.String("nobody")}},
		{"unknown version", "ResourceNotFoundException", lambda.InvokeInput{FunctionName: aws.String("probe"), Qualifier: aws.String("7")}},
		{"unknown alias", "ResourceNotFoundException", lambda.InvokeInput{FunctionName: aws.String("probe"), Qualifier: aws.String("live")}},
		{"invalid JSON", "InvalidRequestContentException", lambda.InvokeInput{FunctionName: aws.String("probe"), Payload: []byte("{no")}},
		{"one byte too many", "RequestTooLargeException", lambda.InvokeInput{FunctionName: aws.String("probe"), Payload: stringOf(6_291_557)}},
	} {
		_, err := s.Lambda().Invoke(ctx, &c.in)
		var api interface{ ErrorCode() string }
		if !errors.As(err, &api) || api.ErrorCode() != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	largest := stringOf(6_291_556)
	out, err := s.Lambda().Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("probe"), Payload: largest})
	if err != nil || len(out.Payload) != len(largest) {
		t.Errorf("largest payload: %v", err)
	}
}

// stringOf is a JSON string of n bytes.
func stringOf(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a'
	}
	b[0], b[n-1] = '"', '"'
	return b
}
