package route

import (
	"fmt"
	"math"
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Entry is a route that has been checked.
type Entry struct {
	*lambent.Route
	Timeout  time.Duration // 0 is none
	segments []segment     // nil for lambent.RouteDefault
	names    []string      // of the path's parameters
	networks []netip.Prefix
	request  []change
	named    map[string]bool // headers that request is about
	alike    map[string]bool // the same by [hyphens]
	response []change
	keys     *KeySet // of JWT.Keys
}

type kind int

const (
	literal kind = iota
	param
	greedy
)

type segment struct {
	kind kind
	text string // or the parameter's name
}

// Limits of a route.
const (
	maxPath     = 1024
	maxMappings = 50
	maxTimeout  = 15 * time.Minute
	maxRate     = 1e6
	maxBurst    = 1_000_000
	maxList     = 100 // networks, keys, audiences, scopes
)

var (
	hostForm    = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?$`)
	paramForm   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	literalForm = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()*+,;=:@-]*$`)
	tokenForm   = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
)

func invalid(format string, args ...any) error {
	return lambent.Errorf(lambent.CodeInvalid, format, args...).WithReason("InvalidRoute")
}

// Title names a route by what it takes, for people: "GET api.example.com/orders/{id}".
func (e *Entry) Title() string {
	method, host, path := e.Method, e.Host, e.Path
	if method == "" {
		method = "ANY"
	}
	if host == "" {
		host = "*"
	}
	if path == lambent.RouteDefault {
		path = "/*" // as `lambent route` takes and shows it
	}
	return method + " " + host + path
}

// Compile checks a route and makes an Entry of it. Its error is CodeInvalid and
// says what is wrong.
func Compile(r *lambent.Route) (*Entry, error) {
	e := &Entry{Route: r}
	for _, check := range []func() error{e.address, e.target, e.access, e.limits, e.mappings} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *Entry) address() error {
	switch {
	case e.Host != "" && (len(e.Host) > 253 || !hostForm.MatchString(e.Host)):
		return invalid("host %q is not a host name in lower case, nor *. and one", e.Host)
	case e.Method != "" && (!tokenForm.MatchString(e.Method) || strings.ToUpper(e.Method) != e.Method):
		return invalid("method %q is not a method in capitals", e.Method)
	case e.Path == lambent.RouteDefault:
		return nil
	case !strings.HasPrefix(e.Path, "/") || len(e.Path) > maxPath:
		return invalid("path %q does not begin with a slash, or has more than %d bytes", e.Path, maxPath)
	case !unambiguous(e.Path):
		return invalid("path %q has empty or dot segments", e.Path)
	case e.Host == "" && (e.Path == "/fn" || strings.HasPrefix(e.Path, "/fn/")):
		return invalid("path %q: below /fn/ functions are reached by name; name a host", e.Path)
	}
	parts := strings.Split(e.Path[1:], "/")
	for i, text := range parts {
		s, ok := parseSegment(text)
		switch {
		case !ok:
			return invalid("path %q: %q is neither text nor {name} nor {name+}", e.Path, text)
		case s.kind == greedy && i < len(parts)-1:
			return invalid("path %q: %s is not at the end", e.Path, text)
		case s.kind != literal && slices.Contains(e.names, s.text):
			return invalid("path %q has {%s} twice", e.Path, s.text)
		case s.kind != literal:
			e.names = append(e.names, s.text)
		}
		e.segments = append(e.segments, s)
	}
	if len(e.names) > maxParams {
		return invalid("path %q has more than %d parameters", e.Path, maxParams)
	}
	return nil
}

func parseSegment(text string) (segment, bool) {
	name, ok := strings.CutPrefix(text, "{")
	if !ok {
		return segment{literal, text}, literalForm.MatchString(text)
	}
	if name, ok = strings.CutSuffix(name, "}"); !ok {
		return segment{}, false
	}
	if rest, ok := strings.CutSuffix(name, "+"); ok {
		return segment{greedy, rest}, paramForm.MatchString(rest)
	}
	return segment{param, name}, paramForm.MatchString(name)
}

func (e *Entry) target() error {
	switch {
	case !lambent.ValidName(e.Function):
		return invalid("function %q is not a function's name", e.Function)
	case !slices.Contains([]string{"2.0", "1.0", "alb"}, e.Format):
		return invalid(`format %q is not "2.0", "1.0" or "alb"`, e.Format)
	case e.Stream && e.Format == "alb":
		return invalid("stream: a load balancer's functions do not stream")
	case e.AffinityCookie != "" && e.AffinityHeader != "":
		return invalid("affinity is by a cookie or by a header, not by both")
	case e.AffinityCookie+e.AffinityHeader != "" && !tokenForm.MatchString(e.AffinityCookie+e.AffinityHeader):
		return invalid("affinity: %q is not the name of a cookie or header", e.AffinityCookie+e.AffinityHeader)
	}
	return nil
}

func (e *Entry) access() error {
	switch e.Access {
	case lambent.AccessPublic, lambent.AccessIAM, lambent.AccessKey, lambent.AccessJWT, lambent.AccessInternal:
	default:
		return invalid("access %q is not public, iam, key, jwt or internal", e.Access)
	}
	if (e.Access == lambent.AccessJWT) != (e.JWT != nil) {
		return invalid("jwt belongs to access jwt, and the other way round")
	}
	if len(e.Networks) > 0 && e.Access != lambent.AccessInternal {
		return invalid("networks belong to access internal")
	}
	if len(e.Keys) > 0 && e.Access != lambent.AccessKey {
		return invalid("keys belong to access key")
	}
	if max(len(e.Networks), len(e.Keys)) > maxList {
		return invalid("more than %d networks or keys", maxList)
	}
	var err error
	if e.networks, err = ParseNetworks(e.Networks); err != nil {
		return invalid("%s", err)
	}
	if e.JWT == nil {
		return nil
	}
	return e.tokens()
}

// ParseNetworks reads networks in CIDR notation.
func ParseNetworks(texts []string) (out []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("network %q is not in CIDR notation, such as 10.0.0.0/8", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// Internal tells whether a caller counts as internal.
func (e *Entry) Internal(caller netip.Addr) bool { return Internal(caller, e.networks) }

// Internal tells whether a caller is this host or in one of the networks, by the
// address of the connection.
func Internal(caller netip.Addr, networks []netip.Prefix) bool {
	caller = caller.Unmap()
	return caller.IsLoopback() || slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(caller) })
}

func (e *Entry) limits() error {
	switch {
	case math.IsNaN(e.Rate) || e.Rate < 0 || e.Rate > maxRate:
		return invalid("rate %v is not between 0 and %v requests per second", e.Rate, maxRate)
	case e.Rate > 0 && e.Rate < 1.0/(24*3600):
		return invalid("rate %v is less than one request per day", e.Rate)
	case e.Burst < 0 || e.Burst > maxBurst || e.Rate == 0 && e.Burst > 0 || e.Rate > 0 && e.Burst == 0:
		return invalid("burst %d: with a rate it is 1 to %d, without one 0", e.Burst, maxBurst)
	case e.Rate > 0 && float64(e.Burst)/e.Rate > 30*24*3600:
		return invalid("burst %d comes back in more than 30 days at that rate", e.Burst)
	case e.MaxBody < 0:
		return invalid("maxBody is negative")
	case math.IsNaN(e.TimeoutSeconds) || e.TimeoutSeconds < 0 || e.TimeoutSeconds > maxTimeout.Seconds():
		return invalid("timeoutSeconds %v is not between 0 and %v", e.TimeoutSeconds, maxTimeout.Seconds())
	}
	e.Timeout = time.Duration(e.TimeoutSeconds * float64(time.Second))
	return nil
}

// Affinity is what keeps the caller of a request with one instance, "" is nothing.
// The values of a header or cookie count up to maxAffinity bytes.
func (e *Entry) Affinity(header map[string][]string) string {
	var key string
	switch {
	case e.AffinityHeader != "":
		if v := header[textproto.CanonicalMIMEHeaderKey(e.AffinityHeader)]; len(v) > 0 {
			key = v[0]
		}
	case e.AffinityCookie != "":
		key = cookie(header["Cookie"], e.AffinityCookie)
	}
	return key[:min(len(key), maxAffinity)]
}

const maxAffinity = 256

func cookie(lines []string, name string) string {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			if n, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && n == name {
				return value
			}
		}
	}
	return ""
}
