package catalog

import (
	"cmp"
	"slices"

	"lambent.dev/lambent"
)

// ordered names the items of a slice that is in the order of their names.
type ordered[T any] func(*T) string

// What a function has by name or by qualifier.
var (
	byAlias       ordered[lambent.Alias]       = func(a *lambent.Alias) string { return a.Name }
	byProvisioned ordered[lambent.Provisioned] = func(p *lambent.Provisioned) string { return p.Qualifier }
	byURL         ordered[lambent.URL]         = func(u *lambent.URL) string { return u.Qualifier }
	byEvent       ordered[lambent.EventConfig] = func(e *lambent.EventConfig) string { return e.Qualifier }
)

// index is where the item of that name is, or belongs.
func (name ordered[T]) index(items []*T, want string) (int, bool) {
	return slices.BinarySearchFunc(items, want, func(item *T, want string) int { return cmp.Compare(name(item), want) })
}

// find is the item of that name; nil is none.
func (name ordered[T]) find(items []*T, want string) *T {
	if i, ok := name.index(items, want); ok {
		return items[i]
	}
	return nil
}

// put puts an item in its place, or in that of the one that has its name.
func (name ordered[T]) put(items []*T, item *T) []*T {
	i, ok := name.index(items, name(item))
	if ok {
		items[i] = item
		return items
	}
	return slices.Insert(items, i, item)
}

// changes calls put for each item of next that is not the one that old has, and
// drop for the names of those that are gone.
func (name ordered[T]) changes(old, next []*T, put func(*T), drop func(name string)) {
	for _, item := range next {
		if name.find(old, name(item)) != item {
			put(item)
		}
	}
	for _, item := range old {
		if name.find(next, name(item)) == nil {
			drop(name(item))
		}
	}
}

// page is up to limit items after the one of that name, all if limit is 0; next is
// the last one's name if there are more.
func (name ordered[T]) page(items []*T, after string, limit int) (page []*T, next string) {
	for _, item := range items {
		if name(item) <= after {
			continue
		}
		if limit > 0 && len(page) == limit {
			return page, name(page[limit-1])
		}
		page = append(page, item)
	}
	return page, ""
}
