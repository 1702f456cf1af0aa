package sandboxtest

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// guestProbe is where a probe that starts without a function lives: the function's
// code is not there yet.
const guestProbe = "/var/runtime/probe"

// Reserved makes a driver start the probe from its reserve wherever the suite
// starts it as usual, and fails the test when a start does not: the suite then
// says of such instances what it says of all.
func Reserved(t *testing.T, d sandbox.Driver) sandbox.Driver {
	r, ok := d.(sandbox.Reserver)
	if !ok {
		t.Fatal("the driver has no reserve")
	}
	return &reserved{Driver: d, reserver: r, t: t, probe: filepath.Join(Probe(t), "bootstrap")}
}

type reserved struct {
	sandbox.Driver
	reserver sandbox.Reserver
	t        *testing.T
	probe    string
	mu       sync.Mutex // one start at a time, so that each finds the blank it waited for
}

// BlankSpec makes spec one that may start from a reserve; probe is the program on
// the host. Env is the blank's.
func BlankSpec(spec sandbox.Spec, probe string, env ...string) sandbox.Spec {
	spec.Runtime.Mounts = append(slices.Clone(spec.Runtime.Mounts), sandbox.Mount{Host: probe, Guest: guestProbe})
	spec.Runtime.Command = []string{guestProbe}
	spec.Runtime.Control = true
	spec.Runtime.Blank = &sandbox.Blank{Key: fmt.Sprint("probe ", spec.Runtime.Mounts, env), Command: []string{guestProbe}, Env: env}
	return spec
}

// AwaitReserve waits until a blank of this runtime is ready.
func AwaitReserve(t testing.TB, r sandbox.Reserver, rt sandbox.Runtime) {
	t.Helper()
	r.Expect(rt)
	deadline := time.Now().Add(Patience)
	for {
		for _, e := range r.Reserves() {
			if e.Key == rt.Blank.Key && e.Ready > 0 {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no blank is ready: %+v", r.Reserves())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Start starts from the reserve.
func (d *reserved) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Instance, error) {
	if spec.Version == nil || len(spec.Runtime.Command) == 0 || spec.Runtime.Command[0] != "/var/task/bootstrap" ||
		spec.Version.Network == lambent.NetworkLoopback || spec.Version.Network == lambent.NetworkNone {
		return d.Driver.Start(ctx, spec)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	spec = BlankSpec(spec, d.probe)
	AwaitReserve(d.t, d.reserver, spec.Runtime)
	i, err := d.Driver.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	checked := &originChecked{Instance: i, t: d.t}
	able, ok := i.(abilities)
	if !ok {
		return checked, nil
	}
	return struct {
		*originChecked
		abilities
	}{checked, able}, nil
}

// abilities are the optional ones of an instance that the suite asks for.
type abilities interface {
	sandbox.Freezer
	sandbox.Pager
	sandbox.Collector
}

// originChecked fails the test if the instance is not what it was asked for.
type originChecked struct {
	sandbox.Instance
	t *testing.T
}

func (i *originChecked) Init(ctx context.Context) (sandbox.InitResult, error) {
	r, err := i.Instance.Init(ctx)
	if err == nil && r.Origin != lambent.OriginBlank {
		i.t.Errorf("the instance is of origin %q", r.Origin)
	}
	return r, err
}
