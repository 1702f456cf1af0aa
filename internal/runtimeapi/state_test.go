package runtimeapi

import "testing"

// The protocol as AWS draws it, written out once more: what is not in this list
// must be refused.
func TestStateTransitions(t *testing.T) {
	want := map[state]map[step]state{
		starting:   {stepNext: ready, stepInitError: initFailed},
		initFailed: {},
		ready:      {stepNext: ready},
		running:    {stepNext: running, stepResponse: responding, stepError: reporting},
		responding: {},
		reporting:  {},
		answered:   {stepNext: ready},
		expired:    {stepNext: expired},
		exited:     {},
	}
	if len(want) != int(states) {
		t.Fatalf("the table has %d states, there are %d", len(want), states)
	}
	for s := range states {
		for p := range steps {
			to, allowed := want[s][p]
			if !allowed {
				to = s
			}
			if got, ok := s.after(p); ok != allowed || got != to {
				t.Errorf("%v.after(%d) = %v, %v; want %v, %v", s, p, got, ok, to, allowed)
			}
		}
	}
}

func TestRefusalText(t *testing.T) {
	const want = "State transition from ResponseSent to InvocationResponse failed for runtime. Error: State transition is not allowed"
	if got := answered.refusal(stepResponse); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
