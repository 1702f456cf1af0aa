package catalog

import (
	"context"
	"maps"
	"strings"

	"lambent.dev/lambent"
)

const maxTags = 50 // of one resource

// minUnreserved is how much concurrency functions without a reservation keep (AWS
// Lambda developer guide, "Configuring reserved concurrency").
const minUnreserved = 100

// Tag adds tags to a function, or replaces their values.
func (c *Catalog) Tag(ctx context.Context, ns, name string, tags map[string]string) error {
	k := id{ns, name}
	return c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.functionNotFound(k, "")
		}
		if len(tags) == 0 {
			return nil, invalid("NoTags", "An error occurred and the request cannot be processed.")
		}
		merged := maps.Clone(old.shared.Tags)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, tags)
		if err := checkTags(merged); err != nil {
			return nil, err
		}
		return c.tagged(old, merged), nil
	})
}

// Untag removes tags from a function; keys that it does not have are skipped.
func (c *Catalog) Untag(ctx context.Context, ns, name string, keys []string) error {
	k := id{ns, name}
	return c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.functionNotFound(k, "")
		}
		left := maps.Clone(old.shared.Tags)
		for _, key := range keys {
			delete(left, key)
		}
		if len(left) == len(old.shared.Tags) {
			return old, nil
		}
		return c.tagged(old, left), nil
	})
}

// tagged is f with these tags and, as AWS has it, another revision of the head.
func (c *Catalog) tagged(f *function, tags map[string]string) *function {
	next := f.clone()
	next.shared.Tags = tags
	head := *f.head
	head.RevisionID = c.o.NewID()
	next.put(&head)
	return next
}

// checkTags checks all tags of one resource. Keys that begin with "aws:" are AWS's
// own (AWS General Reference, "Tagging AWS resources").
func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return invalid("TooManyTags", "Number of tags exceeds resource tag limit.")
	}
	for key := range tags {
		if len(key) >= 4 && strings.EqualFold(key[:4], "aws:") {
			return invalid("ReservedTag", "aws: prefixed tag key names are not allowed for external use.")
		}
	}
	return nil
}

// SetReserved sets the reserved concurrency of a function; nil ends it.
func (c *Catalog) SetReserved(ctx context.Context, ns, name string, n *int) error {
	k := id{ns, name}
	// The sum over all functions must hold, so one at a time in a namespace.
	leave, err := c.gates.enter(ctx, "reserved/"+ns)
	if err != nil {
		return err
	}
	defer leave()
	return c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.functionNotFound(k, lambent.Latest)
		}
		if n != nil && (*n < 0 || *n > 0 && c.reservedBesides(k)+c.provisionedBesides(k)+*n > c.o.Concurrency-minUnreserved) {
			return nil, invalid("UnreservedTooLow", "Specified ReservedConcurrentExecutions for function decreases account's "+
				"UnreservedConcurrentExecution below its minimum value of [%d].", minUnreserved)
		}
		if sum := old.provisionedSum(""); n != nil && sum > *n {
			// The spaces are AWS's.
			return nil, invalid("ReservedTooLow", " ReservedConcurrentExecutions  %d should not be lower than function's total provisioned concurrency [%d].", *n, sum)
		}
		next := old.clone()
		next.shared.Reserved = nil
		if n != nil {
			reserved := *n
			next.shared.Reserved = &reserved
		}
		return next, nil
	})
}

// Taken is how much of a namespace's concurrency is set aside, by reservations
// and by provisioned concurrency outside of them, for all functions but one.
func (c *Catalog) Taken(ns, except string) int {
	k := id{ns, except}
	return c.reservedBesides(k) + c.provisionedBesides(k)
}

// reservedBesides is the reserved concurrency of the other functions.
func (c *Catalog) reservedBesides(k id) int {
	sum := 0
	for other, f := range c.functions.all {
		if other.ns == k.ns && other != k && f.shared.Reserved != nil {
			sum += *f.shared.Reserved
		}
	}
	return sum
}
