package catalog

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/route"
)

// Entrance is a function URL as callers meet it. It is worked out with every
// change of the function, so that a request costs look-ups only.
type Entrance struct {
	*lambent.URL
	// Open tells that the resource policy lets anybody in. A URL of AuthType NONE
	// that is not open answers nobody (AWS Lambda developer guide, "Control access
	// to function URLs").
	Open     bool
	networks []netip.Prefix // of an internal one
}

// Admits tells whether an internal URL lets a caller in.
func (e *Entrance) Admits(caller netip.Addr) bool { return route.Internal(caller, e.networks) }

// Entrance finds a function URL by the id in its host name; nil is none. It
// touches the snapshot only and takes no lock.
func (c *Catalog) Entrance(urlID string) *Entrance { return c.urls.get(id{name: urlID}) }

// EntranceOf finds the function URL of a qualifier; nil is none.
func (c *Catalog) EntranceOf(ns, fn, qualifier string) *Entrance {
	f := c.functions.get(id{ns, fn})
	if f == nil {
		return nil
	}
	if i, ok := f.urlIndex(qualifier); ok {
		return c.urls.get(id{name: f.urls[i].ID})
	}
	return nil
}

// UpdateURL is the input of [Catalog.UpdateURL]; nil members stay as they are.
type UpdateURL struct {
	Namespace, Function, Qualifier string
	// AuthType makes a URL that was internal one that is not, if it changes it.
	AuthType, InvokeMode *string
	// Internal comes with the networks, and with AuthType NONE.
	Internal *bool
	Networks []string
	CORS     *lambent.CORS
}

// CreateURL gives a function or an alias its URL. Of in the names, AuthType,
// InvokeMode and CORS are looked at.
func (c *Catalog) CreateURL(ctx context.Context, in lambent.URL) (*lambent.URL, error) {
	k := id{in.Namespace, in.Function}
	u := in
	u.ID = newURLID()
	u.InvokeMode = cmp.Or(in.InvokeMode, "BUFFERED")
	u.CORS = cloneCORS(in.CORS)
	u.Networks = slices.Clone(in.Networks)
	u.Created = c.now()
	u.LastModified = u.Created
	if err := checkURL(&u); err != nil {
		return nil, err
	}
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil || !old.mayHaveURL(u.Qualifier) {
			return nil, errNoFunction()
		}
		i, ok := old.urlIndex(u.Qualifier)
		if ok {
			return nil, lambent.Errorf(lambent.CodeConflict, "Failed to create function url config for [functionArn = %s]. "+
				"Error message:  FunctionUrlConfig exists for this Lambda function", lambent.FunctionARN(c.o.Region, k.ns, k.name, u.Qualifier))
		}
		next := old.clone()
		next.urls = slices.Insert(next.urls, i, &u)
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	return &u, nil
}

// UpdateURL changes a function URL; the address stays.
func (c *Catalog) UpdateURL(ctx context.Context, in UpdateURL) (*lambent.URL, error) {
	var updated *lambent.URL
	err := c.change(ctx, id{in.Namespace, in.Function}, func(old *function) (*function, error) {
		if old == nil || !old.mayHaveURL(in.Qualifier) {
			return nil, errNoFunction()
		}
		i, ok := old.urlIndex(in.Qualifier)
		if !ok {
			return nil, errNoURL()
		}
		u := *old.urls[i]
		if in.AuthType != nil && *in.AuthType != u.AuthType {
			u.AuthType, u.Internal, u.Networks = *in.AuthType, false, nil
		}
		if in.Internal != nil {
			u.Internal, u.Networks = *in.Internal, slices.Clone(in.Networks)
		}
		if in.InvokeMode != nil {
			u.InvokeMode = *in.InvokeMode
		}
		if in.CORS != nil {
			u.CORS = cloneCORS(in.CORS)
		}
		if err := checkURL(&u); err != nil {
			return nil, err
		}
		u.LastModified = c.now()
		next := old.clone()
		next.urls[i] = &u
		updated = &u
		return next, nil
	})
	return updated, err
}

// URL finds the function URL of a function or an alias.
func (c *Catalog) URL(ns, fn, qualifier string) (*lambent.URL, error) {
	if f := c.functions.get(id{ns, fn}); f != nil {
		if i, ok := f.urlIndex(qualifier); ok {
			return f.urls[i], nil
		}
	}
	return nil, errNoURL()
}

// DeleteURL takes a function URL away. Its address is never used again.
func (c *Catalog) DeleteURL(ctx context.Context, ns, fn, qualifier string) error {
	return c.change(ctx, id{ns, fn}, func(old *function) (*function, error) {
		if old == nil {
			return nil, errNoURL()
		}
		i, ok := old.urlIndex(qualifier)
		if !ok {
			return nil, errNoURL()
		}
		next := old.clone()
		next.urls = slices.Delete(next.urls, i, i+1)
		return next, nil
	})
}

// URLs returns the function URLs of a function by qualifier, the function's own
// first. At most limit of them, all when it is 0, after the first skip ones.
func (c *Catalog) URLs(ns, fn string, skip, limit int) (items []*lambent.URL, more bool, err error) {
	f := c.functions.get(id{ns, fn})
	if f == nil {
		return nil, false, errNoFunction()
	}
	items = f.urls[min(max(skip, 0), len(f.urls)):]
	if limit > 0 && len(items) > limit {
		return items[:limit], true, nil
	}
	return items, false, nil
}

// Texts as AWS gives them for these operations.
func errNoFunction() error {
	return lambent.Errorf(lambent.CodeNotFound, "Function does not exist")
}

func errNoURL() error {
	return lambent.Errorf(lambent.CodeNotFound, "The resource you requested does not exist.")
}

func checkURL(u *lambent.URL) error {
	if u.AuthType != "NONE" && u.AuthType != "AWS_IAM" {
		return invalid("AuthType", "AuthType %q is not NONE or AWS_IAM", u.AuthType)
	}
	if u.InvokeMode != "BUFFERED" && u.InvokeMode != "RESPONSE_STREAM" {
		return invalid("InvokeMode", "InvokeMode %q is not BUFFERED or RESPONSE_STREAM", u.InvokeMode)
	}
	if u.Internal && u.AuthType != "NONE" || !u.Internal && len(u.Networks) > 0 || len(u.Networks) > maxNetworks {
		return invalid("Internal", "An internal URL has AuthType NONE, and only one has networks, at most %d", maxNetworks)
	}
	if _, err := route.ParseNetworks(u.Networks); err != nil {
		return invalid("Internal", "%s", err)
	}
	if u.CORS == nil {
		return nil
	}
	for _, method := range u.CORS.AllowMethods {
		if !slices.Contains(corsMethods, method) {
			return invalid("CORS", "Invalid Cors config: %q is not a method that can be allowed; they are %s", method, strings.Join(corsMethods, ", "))
		}
	}
	return nil
}

// maxNetworks bounds the networks of an internal URL.
const maxNetworks = 100

// corsMethods are those that AWS takes (AWS Lambda API reference, Cors).
var corsMethods = []string{"GET", "PUT", "HEAD", "POST", "PATCH", "DELETE", "*"}

func cloneCORS(c *lambent.CORS) *lambent.CORS {
	if c == nil {
		return nil
	}
	n := *c
	for _, list := range []*[]string{&n.AllowHeaders, &n.AllowMethods, &n.AllowOrigins, &n.ExposeHeaders} {
		*list = slices.Clone(*list)
	}
	return &n
}

// newURLID makes the first label of a URL's host name: 160 random bits, so that
// it cannot be guessed.
func newURLID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

func (f *function) urlIndex(qualifier string) (int, bool) {
	return byURL.index(f.urls, qualifier)
}

// mayHaveURL tells whether the qualifier is none or an alias that there is.
func (f *function) mayHaveURL(qualifier string) bool {
	return qualifier == "" || f.alias(qualifier) != nil
}

// entrances works out what callers of the function's URLs meet.
func (f *function) entrances(region string) []*Entrance {
	if f == nil {
		return nil
	}
	out := make([]*Entrance, 0, len(f.urls))
	for _, u := range f.urls {
		e := &Entrance{URL: u}
		e.networks, _ = route.ParseNetworks(u.Networks) // checked when the URL was made
		if p := f.policies[u.Qualifier]; p != nil {
			e.Open = p.opens(u, lambent.FunctionARN(region, u.Namespace, u.Function, u.Qualifier))
		}
		out = append(out, e)
	}
	return out
}

// swapURLs follows a change of a function. The caller holds mu.
func (c *Catalog) swapURLs(old, next *function) {
	left := map[string]bool{}
	if old != nil {
		for _, u := range old.urls {
			left[u.ID] = true
		}
	}
	for _, e := range next.entrances(c.o.Region) {
		c.urls.set(id{name: e.ID}, e)
		delete(left, e.ID)
	}
	for urlID := range left {
		c.urls.set(id{name: urlID}, nil)
	}
}

// opens tells whether a statement lets anybody call the URL. Conditions other
// than on the URL's type of authentication ask for what nobody in particular
// does not have, so that a statement with one opens nothing.
func (p *Policy) opens(u *lambent.URL, resource string) bool {
	return slices.ContainsFunc(p.Statements, func(st Statement) bool {
		var s struct {
			Effect, Action, Resource string
			Principal                any
			Condition                map[string]map[string]string
		}
		if json.Unmarshal(st.JSON, &s) != nil || s.Effect != "Allow" || s.Principal != "*" || s.Resource != resource {
			return false
		}
		if !strings.EqualFold(s.Action, "lambda:InvokeFunctionUrl") && s.Action != "lambda:*" {
			return false
		}
		for operator, keys := range s.Condition {
			for key, want := range keys {
				if operator != "StringEquals" || key != "lambda:FunctionUrlAuthType" || want != u.AuthType {
					return false
				}
			}
		}
		return true
	})
}

// urlRecord is a function URL in the store.
type urlRecord struct {
	ID           string      `json:"id"`
	AuthType     string      `json:"authType"`
	Internal     bool        `json:"internal,omitempty"`
	Networks     []string    `json:"networks,omitempty"`
	InvokeMode   string      `json:"invokeMode"`
	CORS         *corsRecord `json:"cors,omitempty"`
	Created      time.Time   `json:"created"`
	LastModified time.Time   `json:"lastModified"`
}

// corsRecord tells an empty list from none, because AWS shows both.
type corsRecord struct {
	AllowCredentials bool     `json:"allowCredentials,omitempty"`
	AllowHeaders     []string `json:"allowHeaders"`
	AllowMethods     []string `json:"allowMethods"`
	AllowOrigins     []string `json:"allowOrigins"`
	ExposeHeaders    []string `json:"exposeHeaders"`
	MaxAge           int      `json:"maxAge,omitempty"`
}

func (b *batch) urls(k id, old, next *function) {
	prefix := "url/" + k.ns + "/" + k.name + "/"
	byURL.changes(old.urls, next.urls, func(u *lambent.URL) {
		b.put(prefix+policyKey(u.Qualifier), urlRecord{
			ID: u.ID, AuthType: u.AuthType, Internal: u.Internal, Networks: u.Networks, InvokeMode: u.InvokeMode, CORS: (*corsRecord)(u.CORS),
			Created: u.Created, LastModified: u.LastModified,
		})
	}, func(qualifier string) { b.delete(prefix + policyKey(qualifier)) })
}

func (l *loader) addURL(k id, key string, value []byte) error {
	f := l.functions[k]
	if f == nil {
		return errOrphan
	}
	var rec urlRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	u := &lambent.URL{
		Namespace: f.shared.Namespace, Function: f.shared.Name, Qualifier: policyQualifier(key), ID: rec.ID,
		AuthType: rec.AuthType, Internal: rec.Internal, Networks: rec.Networks, InvokeMode: rec.InvokeMode, CORS: (*lambent.CORS)(rec.CORS),
		Created: rec.Created, LastModified: rec.LastModified,
	}
	i, _ := f.urlIndex(u.Qualifier)
	f.urls = slices.Insert(f.urls, i, u)
	return nil
}

// policyQualifier undoes policyKey.
func policyQualifier(key string) string {
	if key == "-" {
		return ""
	}
	return strings.TrimPrefix(key, ".")
}
