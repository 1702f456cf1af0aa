package lambent

import "time"

// Rollout moves the calls of an alias from one version to another by itself, step
// by step, and back if the new one does worse than is allowed.
type Rollout struct {
	Namespace string        `json:"namespace"`
	Function  string        `json:"function"`
	Alias     string        `json:"alias"`
	From      string        `json:"from"`
	To        string        `json:"to"`
	Steps     []float64     `json:"steps"` // percent of the calls that To gets, rising to 100
	Every     time.Duration `json:"everyNs"`
	// AbortOn are conditions such as "errors>1%", "errors>2x", "p99>2x", "p50>80ms":
	// times are against From. They are judged from MinCalls calls of To in a step on.
	AbortOn  []string     `json:"abortOn,omitempty"`
	MinCalls int          `json:"minCalls"`
	State    RolloutState `json:"state"`
	Reason   string       `json:"reason,omitempty"` // why it ended before its end
	Step     int          `json:"step"`             // index of the one that holds
	Revision string       `json:"revision"`         // of the alias, as the rollout has left it
	Began    time.Time    `json:"began"`
	Ended    time.Time    `json:"ended,omitzero"`
	// Evidence is what was measured in each step up to now.
	Evidence []RolloutStep `json:"evidence"`
}

// RolloutState is where a rollout is.
type RolloutState string

// The states. All but the first are last ones.
const (
	RolloutMoving  RolloutState = "moving"
	RolloutDone    RolloutState = "done"
	RolloutAborted RolloutState = "aborted" // the alias leads to From again
	RolloutLost    RolloutState = "lost"    // somebody else has changed the alias, which was left so
)

// RolloutStep is what was measured while a step held.
type RolloutStep struct {
	Percent float64        `json:"percent"`
	Began   time.Time      `json:"began"`
	Ended   time.Time      `json:"ended,omitzero"`
	Old     RolloutFigures `json:"old"` // since the rollout began
	New     RolloutFigures `json:"new"` // in this step
	// Verdict is the condition that has ended it; "" is none.
	Verdict string `json:"verdict,omitempty"`
}

// RolloutFigures are of the calls that have ended. Times include waiting.
type RolloutFigures struct {
	Calls  uint64        `json:"calls"`
	Failed uint64        `json:"failed"`
	P50    time.Duration `json:"p50Ns"`
	P95    time.Duration `json:"p95Ns"`
	P99    time.Duration `json:"p99Ns"`
}

// Errors is the share of the calls that have failed.
func (f RolloutFigures) Errors() float64 {
	if f.Calls == 0 {
		return 0
	}
	return float64(f.Failed) / float64(f.Calls)
}
