package httpapi

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/sandbox"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// stable stands in for the pool, the driver's reserves and the scaler.
type stable struct{ retired []string }

func (*stable) ColdStarts(namespace, function, number string) []pool.ColdStart {
	if number != "1" {
		return nil
	}
	return []pool.ColdStart{{
		ID: namespace + "-" + function, Stream: "s", Began: began, Total: 12 * time.Millisecond, Init: 5 * time.Millisecond,
		Origin: lambent.OriginFork, Ahead: "histogram", Stages: []lambent.Stage{
			{Name: lambent.StageCode, Start: began.Add(100 * time.Microsecond), Took: 200 * time.Microsecond},
			{Name: lambent.StageInit, Start: began.Add(7 * time.Millisecond), Took: 5 * time.Millisecond},
		},
	}}
}

func (s *stable) Retire(_, function, number string) {
	s.retired = append(s.retired, function+":"+number)
}

func (*stable) Reserves() []sandbox.Reserve {
	return []sandbox.Reserve{
		{Runtime: "python3.12", Key: "k", Ready: 1, Wanted: 2, MemoryBytes: 10, Hits: 3, Misses: 4, Died: 5, Nodes: []sandbox.ReserveNode{
			{Ready: 1, MemoryBytes: 6}, {Modules: []string{"numpy"}, MemoryBytes: 4},
		}},
		{Runtime: "nodejs22.x", MemoryBytes: 5},
	}
}

func (*stable) Allocation(p *lambent.Provisioned) (lambent.Allocation, bool) {
	switch p.Requested {
	case 1:
		return lambent.Allocation{}, false
	case 2:
		return lambent.Allocation{Wanted: 2, Allocated: 2, Available: 1}, true
	case 3:
		return lambent.Allocation{Wanted: 5, Allocated: 5, Available: 5}, true
	}
	return lambent.Allocation{Wanted: p.Requested, Failure: "init failed"}, true
}

func stabled(t *testing.T) (*rig, *stable) {
	t.Helper()
	s := &stable{}
	r := newRigWith(t, func(o *Options) {
		o.Instances, o.Reserver, o.Provisioner, o.ReserveBytes = s, s, s, 150e6
	})
	r.publish(t)
	return r, s
}

// publish makes hello with the version 1 and the alias live.
func (r *rig) publish(t *testing.T) {
	t.Helper()
	if _, err := r.Deploy(t.Context(), "hello", hello(t)); err != nil {
		t.Fatal(err)
	}
	const ns = "000000000000"
	_, err := r.catalog.PublishVersion(t.Context(), catalog.PublishVersion{Namespace: ns, Function: "hello"})
	if err == nil {
		_, err = r.catalog.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "hello", Name: "live", Version: "1"})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestColdStarts(t *testing.T) {
	r, s := stabled(t)
	got, err := r.ColdStarts(t.Context(), "hello", "live")
	want := client.ColdStarts{Function: "hello", Version: "1", Runtime: "python3.12", ColdStarts: []client.ColdStart{{
		ID: "000000000000-hello", Stream: "s", Began: began, TotalMS: 12, InitMS: 5, Origin: "fork", Ahead: "histogram",
		Stages: []client.Span{{Name: "code", StartMS: 0.1, MS: 0.2}, {Name: "init", StartMS: 7, MS: 5}},
	}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	if got, err = r.ColdStarts(t.Context(), "hello", ""); err != nil || got.Version != lambent.Latest || got.ColdStarts == nil || len(got.ColdStarts) != 0 {
		t.Errorf("none yet: %+v, %v", got, err)
	}
	if _, err = r.ColdStarts(t.Context(), "hello", "7"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("unknown version: %v", err)
	}
	if err := errors.Join(r.Retire(t.Context(), "hello", "live"), r.Retire(t.Context(), "hello", "")); err != nil {
		t.Error(err)
	}
	if want := []string{"hello:1", "hello:$LATEST"}; !slices.Equal(s.retired, want) {
		t.Errorf("retired %v, want %v", s.retired, want)
	}
	if err := r.Retire(t.Context(), "gone", ""); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("unknown function: %v", err)
	}
}

func TestReserves(t *testing.T) {
	r, _ := stabled(t)
	got, err := r.Reserves(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.MemoryBytes != 15 || got.BudgetBytes != 150e6 || len(got.Reserves) != 2 || len(got.Reserves[0].Nodes) != 2 ||
		!slices.Equal(got.Reserves[0].Nodes[1].Modules, []string{"numpy"}) || got.Reserves[0].Died != 5 {
		t.Errorf("got %+v", got)
	}
}

// TestWithoutStable is a server whose driver can do none of this.
func TestWithoutStable(t *testing.T) {
	r := newRig(t)
	r.publish(t)
	ctx := t.Context()
	if got, err := r.Reserves(ctx); err != nil || got.Reserves == nil || len(got.Reserves) != 0 {
		t.Errorf("reserves: %+v, %v", got, err)
	}
	if got, err := r.ColdStarts(ctx, "hello", ""); err != nil || got.ColdStarts == nil {
		t.Errorf("cold starts: %+v, %v", got, err)
	}
	if err := r.Retire(ctx, "hello", ""); lambent.CodeOf(err) != lambent.CodeUnsupported {
		t.Errorf("retire: %v", err)
	}
	if got, err := r.Provision(ctx, "hello", "1", client.Provision{Count: 3}); err != nil || got.Status != client.ProvisionInProgress || got.Wanted != 3 {
		t.Errorf("provision: %+v, %v", got, err)
	}
}

func TestSettings(t *testing.T) {
	r, _ := stabled(t)
	ctx := t.Context()
	show := func(s client.Settings) map[string]any {
		return map[string]any{"reserve": *s.Reserve, "prediction": *s.Prediction, "min": maps.Clone(s.MinInstances)}
	}
	for i, step := range []struct {
		set  client.Settings
		want map[string]any
	}{
		{client.Settings{}, map[string]any{"reserve": true, "prediction": true, "min": map[string]int(nil)}},
		{client.Settings{Reserve: p(false)}, map[string]any{"reserve": false, "prediction": true, "min": map[string]int(nil)}},
		{client.Settings{MinInstances: map[string]int{"live": 2}}, map[string]any{"reserve": false, "prediction": true, "min": map[string]int{"live": 2}}},
		{client.Settings{MinInstances: map[string]int{lambent.Latest: 1}, Prediction: p(false)}, map[string]any{"reserve": false, "prediction": false, "min": map[string]int{"live": 2, lambent.Latest: 1}}},
		{client.Settings{MinInstances: map[string]int{"live": 0}, Reserve: p(true)}, map[string]any{"reserve": true, "prediction": false, "min": map[string]int{lambent.Latest: 1}}},
	} {
		set, err := r.SetSettings(ctx, "hello", step.set)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		got, err := r.Settings(ctx, "hello")
		if err != nil || !reflect.DeepEqual(show(set), step.want) || !reflect.DeepEqual(show(got), step.want) {
			t.Errorf("step %d: %v, %v, %v, want %v", i, show(set), show(got), err, step.want)
		}
	}
	if _, err := r.SetSettings(ctx, "hello", client.Settings{MinInstances: map[string]int{"none": 1}}); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("unknown qualifier: %v", err)
	}
	if _, err := r.Settings(ctx, "gone"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("unknown function: %v", err)
	}
	off := hello(t)
	off.Reserve = p(false)
	if d, err := r.Deploy(ctx, "hello", off); err != nil || !slices.Equal(d.Changed, []string{"reserve"}) {
		t.Errorf("deploy: %+v, %v", d, err)
	}
	if d, err := r.Deploy(ctx, "hello", off); err != nil || len(d.Changed) != 0 {
		t.Errorf("deploy again: %+v, %v", d, err)
	}
	if d, err := r.Deploy(ctx, "new", off); err != nil || !d.Created || len(d.Changed) != 0 {
		t.Errorf("deploy a new one: %+v, %v", d, err)
	}
	if got, err := r.Settings(ctx, "new"); err != nil || *got.Reserve {
		t.Errorf("settings of the new one: %+v, %v", got, err)
	}
}

func TestProvision(t *testing.T) {
	r, _ := stabled(t)
	ctx := t.Context()
	windows := []client.Window{{Start: "cron(0 8 ? * MON-FRI *)", DurationSeconds: 32400, Count: 5}}
	for n, want := range map[int]client.Provisioned{
		1: {Wanted: 1, Status: "in_progress"},
		2: {Wanted: 2, Allocated: 2, Available: 1, Status: "in_progress"},
		3: {Wanted: 5, Allocated: 5, Available: 5, Status: "ready"},
		4: {Wanted: 4, Status: "failed", Failure: "init failed"},
	} {
		got, err := r.Provision(ctx, "hello", "live", client.Provision{Count: n, Windows: &windows})
		if err != nil {
			t.Fatal(err)
		}
		want.Qualifier, want.Count, want.Windows, want.LastModified = "live", n, windows, got.LastModified
		if !reflect.DeepEqual(got, want) || got.LastModified.IsZero() {
			t.Errorf("%d: got %+v, want %+v", n, got, want)
		}
	}
	if got, err := r.Provision(ctx, "hello", "live", client.Provision{Count: 3}); err != nil || !reflect.DeepEqual(got.Windows, windows) {
		t.Errorf("windows are kept: %+v, %v", got, err)
	}
	list, err := r.Provisioned(ctx, "hello")
	one, err2 := r.ProvisionedOf(ctx, "hello", "live")
	if err := errors.Join(err, err2); err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], one) {
		t.Errorf("list %+v, one %+v, %v", list, one, err)
	}
	if err := r.Unprovision(ctx, "hello", "live"); err != nil {
		t.Error(err)
	}
	if _, err := r.ProvisionedOf(ctx, "hello", "live"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("after the end: %v", err)
	}
}

func TestProvisionRefuses(t *testing.T) {
	r, _ := stabled(t)
	window := func(start string, seconds float64, count int) *[]client.Window {
		return &[]client.Window{{Start: start, DurationSeconds: seconds, Count: count}}
	}
	for name, tt := range map[string]struct {
		qualifier string
		in        client.Provision
		code      lambent.Code
		want      string
	}{
		"latest":    {lambent.Latest, client.Provision{Count: 1}, lambent.CodeInvalid, "unpublished"},
		"unknown":   {"none", client.Provision{Count: 1}, lambent.CodeNotFound, "alias"},
		"nothing":   {"1", client.Provision{}, lambent.CodeInvalid, "deleting"},
		"too many":  {"1", client.Provision{Count: 1001}, lambent.CodeInvalid, "unreserved"},
		"schedule":  {"1", client.Provision{Count: 1, Windows: window("at noon", 3600, 1)}, lambent.CodeInvalid, "at noon"},
		"no time":   {"1", client.Provision{Count: 1, Windows: window("0 8 * * *", 0, 1)}, lambent.CodeInvalid, "no number of seconds"},
		"long time": {"1", client.Provision{Count: 1, Windows: window("0 8 * * *", 1e300, 1)}, lambent.CodeInvalid, "no number of seconds"},
		"a second":  {"1", client.Provision{Count: 1, Windows: window("0 8 * * *", 1, 1)}, lambent.CodeInvalid, "1m"},
		"negative":  {"1", client.Provision{Count: 1, Windows: window("0 8 * * *", 3600, -1)}, lambent.CodeInvalid, "count -1"},
	} {
		_, err := r.Provision(t.Context(), "hello", tt.qualifier, tt.in)
		if lambent.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s %q", name, err, tt.code, tt.want)
		}
	}
	if list, err := r.Provisioned(t.Context(), "hello"); err != nil || len(list) != 0 {
		t.Errorf("after refusals: %+v, %v", list, err)
	}
}
