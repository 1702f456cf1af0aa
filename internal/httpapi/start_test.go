package httpapi

import (
	"context"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/invoke"
)

// refused are applications that nothing gets through to, for one reason.
type refused struct{ why error }

func (r refused) Forward(context.Context, *lambent.Invocation, invoke.Send) error { return r.why }

// TestStartTellsFailuresFromRefusals: what does not start is an answer, and what could
// not be tried an error.
func TestStartTellsFailuresFromRefusals(t *testing.T) {
	for _, c := range []struct {
		why     error
		failure string
		code    lambent.Code
	}{
		{lambent.Errorf(lambent.CodeUnavailable, "it ended").WithReason("Runtime.ExitError"), "Runtime.ExitError", ""},
		{lambent.Errorf(lambent.CodeUnavailable, "closed"), "", lambent.CodeUnavailable},
		{lambent.Errorf(lambent.CodeThrottled, "no room"), "", lambent.CodeThrottled},
		{nil, "", ""},
	} {
		r := newRigWith(t, func(o *Options) { o.Applications = refused{c.why} })
		if _, err := r.Deploy(t.Context(), "web", client.Deploy{Zip: code(t, "x"), Runtime: p("python3.12"), App: &client.App{Port: 80, Command: []string{"x"}}}); err != nil {
			t.Fatal(err)
		}
		got, err := r.Start(t.Context(), "web", "")
		if lambent.CodeOf(err) != c.code || (got.Failure != nil) != (c.failure != "") || got.Failure != nil && got.Failure.Type != c.failure {
			t.Errorf("%v: %+v, %v", c.why, got, err)
		}
	}
}
