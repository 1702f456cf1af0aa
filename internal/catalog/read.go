package catalog

import (
	"iter"
	"math/rand/v2"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// Resolve finds the version that a call of function with qualifier runs: a
// number, an alias (whose weights are drawn), or "" for [lambent.Latest]. It
// touches the snapshot only, takes no lock and allocates nothing.
func (c *Catalog) Resolve(ns, function, qualifier string) (*lambent.Version, error) {
	k := id{ns, function}
	f := c.functions.get(k)
	if f == nil {
		return nil, c.functionNotFound(k, qualifier)
	}
	v, a := f.resolve(qualifier)
	if a != nil && len(a.Weights) > 0 {
		if w := f.version(draw(a, rand.Float64())); w != nil {
			v = w
		}
	}
	if v == nil {
		return nil, c.functionNotFound(k, qualifier)
	}
	return v, nil
}

// resolve finds what a qualifier stands for; the version is nil when nothing.
func (f *function) resolve(qualifier string) (*lambent.Version, *lambent.Alias) {
	if qualifier == "" || qualifier == lambent.Latest {
		return f.head, nil
	}
	if isNumber(qualifier) {
		return f.version(qualifier), nil
	}
	a := f.alias(qualifier)
	if a == nil {
		return nil, nil
	}
	return f.version(a.Version), a
}

// draw chooses the version number of a call through an alias, by a number
// from 0 to below 1.
func draw(a *lambent.Alias, at float64) string {
	for number, share := range a.Weights {
		if at < share {
			return number
		}
		at -= share
	}
	return a.Version
}

// Get is Resolve for showing: nothing is drawn, an alias gives the version it
// points at in the first place.
func (c *Catalog) Get(ns, function, qualifier string) (Entry, error) {
	k := id{ns, function}
	f := c.functions.get(k)
	if f == nil {
		return Entry{}, c.functionNotFound(k, qualifier)
	}
	v, a := f.resolve(qualifier)
	if v == nil {
		return Entry{}, c.functionNotFound(k, qualifier)
	}
	return Entry{Function: f.shared, Version: v, Alias: a}, nil
}

// List returns the heads of a namespace's functions by name or, with
// allVersions, all their versions too. At most limit of them (all when limit is
// 0), those that come after the given mark; next is the mark to go on with, ""
// at the end. A mark of a function deleted meanwhile works on.
func (c *Catalog) List(ns string, allVersions bool, after string, limit int) (items []*lambent.Version, next string) {
	name, number, _ := strings.Cut(after, ":")
	for _, n := range c.functions.namesFrom(ns, name) {
		f := c.functions.get(id{ns, n})
		if f == nil || !allVersions && n == name {
			continue
		}
		versions := []*lambent.Version{f.head}
		if allVersions {
			versions = f.all()
		}
		for _, v := range versions {
			if n == name && compareNumbers(v.Number, number) <= 0 {
				continue
			}
			if limit > 0 && len(items) == limit {
				return items, listMark(items[limit-1], allVersions)
			}
			items = append(items, v)
		}
	}
	return items, ""
}

func listMark(last *lambent.Version, allVersions bool) string {
	if !allVersions {
		return last.Function
	}
	return last.Function + ":" + last.Number
}

// Versions returns the head and the published versions of a function, oldest
// first, paged as in [Catalog.List].
func (c *Catalog) Versions(ns, function, after string, limit int) (items []*lambent.Version, next string, err error) {
	k := id{ns, function}
	f := c.functions.get(k)
	if f == nil {
		return nil, "", c.functionNotFound(k, "")
	}
	for _, v := range f.all() {
		if after != "" && compareNumbers(v.Number, after) <= 0 {
			continue
		}
		if limit > 0 && len(items) == limit {
			return items, items[limit-1].Number, nil
		}
		items = append(items, v)
	}
	return items, "", nil
}

// Aliases returns the aliases of a function by name, those of one version only
// unless version is "", paged as in [Catalog.List].
func (c *Catalog) Aliases(ns, function, version, after string, limit int) (items []*lambent.Alias, next string, err error) {
	k := id{ns, function}
	f := c.functions.get(k)
	if f == nil {
		return nil, "", c.functionNotFound(k, "")
	}
	for _, a := range f.aliases {
		if a.Name <= after || version != "" && a.Version != version {
			continue
		}
		if limit > 0 && len(items) == limit {
			return items, items[limit-1].Name, nil
		}
		items = append(items, a)
	}
	return items, "", nil
}

// Alias finds an alias.
func (c *Catalog) Alias(ns, function, name string) (*lambent.Alias, error) {
	k := id{ns, function}
	if f := c.functions.get(k); f != nil {
		if a := f.alias(name); a != nil {
			return a, nil
		}
	}
	return nil, c.aliasNotFound(k, name)
}

// Usage tells how many functions a namespace has, and how many bytes of code,
// as uploaded, all versions of functions and layers.
func (c *Catalog) Usage(ns string) (functions int, codeBytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.usage[ns]
	return u.functions, u.codeBytes
}

// Digests returns what is alive in the artifact store: the code of all
// versions, and the layers that exist or that a version uses.
func (c *Catalog) Digests() map[lambent.Digest]bool {
	alive := map[lambent.Digest]bool{}
	for _, f := range c.functions.all {
		for _, v := range f.all() {
			alive[v.Code.Digest] = true
			for _, l := range v.Layers {
				alive[l.Digest] = true
			}
			if v.Image != nil {
				for _, d := range v.Image.Layers {
					alive[d] = true
				}
			}
		}
		for _, s := range f.waiting() {
			for _, d := range s.Image.Layers {
				alive[d] = true
			}
		}
	}
	for _, l := range c.layers.all {
		for _, v := range l.versions {
			alive[v.Digest] = true
		}
	}
	return alive
}

// Layer finds a version of a layer.
func (c *Catalog) Layer(ns, name string, number int) (*lambent.LayerVersion, error) {
	if number < 1 {
		return nil, layerNumberTooLow()
	}
	if v := c.layerVersion(id{ns, name}, number); v != nil {
		return v, nil
	}
	return nil, resourceNotFound()
}

func (c *Catalog) layerVersion(k id, number int) *lambent.LayerVersion {
	l := c.layers.get(k)
	if l == nil {
		return nil
	}
	return l.version(number)
}

// Layers returns the latest version of each layer by name, of those versions
// that declare themselves compatible with runtime and arch where these are not
// "", paged as in [Catalog.List].
func (c *Catalog) Layers(ns, runtime, arch, after string, limit int) (latest []*lambent.LayerVersion, next string) {
	for _, name := range c.layers.namesFrom(ns, after) {
		l := c.layers.get(id{ns, name})
		if l == nil || name == after {
			continue
		}
		for v := range l.newestFirst(runtime, arch) {
			if limit > 0 && len(latest) == limit {
				return latest, latest[limit-1].Name
			}
			latest = append(latest, v)
			break
		}
	}
	return latest, ""
}

// LayerVersions returns the versions of a layer, newest first, filtered as in
// [Catalog.Layers] and paged as in [Catalog.List]. A layer that does not exist
// has none.
func (c *Catalog) LayerVersions(ns, name, runtime, arch, after string, limit int) (items []*lambent.LayerVersion, next string) {
	l := c.layers.get(id{ns, name})
	if l == nil {
		return nil, ""
	}
	for v := range l.newestFirst(runtime, arch) {
		if after != "" && compareNumbers(layerNumber(v), after) >= 0 {
			continue
		}
		if limit > 0 && len(items) == limit {
			return items, layerNumber(items[limit-1])
		}
		items = append(items, v)
	}
	return items, ""
}

func (l *layer) newestFirst(runtime, arch string) iter.Seq[*lambent.LayerVersion] {
	return func(yield func(*lambent.LayerVersion) bool) {
		for _, v := range slices.Backward(l.versions) {
			fits := (runtime == "" || slices.Contains(v.Runtimes, runtime)) && (arch == "" || slices.Contains(v.Archs, arch))
			if fits && !yield(v) {
				return
			}
		}
	}
}
