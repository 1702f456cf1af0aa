package sandbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// ByName makes one driver of several: a Spec goes to the one that its runtime
// names, or to the usual one. The abilities of all are its own: it prepares what
// the named driver prepares, and keeps the reserves of those that keep some.
func ByName(drivers map[string]Driver, usual string) Driver {
	return &byName{drivers: drivers, usual: usual, names: slices.Sorted(maps.Keys(drivers))}
}

type byName struct {
	drivers map[string]Driver
	usual   string
	names   []string // in order
}

var (
	_ Preparer = (*byName)(nil)
	_ Reserver = (*byName)(nil)
)

func (b *byName) pick(rt Runtime) (Driver, error) {
	name := rt.Driver
	if name == "" {
		name = b.usual
	}
	if d := b.drivers[name]; d != nil {
		return d, nil
	}
	return nil, lambent.Errorf(lambent.CodeUnsupported, "runtime %s needs the %s sandbox, which this server does not have", rt.Name, name)
}

// Start starts an instance with the driver that spec's runtime names. Without
// that driver the error has CodeUnsupported.
func (b *byName) Start(ctx context.Context, spec Spec) (Instance, error) {
	d, err := b.pick(spec.Runtime)
	if err != nil {
		if spec.Tmp != nil {
			err = errors.Join(err, spec.Tmp.Close())
		}
		return nil, err
	}
	return d.Start(ctx, spec)
}

// Prepare does what the driver can ahead of the first start, which may be nothing.
func (b *byName) Prepare(ctx context.Context, spec Spec) error {
	d, err := b.pick(spec.Runtime)
	if err != nil {
		return err
	}
	if p, ok := d.(Preparer); ok {
		return p.Prepare(ctx, spec)
	}
	return nil
}

// Expect passes on to the driver that keeps a reserve for the runtime.
func (b *byName) Expect(rt Runtime) {
	d, err := b.pick(rt)
	if err != nil {
		return // the start will tell
	}
	if r, ok := d.(Reserver); ok {
		r.Expect(rt)
	}
}

// Reserves lists those of all drivers.
func (b *byName) Reserves() []Reserve {
	var all []Reserve
	for _, name := range b.names {
		if r, ok := b.drivers[name].(Reserver); ok {
			all = append(all, r.Reserves()...)
		}
	}
	return all
}

// Recover recovers every driver, also when one fails.
func (b *byName) Recover(ctx context.Context) (int, error) {
	ended, errs := 0, []error(nil)
	for _, name := range b.names {
		n, err := b.drivers[name].Recover(ctx)
		ended += n
		errs = append(errs, err)
	}
	return ended, errors.Join(errs...)
}

// Describe is the usual driver's description, with the names and warnings of the
// others.
func (b *byName) Describe() Description {
	about := Description{Name: b.usual}
	if d := b.drivers[b.usual]; d != nil {
		about = d.Describe()
	}
	names := []string{about.Name}
	for _, name := range b.names {
		if name == b.usual {
			continue
		}
		other := b.drivers[name].Describe()
		names = append(names, other.Name)
		for _, w := range other.Warnings {
			about.Warnings = append(about.Warnings, other.Name+": "+w)
		}
	}
	about.Name = strings.Join(names, ", ")
	return about
}

// Close closes every driver.
func (b *byName) Close() error {
	var errs []error
	for _, name := range b.names {
		errs = append(errs, b.drivers[name].Close())
	}
	return errors.Join(errs...)
}
