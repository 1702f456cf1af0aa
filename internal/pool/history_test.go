package pool

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

func TestColdStartsAreRemembered(t *testing.T) {
	how := scripted{start: 5 * time.Millisecond, init: 30 * time.Millisecond, onStart: func(s sandbox.Spec) error {
		now := time.Now()
		for i, name := range []string{lambent.StageSandbox, lambent.StageFiles, lambent.StageNetwork, lambent.StageRuntime, lambent.StageNetwork} {
			s.Stage(name, now, time.Duration(i+1)*time.Millisecond)
		}
		return nil
	}}
	inPool(t, how, nil, func(t *testing.T, p *Pool, d *fake.Driver) {
		v := version("f")
		began := time.Now()
		call(t, p, v)
		d.Instances()[0].Spec.Stage(lambent.StageInit, began, time.Hour) // too late
		all := p.ColdStarts(v.Namespace, v.Function, v.Number)
		if len(all) != 1 {
			t.Fatalf("%d cold starts", len(all))
		}
		c := all[0]
		ms := time.Millisecond
		if got, want := lambent.StageTimes(c.Stages), [6]time.Duration{ms, 0, 2 * ms, 8 * ms, 4 * ms, 30 * ms}; got != want {
			t.Errorf("stages %v, want %v", got, want)
		}
		if !c.Began.Equal(began) || c.Total != 35*ms || c.Init != 30*ms || c.Origin != lambent.OriginStart || c.Failure != "" {
			t.Errorf("%+v", c)
		}
		last := c.Stages[len(c.Stages)-1]
		if last.Name != lambent.StageInit || !last.Start.Equal(began.Add(5*ms)) {
			t.Errorf("init began at %v", last.Start.Sub(began))
		}
		p.Forget(v.Namespace, v.Function)
		if n := len(p.ColdStarts(v.Namespace, v.Function, "")); n != 0 {
			t.Errorf("%d are remembered of a function that is gone", n)
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	p := New(Options{})
	begin := time.Unix(0, 0)
	for i := range historyAll + 500 {
		k := Key{"0", fmt.Sprint("f", i/100), fmt.Sprint(i / 50 % 2)} // 50 for each of two versions
		p.history.add(k, ColdStart{Began: begin.Add(time.Duration(i) * time.Second)})
	}
	if p.history.count > historyAll {
		t.Errorf("%d are remembered", p.history.count)
	}
	if len(p.ColdStarts("0", "f0", "")) != 0 || len(p.ColdStarts("0", "f40", "1")) != 50 {
		t.Error("the oldest were not forgotten first")
	}
	both := p.ColdStarts("0", "f40", "")
	if len(both) != historyEach || !slices.IsSortedFunc(both, func(a, b ColdStart) int { return a.Began.Compare(b.Began) }) {
		t.Errorf("%d of both versions, or out of order", len(both))
	}
	k := Key{"0", "busy", "1"}
	for i := range 200 {
		p.history.add(k, ColdStart{Total: time.Duration(i)})
	}
	if all := p.ColdStarts("0", "busy", "1"); len(all) != historyEach || all[0].Total != 200-historyEach {
		t.Errorf("%d of one version", len(all))
	}
}
