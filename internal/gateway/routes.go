package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/gateway/event"
	"lambent.dev/lambent/internal/gateway/route"
)

// routed is a request that came by a route, and who sent it.
type routed struct {
	*route.Found
	caller string // who is counted: an address, or a name that was verified
	claims route.Claims
}

// match finds the route of a request. A question about other origins is for the
// route of what it asks for.
func (g *Gateway) match(r *http.Request, host, path, query string) (*Target, error) {
	table := g.Catalog.Routes()
	if table.Empty() || strings.HasPrefix(path, pathPrefix) && !table.Serves(host) {
		return nil, nil
	}
	method := r.Method
	if isPreflight(r) {
		method = r.Header.Get("Access-Control-Request-Method")
	}
	found, methods, err := table.Match(host, method, path)
	if err == nil && method != r.Method && (found == nil || found.CORS == nil) {
		found, methods, err = table.Match(host, r.Method, path)
	}
	switch {
	case err != nil:
		return nil, &lambent.Error{Code: lambent.CodeInvalid, Message: "The path has empty or dot segments, or escapes that are none.", Cause: err}
	case found != nil:
		return &Target{
			Namespace: found.Namespace, region: g.Region, Function: found.Function, Qualifier: found.Qualifier, Path: path, Query: query, route: &routed{Found: found},
		}, nil
	case len(methods) > 0:
		slices.Sort(methods)
		return nil, notFound(r.Method + " is not among the methods of this path: " + strings.Join(slices.Compact(methods), ", "))
	}
	return nil, nil
}

// serveRoute answers a request that came by a route.
func (g *Gateway) serveRoute(w http.ResponseWriter, r *http.Request, t *Target) {
	f := t.route
	if f.CORS != nil {
		if isPreflight(r) {
			answerPreflight(w, r, f.CORS)
			return
		}
		addCORS(w.Header(), r, f.CORS)
	}
	address := remoteAddr(r)
	f.caller = route.CallerOf(address)
	var err error
	switch f.Access {
	case lambent.AccessPublic:
	case lambent.AccessIAM:
		if err = limitBody(r, f.MaxBody); err == nil {
			g.signed.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, t)))
			return
		}
	case lambent.AccessInternal:
		if !f.Internal(address) {
			err = errRouteForbidden()
		}
	case lambent.AccessKey:
		err = g.checkKey(r, f)
	case lambent.AccessJWT:
		err = g.checkToken(w, r, f)
	default:
		err = errRouteForbidden()
	}
	if err == nil {
		err = limitBody(r, f.MaxBody)
	}
	if err != nil {
		refuse(w, r, err)
		return
	}
	g.runRoute(w, r, t, nil)
}

// remoteAddr is who is at the other end of the connection, or of the one to a proxy that
// is believed ([Gateway.seeThrough]). What a header says of it is not asked otherwise.
func remoteAddr(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero address is nobody's
	return a.Addr()
}

func errRouteForbidden() error {
	return &lambent.Error{Code: lambent.CodeDenied, Reason: "ForbiddenException", Message: "Forbidden"}
}

func (g *Gateway) checkKey(r *http.Request, f *routed) error {
	sent := r.Header.Get("X-Api-Key")
	if sent == "" || len(sent) > 256 {
		return errRouteForbidden()
	}
	k := g.Catalog.APIKey(route.HashKey(sent))
	if !f.OpenedBy(k) {
		return errRouteForbidden()
	}
	f.caller = "key " + k.Name
	return nil
}

// checkToken verifies the bearer token (RFC 6750).
func (g *Gateway) checkToken(w http.ResponseWriter, r *http.Request, f *routed) error {
	sent := r.Header.Get("Authorization")
	if sent == "" {
		w.Header().Set("Www-Authenticate", "Bearer")
		return errUnauthorized()
	}
	set, err := g.keySet(r.Context(), f, false)
	if err != nil {
		return err
	}
	f.claims, err = f.Verify(sent, set, g.Now())
	if errors.Is(err, route.ErrNoKey) && f.StaticKeys() == nil {
		if set, err = g.keySet(r.Context(), f, true); err != nil {
			return err
		}
		f.claims, err = f.Verify(sent, set, g.Now())
	}
	switch {
	case errors.Is(err, route.ErrScope):
		w.Header().Set("Www-Authenticate", `Bearer error="insufficient_scope", scope="`+quotable(strings.Join(f.JWT.Scopes, " "))+`"`)
		return errRouteForbidden()
	case err != nil:
		w.Header().Set("Www-Authenticate", `Bearer error="invalid_token", error_description="`+quotable(err.Error())+`"`)
		return errUnauthorized()
	}
	if sub := f.claims.Subject(); sub != "" {
		f.caller = "subject " + sub
	}
	return nil
}

func quotable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return ' '
		}
		return c
	}, s)
}

func errUnauthorized() error {
	return &lambent.Error{Code: lambent.CodeDenied, Reason: reasonUnauthorized, Message: "Unauthorized"}
}

// reasonUnauthorized makes a refusal 401 instead of 403.
const reasonUnauthorized = "UnauthorizedException"

func (g *Gateway) keySet(ctx context.Context, f *routed, refresh bool) (*route.KeySet, error) {
	if set := f.StaticKeys(); set != nil {
		return set, nil
	}
	set, err := g.keySets.get(ctx, f.JWT.KeysURL, refresh)
	if err != nil {
		g.Log.WarnContext(ctx, "read key set", "route", f.ID, "err", err)
		return nil, &lambent.Error{Code: lambent.CodeUnavailable, Message: "The keys of the token's issuer cannot be read.", Cause: err}
	}
	return set, nil
}

// limitBody bounds the body of a request to a route.
func limitBody(r *http.Request, limit int64) error {
	if limit == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength > limit {
		return errBody(limit)
	}
	if r.ContentLength < 0 {
		r.Body = &limitedBody{ReadCloser: r.Body, left: limit, limit: limit}
	}
	return nil
}

func errBody(limit int64) error {
	return &lambent.Error{Code: lambent.CodeTooLarge, Message: "The body of a request here may have " + strconv.FormatInt(limit, 10) + " bytes"}
}

// limitedBody is a body of unknown length.
type limitedBody struct {
	io.ReadCloser
	left, limit int64
}

// Read implements io.Reader.
func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errBody(b.limit)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, errBody(b.limit)
	}
	return n, err
}

// errRouteTimeout is the cause of a request that has taken too long.
var errRouteTimeout = errors.New("the time-out of the route")

// runRoute has an admitted request answered, as the route wants it.
func (g *Gateway) runRoute(w http.ResponseWriter, r *http.Request, t *Target, id *auth.Identity) {
	f := t.route
	if id != nil {
		f.caller = id.ARN
	}
	if wait, ok := g.limiter.Allow(f.Entry, f.caller, g.Now()); !ok {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
		refuse(w, r, &lambent.Error{Code: lambent.CodeThrottled, Message: "Too Many Requests"})
		return
	}
	facts := &route.Facts{Found: f.Found, Claims: f.claims, Header: r.Header, Query: t.Query, RequestID: t.RequestID, SourceIP: remoteAddr(r).String()}
	out := &routeWriter{ResponseWriter: w, r: r, facts: facts}
	parent := r.Context()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if f.Timeout > 0 {
		out.timer = time.AfterFunc(f.Timeout, func() { cancel(errRouteTimeout) })
		defer out.timer.Stop()
	}
	t.Affinity = f.Affinity(r.Header)
	r = r.WithContext(ctx)
	if f.MapsRequest() {
		r.Header = r.Header.Clone()
		t.Query = facts.MapRequest(r.Header, t.Query)
	}
	defer func() {
		p := recover()
		if p != nil && (out.headed || parent.Err() != nil || !errors.Is(context.Cause(ctx), errRouteTimeout)) {
			panic(p)
		}
		if p != nil { // it was given up because of the time-out, and nobody has answered
			cut(out, r, http.StatusGatewayTimeout, "route", "timeout "+f.Timeout.String())
		}
		out.end()
	}()
	g.run(out, r, t, id)
}

// streams tells whether the function may stream its answer to the caller.
func (t *Target) streams() bool {
	if t.route != nil {
		return t.route.Stream
	}
	return t.URL != nil && t.URL.InvokeMode == "RESPONSE_STREAM"
}

// event shapes the event of a request.
func (t *Target) event(b []byte, req *event.Request) []byte {
	if t.route == nil {
		return event.AppendV2(b, req)
	}
	f := t.route
	req.APIID, req.RouteKey, req.Resource = f.ID, lambent.RouteDefault, f.Path
	if req.IAM == nil {
		req.AccountID = f.Namespace
	}
	if f.Path != lambent.RouteDefault {
		method := f.Method
		if method == "" {
			method = "ANY"
		}
		req.RouteKey = method + " " + f.Path
	}
	for name, value := range f.Params {
		req.Params = append(req.Params, event.Field{Name: name, Value: value})
	}
	req.Claims = claims(f.claims)
	switch f.Format {
	case "1.0":
		return event.AppendV1(b, req)
	case "alb":
		req.TargetGroup = "arn:aws:elasticloadbalancing:" + t.region + ":" + f.Namespace + ":targetgroup/" + f.Function + "/" + f.ID
		return event.AppendALB(b, req)
	}
	return event.AppendV2(b, req)
}

// claims are a token's claims as text, lists in brackets as on AWS.
func claims(c route.Claims) []event.Field {
	if c == nil {
		return nil
	}
	out := make([]event.Field, 0, len(c))
	for name, v := range c {
		text, ok := c.Text(name)
		switch v.(type) {
		case []any:
			text = "[" + text + "]"
		case map[string]any:
			b, err := json.Marshal(v)
			text, ok = string(b), err == nil
		}
		if !ok {
			text = fmt.Sprint(v)
		}
		out = append(out, event.Field{Name: name, Value: text})
	}
	slices.SortFunc(out, func(a, b event.Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// parse reads the answer in the form that belongs to the event's.
func (t *Target) parse(res *lambent.Result) (event.Answer, error) {
	if t == nil || t.route == nil || t.route.Format == "2.0" {
		return parse(res)
	}
	return event.ParseV1(res.Payload)
}
