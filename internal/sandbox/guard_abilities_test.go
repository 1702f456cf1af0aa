package sandbox_test

import (
	"context"
	"errors"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// capable is a driver with every optional ability.
type capable struct {
	sandbox.Driver
	expected []string
	prepared []string
	started  *capableInstance
}

func (d *capable) Expect(rt sandbox.Runtime)   { d.expected = append(d.expected, rt.Name) }
func (d *capable) Reserves() []sandbox.Reserve { return []sandbox.Reserve{{Key: "k"}} }
func (d *capable) Prepare(_ context.Context, s sandbox.Spec) error {
	d.prepared = append(d.prepared, s.ID)
	return errors.New("as asked")
}

func (d *capable) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	i, err := d.Driver.Start(ctx, spec)
	d.started = &capableInstance{Instance: i}
	return d.started, err
}

type capableInstance struct {
	sandbox.Instance
	told []string
}

func (*capableInstance) Freeze() error           { return nil }
func (*capableInstance) Thaw() error             { return nil }
func (*capableInstance) Listening() bool         { return true }
func (i *capableInstance) Tell(event []byte)     { i.told = append(i.told, string(event)) }
func (*capableInstance) PageOut() (int64, error) { return 7, nil }
func (*capableInstance) Collect(name, _ string, _ int64) error {
	return lambent.Errorf(lambent.CodeNotFound, "no %s", name)
}

// TestGuardPassesAbilities: what a driver can do, it can do behind the guard; and
// what it cannot is harmless to ask for.
func TestGuardPassesAbilities(t *testing.T) {
	d := &capable{Driver: fake.New(fake.Script{})}
	g := sandbox.Guard(d)
	g.(sandbox.Reserver).Expect(sandbox.Runtime{Name: "x"})
	if r := g.(sandbox.Reserver).Reserves(); len(r) != 1 || len(d.expected) != 1 {
		t.Errorf("reserves %v, expected %v", r, d.expected)
	}
	if err := g.(sandbox.Preparer).Prepare(t.Context(), sandbox.Spec{ID: "p"}); err == nil || len(d.prepared) != 1 {
		t.Errorf("prepare: %v, %v", err, d.prepared)
	}
	i, err := g.Start(t.Context(), sandbox.Spec{ID: "one", Version: &lambent.Version{}})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := i.(sandbox.Pager).PageOut(); n != 7 || err != nil {
		t.Errorf("paged out %d, %v", n, err)
	}
	if err := i.(sandbox.Collector).Collect("f", "", 1); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("collect: %v", err)
	}

	if teller := i.(sandbox.Teller); !teller.Listening() {
		t.Error("nobody listens")
	} else {
		teller.Tell([]byte("event")) // must not be lost
	}
	if told := d.started.told; len(told) != 1 || told[0] != "event" {
		t.Errorf("told %v", told)
	}

	plain := sandbox.Guard(struct{ sandbox.Driver }{fake.New(fake.Script{})})
	plain.(sandbox.Reserver).Expect(sandbox.Runtime{})
	if plain.(sandbox.Reserver).Reserves() != nil {
		t.Error("reserves of nothing")
	}
	if err := plain.(sandbox.Preparer).Prepare(t.Context(), sandbox.Spec{}); err != nil {
		t.Errorf("prepare nothing: %v", err)
	}
}
