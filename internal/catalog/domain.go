package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// maxDomains bounds the names that the server gets certificates for.
const maxDomains = 10_000

// Domain finds a name that the server gets certificates for; nil is none. It takes
// no lock.
func (c *Catalog) Domain(name string) *lambent.Domain { return (*c.routing.domains.Load())[name] }

// Domains returns the names that the server gets certificates for, in order.
func (c *Catalog) Domains() []*lambent.Domain {
	return slices.SortedFunc(maps.Values(*c.routing.domains.Load()), func(a, b *lambent.Domain) int { return cmp.Compare(a.Name, b.Name) })
}

// PutDomain adds a name, or changes it. That it can be a name is checked by who
// gets the certificates.
func (c *Catalog) PutDomain(ctx context.Context, d lambent.Domain) error {
	leave, err := c.gates.enter(ctx, routingGate)
	if err != nil {
		return err
	}
	defer leave()
	d.Created = c.now()
	if was := c.Domain(d.Name); was != nil {
		d.Created = was.Created
	} else if len(*c.routing.domains.Load()) >= maxDomains {
		return lambent.Errorf(lambent.CodeConflict, "the server may have %d names with certificates of its own", maxDomains).WithReason("TooManyDomains")
	}
	b := &batch{}
	b.put("domain/"+d.Name, &d)
	return c.commitDomains(ctx, b, func(all map[string]*lambent.Domain) { all[d.Name] = &d })
}

// DeleteDomain deletes a name.
func (c *Catalog) DeleteDomain(ctx context.Context, name string) error {
	leave, err := c.gates.enter(ctx, routingGate)
	if err != nil {
		return err
	}
	defer leave()
	if c.Domain(name) == nil {
		return lambent.Errorf(lambent.CodeNotFound, "the server gets no certificate for %s", name)
	}
	b := &batch{}
	b.delete("domain/" + name)
	return c.commitDomains(ctx, b, func(all map[string]*lambent.Domain) { delete(all, name) })
}

func (c *Catalog) commitDomains(ctx context.Context, b *batch, change func(map[string]*lambent.Domain)) error {
	if b.err != nil {
		return b.err
	}
	if _, err := c.commit(ctx, b.ops); err != nil {
		c.refreshRouting(ctx)
		return c.commitError(err, "the domain", "domains")
	}
	next := maps.Clone(*c.routing.domains.Load())
	change(next)
	c.routing.domains.Store(&next)
	return nil
}

func addDomain(all map[string]*lambent.Domain, r store.Record) error {
	name, ok := strings.CutPrefix(r.Key, "domain/")
	if !ok || name == "" {
		return errKey
	}
	var d lambent.Domain
	if err := json.Unmarshal(r.Value, &d); err != nil {
		return err
	}
	d.Name = name
	all[name] = &d
	return nil
}
