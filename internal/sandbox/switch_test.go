package sandbox_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/sandbox/fake"
)

// able is a driver with the optional abilities.
type able struct {
	*fake.Driver
	asked []string
}

func (a *able) Prepare(_ context.Context, spec sandbox.Spec) error {
	a.asked = append(a.asked, "prepare "+spec.Runtime.Name)
	return nil
}

func (a *able) Expect(rt sandbox.Runtime) { a.asked = append(a.asked, "expect "+rt.Name) }

func (a *able) Reserves() []sandbox.Reserve { return []sandbox.Reserve{{Runtime: "r"}} }

type kept struct{ closed bool }

func (k *kept) Close() error { k.closed = true; return nil }

func TestByName(t *testing.T) {
	ended := func(n int) fake.Script {
		return fake.Script{Recover: func(context.Context) (int, error) { return n, nil }}
	}
	usual, other := &able{Driver: fake.New(ended(1))}, fake.New(ended(2))
	d := sandbox.ByName(map[string]sandbox.Driver{"usual": usual, "other": other}, "usual")
	spec := func(driver string) sandbox.Spec {
		return sandbox.Spec{ID: "i-" + driver, Version: &lambent.Version{}, Runtime: sandbox.Runtime{Name: "rt", Driver: driver}}
	}
	for name, of := range map[string]interface{ Live() int }{"": usual, "other": other} {
		if _, err := d.Start(t.Context(), spec(name)); err != nil || of.Live() != 1 {
			t.Errorf("start with %q: %v, %d live", name, err, of.Live())
		}
	}
	tmp := &kept{}
	absent := spec("absent")
	absent.Tmp = tmp
	if _, err := d.Start(t.Context(), absent); lambent.CodeOf(err) != lambent.CodeUnsupported || !tmp.closed {
		t.Errorf("start without the driver: %v, /tmp closed %v", err, tmp.closed)
	}
	p, _ := d.(sandbox.Preparer)
	r, _ := d.(sandbox.Reserver)
	for _, name := range []string{"", "other"} {
		if err := p.Prepare(t.Context(), spec(name)); err != nil {
			t.Error(err)
		}
		r.Expect(spec(name).Runtime)
	}
	if want := []string{"prepare rt", "expect rt"}; !slices.Equal(usual.asked, want) {
		t.Errorf("the driver was asked %q", usual.asked)
	}
	if got := r.Reserves(); len(got) != 1 {
		t.Errorf("reserves: %+v", got)
	}
	if n, err := d.Recover(t.Context()); n != 3 || err != nil {
		t.Errorf("recover: %d, %v", n, err)
	}
	if about := d.Describe(); about.Name != "fake, fake" || !strings.Contains(strings.Join(about.Warnings, "\n"), "fake: nothing is isolated") {
		t.Errorf("description: %+v", about)
	}
	if err := d.Close(); err != nil || usual.Live()+other.Live() != 0 {
		t.Errorf("close: %v", err)
	}
}
