package httpapi

import (
	"cmp"
	"context"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// Defaults of an application.
const (
	defaultStart       = 30 * time.Second
	defaultConcurrency = 80
	defaultAppMemory   = 512 // MB: the default of functions starts no web framework in time
	defaultAppTimeout  = time.Minute
)

// application is an application as it is stored; nil for none.
func application(a *client.App) *lambent.App {
	if a.Port == 0 {
		return nil
	}
	return &lambent.App{
		Port: a.Port, Command: a.Command, Health: a.Health,
		StartTimeout: cmp.Or(seconds(a.StartTimeout), defaultStart), Concurrency: cmp.Or(a.Concurrency, defaultConcurrency),
		IdleTimeout: seconds(a.IdleTimeout),
	}
}

// seconds is a duration that the catalog then checks.
func seconds(n float64) time.Duration {
	return time.Duration(min(max(n, 0), 1e6) * float64(time.Second))
}

// applicationDefaults fills in what a new application has else than a function.
func applicationDefaults(v *lambent.Version) {
	if v.App != nil {
		v.MemoryMB = cmp.Or(v.MemoryMB, defaultAppMemory)
		v.Timeout = cmp.Or(v.Timeout, defaultAppTimeout)
	}
}

// minimum sets how many instances of the head are kept.
func (d *deployment) minimum(ctx context.Context, created bool) error {
	n := d.want.MinInstances
	if n == nil {
		return nil
	}
	catalog := d.api.o.Catalog
	entry, err := catalog.Get(d.ns, d.name, "")
	if err != nil || entry.Function.Settings.MinInstances[lambent.Latest] == *n {
		return err
	}
	_, err = catalog.SetSettings(ctx, d.ns, d.name, func(s *lambent.Settings) error {
		if s.MinInstances == nil {
			s.MinInstances = map[string]int{}
		}
		s.MinInstances[lambent.Latest] = *n
		return nil
	})
	if err == nil && !created {
		d.changed = append(d.changed, "min-instances")
	}
	return err
}
