package fake_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

// probe does, as a script, what the conformance suite asks of the probe.
var probe = fake.Script{
	Init: func(ctx context.Context, i *fake.Instance) error {
		switch {
		case slices.Contains(i.Spec.Env, "PROBE_INIT=exit"):
			return fake.End(sandbox.Failure{Type: "Runtime.ExitError", Message: "Runtime exited with error: exit status 3"})
		case slices.Contains(i.Spec.Env, "PROBE_INIT=error"):
			return fake.End(sandbox.Failure{Type: "Function.ProbeInitFailed"})
		case slices.Contains(i.Spec.Env, "PROBE_INIT=sleep"):
			<-ctx.Done()
			return lambent.Errorf(lambent.CodeTimeout, "init: %w", ctx.Err())
		}
		return nil
	},
	Invoke: func(ctx context.Context, _ *fake.Instance, ev sandbox.Event) (sandbox.Answer, error) {
		var c sandboxtest.Command
		if err := json.Unmarshal(ev.Payload, &c); err != nil {
			return sandbox.Answer{}, err
		}
		switch c.Do {
		case "echo":
			b, err := json.Marshal(c.Args)
			return sandbox.Answer{Payload: b}, err
		case "error":
			return sandbox.Answer{Payload: fmt.Appendf(nil, `{"errorMessage":%q}`, c.Args[0]), FunctionError: true, ErrorType: "Function.ProbeError"}, nil
		case "exit":
			f := sandbox.Failure{Type: "Runtime.ExitError", Message: "Runtime exited without providing a reason"}
			if c.N != 0 {
				f.Message = fmt.Sprintf("Runtime exited with error: exit status %d", c.N)
			}
			return sandbox.Answer{}, fake.End(f)
		case "sleep":
			select {
			case <-time.After(time.Duration(c.N) * time.Millisecond):
			case <-ctx.Done():
			}
			return sandbox.Answer{}, ctx.Err()
		}
		return sandbox.Answer{}, fmt.Errorf("no such thing to do: %s", c.Do)
	},
}

func TestConformance(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Harness{New: func(*testing.T, string) sandbox.Driver {
		return sandbox.Guard(fake.New(probe))
	}})
}
