// Package gateway is the front door for everybody's HTTP requests: it finds what a
// request is for (a function URL by its host name, a route, or a function by its path),
// decides whether the caller may, answers browsers' questions about other
// origins, and has the function invoked with the request as its event. It listens
// on an address of its own and knows no path of the API. It refuses to run
// anything itself: functions are known by package catalog, callers by package
// auth, the shapes of events by package event below it, and every call ends in
// package invoke's.
package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/gateway/route"
)

// Invoker runs invocations. A function that fails is a Result; an error is a
// [lambent.Error].
type Invoker interface {
	Invoke(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error)
}

// Options are what the gateway is made of. All but Permits, Log, Now, Apps and Elsewhere are required.
type Options struct {
	Catalog *catalog.Catalog
	Invoker Invoker
	Keys    *auth.Keys
	// Permits tells whether a role allows its caller an action with a resource, by its
	// ARN; without it, callers with roles are refused.
	Permits func(id auth.Identity, action, resource string) bool
	Region  string
	// Namespace is whose functions are reached by path.
	Namespace string
	// Domain is what the host names of function URLs end with, in lower case.
	Domain string
	// Apps, if set, serves versions that are HTTP applications.
	Apps func(w http.ResponseWriter, r *http.Request, t Target)
	// Proxies are the networks of those in front of the gateway that are believed.
	Proxies []netip.Prefix
	// Elsewhere, if set, tells the address at which a request shall be made instead; "" is
	// here.
	Elsewhere func(*http.Request) string
	Log       *slog.Logger // discarded when nil
	// AccessLog has Log say what was answered to each request; without it, only where
	// that is as detailed as can be.
	AccessLog bool
	Now       func() time.Time // time.Now when nil
}

// Target is what a request is for, and the request as it looks from there.
type Target struct {
	Namespace, Function, Qualifier string
	// Path and Query are as the caller wrote them, without Prefix, which led here.
	Path, Query, Prefix string
	URL                 *catalog.Entrance // nil when the function has none
	RequestID           string
	// Affinity is what keeps the caller with one instance; "" is nothing.
	Affinity string
	// Version is what a rule of the alias has chosen for the request; "" is none.
	Version string
	route   *routed // nil when it was not found by a route
	// admitted, if set, is told of the request when its caller may go on.
	admitted func(*http.Request)
	region   string
}

// Gateway serves the gateway address.
type Gateway struct {
	Options
	suffix string       // of host names: ".lambda-url.<region>.<domain>"
	signed http.Handler // checks the signature, then goes on with admitted

	limiter *route.Limiter
	keySets *keySets
}

// New makes the gateway.
func New(o Options) *Gateway {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gateway{
		Options: o, suffix: ".lambda-url." + o.Region + "." + o.Domain,
		limiter: route.NewLimiter(), keySets: newKeySets(o.Now),
	}
	g.signed = o.Keys.Middleware(http.HandlerFunc(g.identified), auth.MiddlewareOptions{
		Region: o.Region, Service: func(*http.Request) string { return "lambda" },
		MaxBody: lambent.MaxPayload, Refuse: refuseSignature, Now: o.Now, Log: o.Log,
	})
	return g
}

// Takes picks the requests for the short way through package httpwire. An answer
// to HEAD has no body, which only net/http knows.
func Takes(method string, _ []byte) bool {
	return method != http.MethodHead && method != http.MethodConnect
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := newRequestID()
	w.Header()["X-Amzn-Requestid"] = []string{id}
	if len(g.Proxies) > 0 {
		g.seeThrough(r)
	}
	if !r.ProtoAtLeast(1, 1) && r.ContentLength != 0 {
		// net/http drops a transfer coding that HTTP/1.0 does not have: where the body
		// ends is not sure then (RFC 9112, section 6.1).
		w.Header()["Connection"] = []string{"close"}
	}
	if g.AccessLog || g.Log.Enabled(r.Context(), slog.LevelDebug) {
		g.serveLogged(w, r, id)
		return
	}
	g.serve(w, r, id)
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method == http.MethodConnect {
		refuse(w, r, &lambent.Error{Code: lambent.CodeUnsupported, Message: "CONNECT asks for a tunnel, which is not to be had here"})
		return
	}
	if g.Elsewhere != nil {
		if to := g.Elsewhere(r); to != "" {
			w.Header().Set("Location", to)
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusPermanentRedirect) // keeps the method (RFC 9110, section 15.4.9)
			return
		}
	}
	t, err := g.find(r)
	if err != nil {
		refuse(w, r, err)
		return
	}
	t.RequestID = id
	if t.route != nil {
		g.serveRoute(w, r, &t)
		return
	}
	if t.URL != nil && t.URL.CORS != nil {
		if isPreflight(r) {
			answerPreflight(w, r, t.URL.CORS)
			return
		}
		addCORS(w.Header(), r, t.URL.CORS)
	}
	g.enter(w, r, &t)
}

// enter lets those in who may call t.
func (g *Gateway) enter(w http.ResponseWriter, r *http.Request, t *Target) {
	switch g.access(t, r) {
	case accessSigned:
		g.signed.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, t)))
	case accessPublic:
		g.run(w, r, t, nil)
	default:
		refuse(w, r, errForbidden())
	}
}

// Who may call.
type access int

const (
	accessNobody access = iota
	accessPublic
	accessSigned
)

// access tells who may call t. A function that has no URL is for those who could
// call it by the API: reaching the gateway is no permission, not even from this
// host, because a browser on it runs strangers' code.
func (g *Gateway) access(t *Target, r *http.Request) access {
	switch {
	case t.URL == nil || t.URL.AuthType == "AWS_IAM":
		return accessSigned
	case t.URL.Internal:
		if t.URL.Admits(remoteAddr(r)) {
			return accessPublic
		}
		return accessNobody
	case t.URL.Open:
		return accessPublic
	}
	return accessNobody
}

type targetKey struct{}

// identified goes on with a request whose signature holds.
func (g *Gateway) identified(w http.ResponseWriter, r *http.Request) {
	t, _ := r.Context().Value(targetKey{}).(*Target)
	id, ok := auth.From(r.Context())
	if t == nil || !ok || id.AccountID != t.Namespace || !g.permits(&id, t) {
		refuse(w, r, errForbidden())
		return
	}
	t.Query = unsign(r.Header, t.Query)
	if t.route != nil {
		if err := limitBody(r, t.route.MaxBody); err != nil {
			refuse(w, r, err)
			return
		}
		g.runRoute(w, r, t, &id)
		return
	}
	g.run(w, r, t, &id)
}

// unsign takes a caller's signature out of its headers and its query, of which it
// gives the rest: who got that could send the request again.
func unsign(h http.Header, query string) string {
	delete(h, "Authorization")
	delete(h, "X-Amz-Security-Token")
	if !strings.Contains(query, "X-Amz-") {
		return query
	}
	rest := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		return strings.HasPrefix(pair, "X-Amz-Signature=") || strings.HasPrefix(pair, "X-Amz-Security-Token=")
	})
	return strings.Join(rest, "&")
}

// permits tells whether a caller may have t. A function without a URL is for those who
// could call it by the API.
func (g *Gateway) permits(id *auth.Identity, t *Target) bool {
	if id.Role == "" {
		return true // the account itself
	}
	action := "lambda:InvokeFunctionUrl"
	if t.URL == nil {
		action = "lambda:InvokeFunction"
	}
	return g.Permits != nil && g.Permits(*id, action, lambent.FunctionARN(g.Region, t.Namespace, t.Function, t.Qualifier))
}

// run has the request answered by what it is for.
func (g *Gateway) run(w http.ResponseWriter, r *http.Request, t *Target, id *auth.Identity) {
	if t.admitted != nil {
		t.admitted(r)
	}
	t.Version = g.Catalog.Steer(t.Namespace, t.Function, t.Qualifier, r.Header)
	v, err := g.Catalog.Resolve(t.Namespace, t.Function, cmp.Or(t.Version, t.Qualifier))
	switch {
	case err != nil:
		refuse(w, r, err)
	case v.App != nil && g.Apps != nil:
		g.Apps(w, r, *t)
	case v.App != nil:
		refuse(w, r, &lambent.Error{Code: lambent.CodeUnsupported, Message: "HTTP applications are not served here yet"})
	default:
		g.invoke(w, r, t, v, id)
	}
}
