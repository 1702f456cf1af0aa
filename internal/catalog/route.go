package catalog

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/route"
	"lambent.dev/lambent/internal/store"
)

// Limits of one namespace.
const (
	maxRoutes  = 20_000
	maxAPIKeys = 1000
)

// routing is what leads requests of the gateway, apart from functions: it belongs
// to hosts, which several functions share.
type routing struct {
	table   atomic.Pointer[route.Table]
	keys    atomic.Pointer[map[lambent.Digest]*lambent.APIKey]
	entries atomic.Pointer[map[string]*route.Entry] // by id
	domains atomic.Pointer[map[string]*lambent.Domain]
}

// routingGate is held to change any of it.
const routingGate = "route/"

// Routes is the table of this moment. It takes no lock.
func (c *Catalog) Routes() *route.Table { return c.routing.table.Load() }

// APIKey finds an API key by its hash; nil is none. It takes no lock.
func (c *Catalog) APIKey(hash lambent.Digest) *lambent.APIKey { return (*c.routing.keys.Load())[hash] }

// ListRoutes returns a namespace's routes by host, path and method.
func (c *Catalog) ListRoutes(ns string) []*lambent.Route {
	var out []*lambent.Route
	for _, e := range *c.routing.entries.Load() {
		if e.Namespace == ns {
			out = append(out, e.Route)
		}
	}
	slices.SortFunc(out, func(a, b *lambent.Route) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return out
}

// Route finds a route by its id.
func (c *Catalog) Route(ns, routeID string) (*lambent.Route, error) {
	if e := (*c.routing.entries.Load())[routeID]; e != nil && e.Namespace == ns {
		return e.Route, nil
	}
	return nil, lambent.Errorf(lambent.CodeNotFound, "there is no route %s", routeID)
}

// PutRoutes adds routes, all or none; one with an ID takes the place of the route
// that has it. Members that are empty get their defaults: format 2.0, access jwt
// when there is a jwt and iam else, a burst of one second's rate. Functions and
// aliases have to exist. A host belongs to the namespace that uses it first.
func (c *Catalog) PutRoutes(ctx context.Context, ns string, in []lambent.Route) ([]*lambent.Route, error) {
	leave, err := c.gates.enter(ctx, routingGate)
	if err != nil {
		return nil, err
	}
	defer leave()
	old := *c.routing.entries.Load()
	next := maps.Clone(old)
	out := make([]*lambent.Route, 0, len(in))
	b := &batch{}
	for i := range in {
		e, err := c.newRoute(ns, in[i], old)
		if err != nil {
			return nil, err
		}
		next[e.ID] = e
		out = append(out, e.Route)
		b.put("route/"+ns+"/"+e.ID, e.Route)
	}
	if b.err != nil {
		return nil, b.err
	}
	if n := countOf(next, ns); n > maxRoutes {
		return nil, lambent.Errorf(lambent.CodeConflict, "%d routes are more than the %d that a namespace may have", n, maxRoutes).WithReason("TooManyRoutes")
	}
	if err := ownHosts(ns, out, next); err != nil {
		return nil, err
	}
	return out, c.commitRoutes(ctx, b.ops, old, next)
}

func countOf(entries map[string]*route.Entry, ns string) (n int) {
	for _, e := range entries {
		n += boolInt(e.Namespace == ns)
	}
	return n
}

func (c *Catalog) newRoute(ns string, r lambent.Route, old map[string]*route.Entry) (*route.Entry, error) {
	r.Namespace = ns
	r.Host = strings.ToLower(strings.TrimSuffix(r.Host, "."))
	if r.Method == "ANY" {
		r.Method = ""
	}
	r.Format = cmp.Or(r.Format, "2.0")
	if r.Access == "" {
		r.Access = lambent.AccessIAM
		if r.JWT != nil {
			r.Access = lambent.AccessJWT
		}
	}
	if r.Burst == 0 && r.Rate > 0 {
		r.Burst = int(math.Ceil(r.Rate))
	}
	r.Created = c.now()
	if r.ID != "" {
		was := old[r.ID]
		if was == nil || was.Namespace != ns {
			return nil, lambent.Errorf(lambent.CodeNotFound, "there is no route %s", r.ID)
		}
		r.Created = was.Created
	} else {
		r.ID = newRouteID()
	}
	e, err := route.Compile(&r)
	if err != nil {
		return nil, err
	}
	if _, err := c.Get(ns, r.Function, r.Qualifier); err != nil {
		return nil, err
	}
	return e, nil
}

func newRouteID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// ownHosts refuses hosts at which another namespace has routes, below its wildcards
// too: it could take requests that are meant for others.
func ownHosts(ns string, added []*lambent.Route, all map[string]*route.Entry) error {
	others := map[string]bool{}
	for _, e := range all {
		if e.Namespace != ns {
			others[e.Host] = true
		}
	}
	checked := map[string]bool{}
	for _, r := range added {
		if checked[r.Host] {
			continue
		}
		checked[r.Host] = true
		for other := range others {
			if covers(other, r.Host) || covers(r.Host, other) {
				return lambent.Errorf(lambent.CodeConflict, "another namespace has routes at the host %q", cmp.Or(r.Host, "*")).WithReason("HostTaken")
			}
		}
	}
	return nil
}

func covers(pattern, host string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	return pattern == host || wild && strings.HasSuffix(host, suffix)
}

// DeleteRoute deletes a route.
func (c *Catalog) DeleteRoute(ctx context.Context, ns, routeID string) error {
	leave, err := c.gates.enter(ctx, routingGate)
	if err != nil {
		return err
	}
	defer leave()
	if _, err := c.Route(ns, routeID); err != nil {
		return err
	}
	old := *c.routing.entries.Load()
	next := maps.Clone(old)
	delete(next, routeID)
	return c.commitRoutes(ctx, []store.Op{{Key: "route/" + ns + "/" + routeID, Delete: true}}, old, next)
}

// commitRoutes makes next the routes, in the store first. The gate is held.
func (c *Catalog) commitRoutes(ctx context.Context, ops []store.Op, old, next map[string]*route.Entry) error {
	table, err := retable(c.Routes(), old, next)
	if err != nil {
		return err
	}
	if _, err := c.commit(ctx, ops); err != nil {
		c.refreshRouting(ctx)
		return c.commitError(err, "the routes", "routes")
	}
	c.routing.entries.Store(&next)
	c.routing.table.Store(table)
	return nil
}

// retable changes the hosts in which something changed.
func retable(t *route.Table, old, next map[string]*route.Entry) (*route.Table, error) {
	changed := map[string]bool{}
	for key, e := range old {
		if next[key] != e {
			changed[e.Host] = true
		}
	}
	for key, e := range next {
		if old[key] != e {
			changed[e.Host] = true
		}
	}
	byHost := make(map[string][]*route.Entry, len(changed))
	for _, added := range []bool{false, true} { // the new one is the one that conflicts
		for key, e := range next {
			if changed[e.Host] && (old[key] != e) == added {
				byHost[e.Host] = append(byHost[e.Host], e)
			}
		}
	}
	for host := range changed {
		var err error
		if t, err = t.With(host, byHost[host]); err != nil {
			return nil, &lambent.Error{Code: lambent.CodeConflict, Reason: "RouteExists", Message: err.Error(), Cause: err}
		}
	}
	return t, nil
}

// refreshRouting brings the snapshot back to the store after a failed commit, of
// which the store alone knows whether it was applied.
func (c *Catalog) refreshRouting(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := c.loadRouting(ctx); err != nil {
		c.o.Log.Error("reread routes after a failed commit", "err", err)
	}
}

// loadRouting fills the snapshot from the store. A route that cannot be read ends
// it: without that route its requests could go where they must not.
func (c *Catalog) loadRouting(ctx context.Context) error {
	entries := map[string]*route.Entry{}
	keys := map[lambent.Digest]*lambent.APIKey{}
	for r, err := range c.o.Records.Scan(ctx, "route/") {
		if err == nil {
			err = addRoute(entries, r)
		}
		if err != nil {
			return readError(cmp.Or(r.Key, "route/"), err)
		}
	}
	for r, err := range c.o.Records.Scan(ctx, "apikey/") {
		if err == nil {
			err = addAPIKey(keys, r)
		}
		if err != nil {
			return readError(cmp.Or(r.Key, "apikey/"), err)
		}
	}
	domains := map[string]*lambent.Domain{}
	for r, err := range c.o.Records.Scan(ctx, "domain/") {
		if err == nil {
			err = addDomain(domains, r)
		}
		if err != nil {
			return readError(cmp.Or(r.Key, "domain/"), err)
		}
	}
	table, err := retable(&route.Table{}, nil, entries)
	if err != nil {
		return err
	}
	c.routing.domains.Store(&domains)
	c.routing.entries.Store(&entries)
	c.routing.keys.Store(&keys)
	c.routing.table.Store(table)
	return nil
}

var errKey = errors.New("unknown key")

func addRoute(entries map[string]*route.Entry, r store.Record) error {
	parts := strings.Split(r.Key, "/")
	if len(parts) != 3 {
		return errKey
	}
	var rec lambent.Route
	if err := json.Unmarshal(r.Value, &rec); err != nil {
		return err
	}
	rec.Namespace, rec.ID = parts[1], parts[2]
	e, err := route.Compile(&rec)
	if err == nil {
		entries[rec.ID] = e
	}
	return err
}

// apiKeyRecord is an API key in the store, which does not know the key itself.
type apiKeyRecord struct {
	Hash    lambent.Digest `json:"hash"`
	Created time.Time      `json:"created"`
}

func addAPIKey(keys map[lambent.Digest]*lambent.APIKey, r store.Record) error {
	parts := strings.Split(r.Key, "/")
	if len(parts) != 3 {
		return errKey
	}
	var rec apiKeyRecord
	if err := json.Unmarshal(r.Value, &rec); err != nil {
		return err
	}
	keys[rec.Hash] = &lambent.APIKey{Namespace: parts[1], Name: parts[2], Hash: rec.Hash, Created: rec.Created}
	return nil
}

// APIKeys returns a namespace's API keys by name.
func (c *Catalog) APIKeys(ns string) []*lambent.APIKey {
	var out []*lambent.APIKey
	for _, k := range *c.routing.keys.Load() {
		if k.Namespace == ns {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b *lambent.APIKey) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (c *Catalog) apiKeyNamed(ns, name string) *lambent.APIKey {
	for _, k := range *c.routing.keys.Load() {
		if k.Namespace == ns && k.Name == name {
			return k
		}
	}
	return nil
}

// CreateAPIKey makes an API key. The key is in the answer and nowhere else.
func (c *Catalog) CreateAPIKey(ctx context.Context, ns, name string) (made *lambent.APIKey, key string, err error) {
	if !route.ValidKeyName(name) {
		return nil, "", lambent.Errorf(lambent.CodeInvalid, "%q is not a name of 1 to 64 letters, digits, dots, underscores and hyphens", name)
	}
	leave, err := c.gates.enter(ctx, routingGate)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	if c.apiKeyNamed(ns, name) != nil {
		return nil, "", lambent.Errorf(lambent.CodeConflict, "there is an API key %s already", name)
	}
	if len(c.APIKeys(ns)) >= maxAPIKeys {
		return nil, "", lambent.Errorf(lambent.CodeConflict, "a namespace may have %d API keys", maxAPIKeys)
	}
	key, hash := route.NewKey()
	made = &lambent.APIKey{Namespace: ns, Name: name, Hash: hash, Created: c.now()}
	b := &batch{}
	b.put("apikey/"+ns+"/"+name, apiKeyRecord{Hash: hash, Created: made.Created})
	return made, key, c.commitKeys(ctx, b, func(keys map[lambent.Digest]*lambent.APIKey) { keys[hash] = made })
}

// DeleteAPIKey deletes an API key, which opens nothing from then on.
func (c *Catalog) DeleteAPIKey(ctx context.Context, ns, name string) error {
	leave, err := c.gates.enter(ctx, routingGate)
	if err != nil {
		return err
	}
	defer leave()
	k := c.apiKeyNamed(ns, name)
	if k == nil {
		return lambent.Errorf(lambent.CodeNotFound, "there is no API key %s", name)
	}
	b := &batch{}
	b.delete("apikey/" + ns + "/" + name)
	return c.commitKeys(ctx, b, func(keys map[lambent.Digest]*lambent.APIKey) { delete(keys, k.Hash) })
}

func (c *Catalog) commitKeys(ctx context.Context, b *batch, change func(map[lambent.Digest]*lambent.APIKey)) error {
	if b.err != nil {
		return b.err
	}
	if _, err := c.commit(ctx, b.ops); err != nil {
		c.refreshRouting(ctx)
		return c.commitError(err, "the API key", "API keys")
	}
	next := maps.Clone(*c.routing.keys.Load())
	change(next)
	c.routing.keys.Store(&next)
	return nil
}
