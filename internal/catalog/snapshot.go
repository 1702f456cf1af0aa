package catalog

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"lambent.dev/lambent"
)

// id names a function or a layer.
type id struct{ ns, name string }

func (k id) functionKey() string { return "function/" + k.ns + "/" + k.name }
func (k id) layerKey() string    { return "layer/" + k.ns + "/" + k.name }

// function is everything of one function. It never changes: a write makes a
// new one from it. What did not change is shared, pointer by pointer, which is
// how [functionOps] knows what to write.
type function struct {
	shared    *lambent.Function
	rev       int64 // store revision of the function's record
	published publication
	head      *lambent.Version
	versions  []*lambent.Version // published ones, ascending
	aliases   []*lambent.Alias   // by name
	policies  map[string]*Policy // by qualifier, "" is the function's own
	// provisioned is its provisioned concurrency, by qualifier. No version is in
	// it twice, by number and by an alias that points at it.
	provisioned []*lambent.Provisioned
	urls        []*lambent.URL         // by qualifier, "" is the function's own
	events      []*lambent.EventConfig // by qualifier
	// unsettled is what becomes of versions, by number, that are Pending or
	// whose update is InProgress.
	unsettled map[string]settlement
}

// publication remembers what the last published version was made of.
type publication struct {
	number      string
	fingerprint string
}

// settlement is the end of a Pending or InProgress state.
type settlement struct {
	RevisionID string `json:"revisionId"`
	Reason     string `json:"reason,omitempty"` // StateReason when Active: a warning of the runtimes
	// Image is what the version is made of from then on, when its layers are here.
	Image *imageRecord `json:"image,omitempty"`
}

func (s settlement) apply(v *lambent.Version) {
	v.RevisionID = s.RevisionID
	v.State, v.StateReason, v.StateReasonCode = lambent.StateActive, s.Reason, ""
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = lambent.UpdateSuccessful, "", ""
	if s.Image != nil {
		v.Image = new(lambent.Image(*s.Image))
		v.Code = lambent.CodeRef{Digest: lambent.Digest(strings.TrimPrefix(s.Image.Digest, "sha256:"))}
	}
}

// clone returns a function that can be changed by replacing what it points at.
func (f *function) clone() *function {
	next := *f
	shared := *f.shared
	next.shared = &shared
	next.versions = slices.Clone(f.versions)
	next.aliases = slices.Clone(f.aliases)
	next.policies = maps.Clone(f.policies)
	next.provisioned = slices.Clone(f.provisioned)
	next.urls = slices.Clone(f.urls)
	next.events = slices.Clone(f.events)
	next.unsettled = maps.Clone(f.unsettled)
	return &next
}

// settled returns the function with all pending states ended that wait for
// nothing.
func (f *function) settled() *function {
	next := f.clone()
	for number, s := range f.unsettled {
		if s.Image != nil {
			continue
		}
		delete(next.unsettled, number)
		if v := f.version(number); v != nil {
			done := *v
			s.apply(&done)
			next.put(&done)
		}
	}
	return next
}

// version finds a version by number; nil is none.
func (f *function) version(number string) *lambent.Version {
	if number == lambent.Latest {
		return f.head
	}
	if i, ok := f.versionIndex(number); ok {
		return f.versions[i]
	}
	return nil
}

func (f *function) versionIndex(number string) (int, bool) {
	return slices.BinarySearchFunc(f.versions, number, func(v *lambent.Version, n string) int { return compareNumbers(v.Number, n) })
}

// put adds or replaces a version.
func (f *function) put(v *lambent.Version) {
	if v.Number == lambent.Latest {
		f.head = v
		return
	}
	i, ok := f.versionIndex(v.Number)
	if ok {
		f.versions[i] = v
		return
	}
	f.versions = slices.Insert(f.versions, i, v)
}

// settleLater marks a version as unfinished business of Run.
func (f *function) settleLater(number string, s settlement) {
	if f.unsettled == nil {
		f.unsettled = map[string]settlement{}
	}
	f.unsettled[number] = s
}

// alias finds an alias by name; nil is none.
func (f *function) alias(name string) *lambent.Alias {
	return byAlias.find(f.aliases, name)
}

func (f *function) aliasIndex(name string) (int, bool) { return byAlias.index(f.aliases, name) }

func (f *function) putAlias(a *lambent.Alias) { f.aliases = byAlias.put(f.aliases, a) }

// provision finds the provisioned concurrency of a qualifier; nil is none.
func (f *function) provision(qualifier string) *lambent.Provisioned {
	return byProvisioned.find(f.provisioned, qualifier)
}

func (f *function) provisionIndex(qualifier string) (int, bool) {
	return byProvisioned.index(f.provisioned, qualifier)
}

func (f *function) putProvision(p *lambent.Provisioned) {
	f.provisioned = byProvisioned.put(f.provisioned, p)
}

// forget drops what belongs to a version or an alias that goes.
func (f *function) forget(qualifier string) {
	delete(f.policies, qualifier)
	if i, ok := f.provisionIndex(qualifier); ok {
		f.provisioned = slices.Delete(f.provisioned, i, i+1)
	}
	if i, ok := f.urlIndex(qualifier); ok {
		f.urls = slices.Delete(f.urls, i, i+1)
	}
	if i, ok := f.eventIndex(qualifier); ok {
		f.events = slices.Delete(f.events, i, i+1)
	}
	if _, ok := f.shared.Settings.MinInstances[qualifier]; ok {
		left := maps.Clone(f.shared.Settings.MinInstances)
		delete(left, qualifier)
		f.shared.Settings.MinInstances = left
	}
}

func (f *function) codeBytes() int64 {
	if f == nil {
		return 0
	}
	n := f.head.Code.Size
	for _, v := range f.versions {
		n += v.Code.Size
	}
	return n
}

// layer is everything of one layer, with the rules of [function]. One whose
// versions are all deleted stays, so that no number is used twice.
type layer struct {
	rev      int64
	next     int                     // number of the next version
	versions []*lambent.LayerVersion // ascending
	policies map[string]*Policy      // by number
}

func (l *layer) clone() *layer {
	next := *l
	next.versions = slices.Clone(l.versions)
	next.policies = maps.Clone(l.policies)
	return &next
}

func (l *layer) version(number int) *lambent.LayerVersion {
	if i, ok := l.versionIndex(number); ok {
		return l.versions[i]
	}
	return nil
}

func (l *layer) versionIndex(number int) (int, bool) {
	return slices.BinarySearchFunc(l.versions, number, func(v *lambent.LayerVersion, n int) int { return cmp.Compare(v.Number, n) })
}

func (l *layer) codeBytes() int64 {
	if l == nil {
		return 0
	}
	var n int64
	for _, v := range l.versions {
		n += v.Size
	}
	return n
}

// compareNumbers orders version numbers, [lambent.Latest] first.
func compareNumbers(a, b string) int {
	a, b = strings.TrimPrefix(a, lambent.Latest), strings.TrimPrefix(b, lambent.Latest)
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// isNumber tells whether a qualifier is a version number. An alias has another
// character than a digit in it (AWS Lambda API reference, CreateAlias).
func isNumber(q string) bool {
	for i := range len(q) {
		if q[i] < '0' || q[i] > '9' {
			return false
		}
	}
	return q != ""
}

// shards is how many maps a table is split into, so that adding one entry to
// 10,000 copies some forty.
const shards = 256

// table maps ids to immutable values. Readers take no lock; set needs the
// catalog's.
type table[T any] struct {
	seed    maphash.Seed
	parts   [shards]atomic.Pointer[map[id]*T]
	members atomic.Uint64 // grows whenever an id comes or goes
	order   atomic.Pointer[order]
}

// order is the names in a table, sorted, as they were when members was so.
type order struct {
	members uint64
	names   map[string][]string // by namespace
}

func (t *table[T]) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.parts {
		t.parts[i].Store(&map[id]*T{})
	}
}

func (t *table[T]) part(k id) *atomic.Pointer[map[id]*T] {
	return &t.parts[maphash.String(t.seed, k.name)%shards]
}

// get returns nil when there is none.
func (t *table[T]) get(k id) *T { return (*t.part(k).Load())[k] }

// set puts v under k, or removes k when v is nil.
func (t *table[T]) set(k id, v *T) {
	part := t.part(k)
	next := maps.Clone(*part.Load())
	_, known := next[k]
	if v == nil {
		delete(next, k)
	} else {
		next[k] = v
	}
	part.Store(&next)
	if known != (v != nil) {
		t.members.Add(1)
	}
}

// fill adds an entry in place, before anyone reads.
func (t *table[T]) fill(k id, v *T) {
	(*t.part(k).Load())[k] = v
	t.members.Add(1)
}

// all calls yield with every entry, in no order.
func (t *table[T]) all(yield func(id, *T) bool) {
	for i := range t.parts {
		for k, v := range *t.parts[i].Load() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// names returns the names in a namespace, sorted. They are worked out again
// only after one came or went.
func (t *table[T]) names(ns string) []string {
	members := t.members.Load()
	if o := t.order.Load(); o != nil && o.members == members {
		return o.names[ns]
	}
	o := &order{members: members, names: map[string][]string{}}
	for k := range t.all {
		o.names[k.ns] = append(o.names[k.ns], k.name)
	}
	for _, names := range o.names {
		slices.Sort(names)
	}
	t.order.Store(o)
	return o.names[ns]
}

// namesFrom returns the names from the given one on, itself included.
func (t *table[T]) namesFrom(ns, from string) []string {
	names := t.names(ns)
	i, _ := slices.BinarySearch(names, from)
	return names[i:]
}
