package catalog

import (
	"cmp"
	"context"
	"slices"

	"lambent.dev/lambent"
)

// A dead letter's target is a part of a version's configuration, as on AWS, and
// everything else about its events is a record beside it. Who changes one by our own
// API need not know: both change at once, or neither.

// SetEvents changes what in says of an event configuration, and makes one when there is
// none; letter, unless it is nil, becomes the dead letter of the version, which can be
// that of [lambent.Latest] only.
func (c *Catalog) SetEvents(ctx context.Context, in EventChange, letter *lambent.Destination) error {
	k := id{in.Namespace, in.Function}
	in.Qualifier = cmp.Or(in.Qualifier, lambent.Latest)
	if letter != nil && in.Qualifier != lambent.Latest {
		return invalid("DeadLetter", "a dead letter is a part of the version: only that of %s can be changed", lambent.Latest)
	}
	return c.changeEvents(ctx, k, func(next *function) error {
		if !next.has(in.Qualifier) {
			return lambent.Errorf(lambent.CodeNotFound, "The function doesn't exist.")
		}
		if !in.says() && letter == nil {
			return saysNothing()
		}
		if in.says() {
			if _, err := c.eventChanged(next, in, true); err != nil {
				return err
			}
		}
		if letter == nil {
			return nil
		}
		return c.setDeadLetter(k, next, *letter)
	})
}

// ClearEvents takes away what SetEvents has set. The dead letter of a published version
// stays: the version does not change any more. That nothing was set is CodeNotFound.
func (c *Catalog) ClearEvents(ctx context.Context, ns, fn, qualifier string) error {
	k := id{ns, fn}
	qualifier = cmp.Or(qualifier, lambent.Latest)
	return c.changeEvents(ctx, k, func(next *function) error {
		letter := qualifier == lambent.Latest && next.head.DeadLetter().ARN != ""
		i, ok := next.eventIndex(qualifier)
		if !ok && !letter {
			return c.noEventConfig(k, qualifier)
		}
		if ok {
			next.events = slices.Delete(next.events, i, i+1)
		}
		if !letter {
			return nil
		}
		return c.setDeadLetter(k, next, lambent.Destination{})
	})
}

// changeEvents changes a copy of a function, whose head may become another.
func (c *Catalog) changeEvents(ctx context.Context, k id, change func(next *function) error) error {
	head := false
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, lambent.Errorf(lambent.CodeNotFound, "The function doesn't exist.")
		}
		next := old.clone()
		if err := change(next); err != nil {
			return nil, err
		}
		head = next.head != old.head
		return next, nil
	})
	if err == nil && head {
		c.changed(k, lambent.Latest)
	}
	return err
}

// setDeadLetter gives the head of f another dead letter. One that it has already is no
// update: its instances stay.
func (c *Catalog) setDeadLetter(k id, f *function, to lambent.Destination) error {
	if f.head.DeadLetter().ARN == to.ARN {
		return nil
	}
	if err := c.toUpdate(k, f, ""); err != nil {
		return err
	}
	v, warning, err := c.edited(f.head, UpdateConfig{Apply: func(v *lambent.Version) { v.SetDeadLetter(to) }})
	if err != nil {
		return err
	}
	c.updating(f, v, warning)
	return nil
}

// checkDeadLetter refuses what is neither a queue nor a topic: dead letters go nowhere else
// (DeadLetterConfig, AWS Lambda API reference).
func checkDeadLetter(v *lambent.Version) error {
	to := v.DeadLetter()
	if service := to.Service(); to.ARN == "" || service == "sqs" || service == "sns" {
		return nil
	}
	return invalid("DeadLetter", "Invalid dead letter queue ARN: %s is not the ARN of a queue or a topic", to.ARN)
}
