package lambent

import "time"

// Route leads requests of a host, a method and a path to a function. Its JSON is
// the form in which people write it, on the wire and in records alike.
type Route struct {
	ID        string `json:"id,omitempty"`
	Namespace string `json:"-"`
	// Host is a host name in lower case, "*.example.com" for all names directly or
	// further below one, or "" for those that no other route names.
	Host string `json:"host,omitempty"`
	// Method is in capitals; "" is any.
	Method string `json:"method,omitempty"`
	// Path has parameters for one segment, {id}, and as its end for all that
	// follow, {rest+}. [RouteDefault] takes what no other path takes.
	Path      string `json:"path"`
	Function  string `json:"function"`
	Qualifier string `json:"qualifier,omitempty"`
	// Format is of the event: "2.0", "1.0" or "alb". Applications get none.
	Format string `json:"format"`
	// Access is one of the Access constants.
	Access string `json:"access"`
	// Networks are those whose callers count as internal, beside this host's
	// loopback, in CIDR notation.
	Networks []string `json:"networks,omitempty"`
	// Keys are the names of the API keys that open the route; none named is all of
	// the namespace.
	Keys []string  `json:"keys,omitempty"`
	JWT  *RouteJWT `json:"jwt,omitempty"`
	// Rate is how many requests per second one caller may send for long, Burst how
	// many at once; a Rate of 0 is no limit.
	Rate  float64 `json:"rate,omitempty"`
	Burst int     `json:"burst,omitempty"`
	// MaxBody bounds the body of a request in bytes; 0 leaves the function's limit.
	MaxBody int64 `json:"maxBody,omitempty"`
	// Stream sends the answer of a function that streams while it is being made.
	Stream bool `json:"stream,omitempty"`
	// TimeoutSeconds bounds the time to the answer's head, and for a function that
	// does not stream to its end; 0 leaves the function's limit.
	TimeoutSeconds float64 `json:"timeoutSeconds,omitempty"`
	// Request and Response change headers and parameters on the way.
	Request  []Mapping `json:"request,omitempty"`
	Response []Mapping `json:"response,omitempty"`
	CORS     *CORS     `json:"cors,omitempty"`
	Compress bool      `json:"compress,omitempty"`
	// AffinityCookie or AffinityHeader names what keeps a caller with one instance,
	// as long as there is that instance.
	AffinityCookie string    `json:"affinityCookie,omitempty"`
	AffinityHeader string    `json:"affinityHeader,omitempty"`
	Created        time.Time `json:"created,omitzero"`
}

// RouteDefault is the path of the route that takes what no other one of its host
// takes.
const RouteDefault = "$default"

// Who may use a route.
const (
	AccessPublic = "public" // everybody
	AccessIAM    = "iam"    // who signs with a key of the namespace
	AccessKey    = "key"    // who sends an API key in X-Api-Key
	AccessJWT    = "jwt"    // who sends a token in Authorization
	// AccessInternal is who calls from this host or from Networks, by the address of
	// the connection: everybody, if a proxy on this host passes requests on.
	AccessInternal = "internal"
)

// RouteJWT says which tokens open a route (RFC 7519). Keys are public ones: a
// secret that both sides know opens nothing.
type RouteJWT struct {
	Issuer    string   `json:"issuer"`
	Audiences []string `json:"audiences"`        // the token names one of them
	Scopes    []string `json:"scopes,omitempty"` // the token has one of them, if there are any
	// KeysURL leads to a JSON Web Key Set (RFC 7517); Keys is one.
	KeysURL string `json:"keysUrl,omitempty"`
	Keys    string `json:"keys,omitempty"`
}

// Mapping is one change of a request or an answer.
type Mapping struct {
	Do   string `json:"do"`   // "set", "append", "remove" or "rename"
	In   string `json:"in"`   // "header" or, of requests, "query"
	Name string `json:"name"` // of the header or parameter
	// Value is text with variables: ${path.NAME}, ${claims.NAME}, ${header.NAME},
	// ${query.NAME}, ${request.id}, ${source.ip}. One that is absent makes the
	// whole value absent, and what is set to an absent value is removed. For
	// "rename" it is the new name.
	Value string `json:"value,omitempty"`
}

// APIKey opens routes of its namespace. The key itself is known to whom it was
// given: here is only its hash.
type APIKey struct {
	Namespace string    `json:"-"`
	Name      string    `json:"name"`
	Hash      Digest    `json:"-"` // of the key
	Created   time.Time `json:"created"`
}

// Domain is a name of the gateway for which the server gets certificates by itself.
type Domain struct {
	Name string `json:"name"`
	// OnDemand leaves the first one to the first client that asks for the name.
	OnDemand bool      `json:"onDemand,omitempty"`
	Created  time.Time `json:"created"`
}
