package catalog

import (
	"context"
	"maps"
	"slices"

	"lambent.dev/lambent"
)

// CreateAlias adds an alias; in.RevisionID is not looked at.
func (c *Catalog) CreateAlias(ctx context.Context, in lambent.Alias) (*lambent.Alias, error) {
	k := id{in.Namespace, in.Function}
	if !lambent.ValidName(in.Name) || isNumber(in.Name) {
		return nil, invalid("InvalidName", "%q is not a valid alias name", in.Name)
	}
	a := in
	a.RevisionID = c.o.NewID()
	a.Weights = weights(in.Weights)
	a.Rules = slices.Clone(in.Rules)
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if err := c.checkRouting(k, old, &a); err != nil {
			return nil, err
		}
		if old.alias(a.Name) != nil {
			return nil, c.aliasExists(k, a.Name)
		}
		next := old.clone()
		next.putAlias(&a)
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// weights returns a private copy; none are nil.
func weights(w map[string]float64) map[string]float64 {
	if len(w) == 0 {
		return nil
	}
	return maps.Clone(w)
}

// checkRouting checks where an alias leads. The function may be nil.
func (c *Catalog) checkRouting(k id, f *function, a *lambent.Alias) error {
	if f == nil {
		return c.functionNotFound(k, a.Version)
	}
	if len(a.Weights) > 1 {
		return invalid("RoutingConfig", "Number of items in AdditionalVersionWeights cannot be greater than 1")
	}
	for number, share := range a.Weights {
		switch {
		case number == a.Version:
			return invalid("RoutingConfig", "Invalid function version %s. Function version %[1]s is already included in routing configuration.", number)
		case a.Version == lambent.Latest || number == lambent.Latest:
			return invalid("RoutingLatest", "$LATEST is not supported for an alias pointing to more than 1 version")
		case !(share >= 0 && share <= 1): // so that NaN is refused too
			return invalid("RoutingConfig", "The weight of version %s must be from 0.0 to 1.0", number)
		}
	}
	if f.version(a.Version) == nil {
		return c.functionNotFound(k, a.Version)
	}
	for number := range a.Weights {
		if f.version(number) == nil {
			return c.functionNotFound(k, number)
		}
	}
	return c.checkRules(k, f, a)
}

// UpdateAlias changes an alias.
func (c *Catalog) UpdateAlias(ctx context.Context, in UpdateAlias) (*lambent.Alias, error) {
	k := id{in.Namespace, in.Function}
	var updated *lambent.Alias
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.functionNotFound(k, "")
		}
		was := old.alias(in.Name)
		if was == nil {
			return nil, c.aliasToUpdateNotFound(k, in.Name)
		}
		if in.RevisionID != "" && in.RevisionID != was.RevisionID {
			return nil, revisionMismatch(functionRevisionCalls)
		}
		a := *was
		a.RevisionID = c.o.NewID()
		if in.Version != nil {
			a.Version = *in.Version
		}
		if in.Description != nil {
			a.Description = *in.Description
		}
		if in.Weights != nil {
			a.Weights = weights(*in.Weights)
		}
		if in.Rules != nil {
			a.Rules = slices.Clone(*in.Rules)
		}
		if err := c.checkRouting(k, old, &a); err != nil {
			return nil, err
		}
		if old.provision(a.Name) != nil && a.Version != was.Version {
			if err := c.checkTarget(old, a.Name, old.version(a.Version)); err != nil {
				return nil, err
			}
		}
		next := old.clone()
		next.putAlias(&a)
		updated = &a
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	c.wanted(k)
	return updated, nil
}

// DeleteAlias deletes an alias with its policy and its provisioned concurrency.
// Deleting one that does not exist does nothing, as on AWS.
func (c *Catalog) DeleteAlias(ctx context.Context, ns, fn, name string) error {
	k := id{ns, fn}
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.functionNotFound(k, "")
		}
		i, ok := old.aliasIndex(name)
		if !ok {
			return old, nil
		}
		next := old.clone()
		next.aliases = slices.Delete(next.aliases, i, i+1)
		next.forget(name)
		return next, nil
	})
	if err == nil {
		c.wanted(k)
	}
	return err
}
