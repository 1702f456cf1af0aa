package catalog

import (
	"iter"

	"lambent.dev/lambent"
)

// Weighted yields every alias that leads to more than one version, in no order.
// It touches the snapshot only.
func (c *Catalog) Weighted() iter.Seq[*lambent.Alias] {
	return func(yield func(*lambent.Alias) bool) {
		for _, f := range c.functions.all {
			for _, a := range f.aliases {
				if len(a.Weights) > 0 && !yield(a) {
					return
				}
			}
		}
	}
}
