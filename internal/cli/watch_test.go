package cli

import (
	"context"
	"fmt"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/predict"
	"lambent.dev/lambent/internal/scale"
	"lambent.dev/lambent/internal/scale/decide"
)

// watch is an autoscaler that has decided once about hello and records two calls of
// whatever is asked for.
type watch struct{ began time.Time }

func (w *watch) Status(string) []scale.Status {
	k := pool.Key{Namespace: "000000000000", Function: "hello", Number: lambent.Latest}
	x := w.StatusOf(k)
	x.Last = w.Decisions(k)[1]
	return []scale.Status{x}
}

func (w *watch) StatusOf(k pool.Key) scale.Status {
	return scale.Status{Key: k, Pool: pool.Observation{Ready: 3, Busy: 2, Waiting: 1}, Running: 7, Memory: 5 << 20}
}

func (w *watch) Decisions(k pool.Key) []scale.Made {
	if k.Number != lambent.Latest {
		return nil
	}
	s := decide.Settings{Scaling: decide.Defaults()}
	s.Target = 10
	d := decide.Decision{At: w.began, Ready: 1, Desired: 3, Rule: decide.RuleStable, Stable: 17.5, PerInstance: 7, Settings: s}
	same := d
	same.At, same.Ready = w.began.Add(time.Minute), 3
	return []scale.Made{{Decision: d, Since: w.began, Times: 1}, {Decision: same, Since: w.began.Add(2 * time.Second), Times: 30}}
}

func (w *watch) Record(pool.Key) bool { return true }

func (w *watch) Recorded(pool.Key) (scale.Recording, bool) {
	return scale.Recording{From: w.began, Calls: []predict.Call{{At: 20 * time.Millisecond, Took: time.Second}, {At: 10 * time.Millisecond}}}, true
}

// rolls says yes to every rollout, of which there is then one.
type rolls struct{ one *lambent.Rollout }

func (r *rolls) Start(_ context.Context, in lambent.Rollout) (lambent.Rollout, error) {
	if in.To == "9" {
		return in, lambent.Errorf(lambent.CodeNotFound, "there is no version 9")
	}
	in.From, in.State = "1", lambent.RolloutMoving
	in.Evidence = []lambent.RolloutStep{{Percent: in.Steps[0], New: lambent.RolloutFigures{Calls: 50, Failed: 1, P99: 20 * time.Millisecond}, Old: lambent.RolloutFigures{Calls: 950}}}
	r.one = &in
	return in, nil
}

func (r *rolls) Abort(_ context.Context, _, function, alias, reason string) (lambent.Rollout, error) {
	if r.one == nil {
		return lambent.Rollout{}, lambent.Errorf(lambent.CodeNotFound, "%s:%s is not being rolled out", function, alias)
	}
	r.one.State, r.one.Reason = lambent.RolloutAborted, reason
	return *r.one, nil
}

func (r *rolls) Rollouts(string, string) []lambent.Rollout {
	if r.one == nil {
		return nil
	}
	if r.one.State == lambent.RolloutMoving && len(r.one.AbortOn) > 0 {
		r.one.State, r.one.Reason = lambent.RolloutAborted, fmt.Sprintf("%s: 1 of 50", r.one.AbortOn[0])
	}
	return []lambent.Rollout{*r.one}
}
