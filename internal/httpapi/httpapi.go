// Package httpapi is the front door of our own dialect, /v1: JSON over HTTP with
// the nouns of the root package, for the command line and the console. It turns
// requests into calls of the catalog, the spine, the pool, the log room and the
// runtimes, and errors into answers, each in one place. It refuses requests whose caller
// the auth middleware around it has not verified, and keeps no state of its own.
// The wire types are declared by its other end, package client.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/gateway/certs"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/telemetry"
)

// Invoker is the spine.
type Invoker interface {
	Invoke(ctx context.Context, inv *lambent.Invocation) (*lambent.Result, error)
}

// Runtimes lists and installs language runtimes.
type Runtimes interface {
	List() []runtimes.Info
	Install(ctx context.Context, name string, progress func(string)) error
}

// Instances are the live copies of versions, and how they came to be.
type Instances interface {
	// ColdStarts returns the latest ones of a version, oldest first.
	ColdStarts(namespace, function, number string) []pool.ColdStart
	// Retire ends idle instances, and busy ones when they are done.
	Retire(namespace, function, number string)
}

// Reserver tells what is kept ready without a function.
type Reserver interface {
	Reserves() []sandbox.Reserve
}

// Provisioner tells how far provisioned concurrency has come.
type Provisioner interface {
	// Allocation is false for what has not been begun yet.
	Allocation(p *lambent.Provisioned) (lambent.Allocation, bool)
}

// Domains are the names that the gateway serves by TLS.
type Domains interface {
	Put(ctx context.Context, name string, chain, key []byte) (certs.Domain, error)
	// Issue has the server get the certificate of a name, now or, on demand, when a
	// client first asks for the name.
	Issue(ctx context.Context, name string, onDemand bool) (certs.Domain, error)
	Delete(ctx context.Context, name string) error
	List() []certs.Domain
}

// Options are the rooms behind the door. The first five are required.
type Options struct {
	Catalog  *catalog.Catalog
	Invoker  Invoker
	Logs     logs.Reader
	Runtimes Runtimes
	Region   string
	Log      *slog.Logger // discarded when nil
	// Stopping, if set, is closed when the server begins to stop: those who follow
	// a log are let go then, and do not hold up the end.
	Stopping <-chan struct{}
	// Instances, Reserver and Provisioner may be nil: there are no cold starts and
	// no reserves then, and provisioned concurrency stays in progress.
	Instances   Instances
	Reserver    Reserver
	Provisioner Provisioner
	// Scaler and Roller may be nil: nothing is told of decisions and there are no
	// rollouts then.
	Scaler Scaler
	Roller Roller
	// Applications may be nil: none is tried then.
	Applications Applications
	// FunctionURL is the address of the function URL with an id. Nil is the id
	// alone.
	FunctionURL func(urlID string) string
	// Backup writes all that the server keeps; nil refuses to.
	Backup Backup
	// Domains keeps certificates; nil refuses them, because nothing serves TLS.
	Domains Domains
	// ReserveBytes is the memory that the reserves may use.
	ReserveBytes int64
	// Events keeps calls; there are none when it is nil.
	Events Events
	// Schedules calls functions at set times; nil has no such routes.
	Schedules Schedules
	// Roles are what functions may do; nil has no such routes.
	Roles *iam.Room
}

// api is the door.
type api struct {
	o   Options
	mux *http.ServeMux
}

// New makes the door. It must stand behind [auth.Keys.Middleware].
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FunctionURL == nil {
		o.FunctionURL = func(urlID string) string { return urlID }
	}
	a := &api{o: o, mux: http.NewServeMux()}
	a.routes()
	return a
}

// permission is what a route demands of its caller.
type permission string

const (
	mayRead   permission = "read"
	mayWrite  permission = "write"
	mayInvoke permission = "invoke"
	mayAdmin  permission = "admin" // changes the server, not only the caller's namespace
)

// maxControlBody bounds requests that carry no code and no payload, in bytes.
const maxControlBody = 64 << 10

// routes is every route of the dialect.
func (a *api) routes() {
	a.route("GET", "/v1/version", mayRead, maxControlBody, a.version)
	a.route("GET", "/v1/functions", mayRead, maxControlBody, a.listFunctions)
	a.route("GET", "/v1/functions/{name}", mayRead, maxControlBody, a.getFunction)
	a.route("PUT", "/v1/functions/{name}", mayWrite, lambent.MaxRequestBody, a.deploy)
	a.route("DELETE", "/v1/functions/{name}", mayWrite, maxControlBody, a.deleteFunction)
	a.route("POST", "/v1/functions/{name}/invocations", mayInvoke, lambent.MaxPayload, a.invoke)
	a.route("GET", "/v1/functions/{name}/logs", mayRead, maxControlBody, a.logs)
	a.route("GET", "/v1/functions/{name}/coldstarts", mayRead, maxControlBody, a.coldStarts)
	a.route("POST", "/v1/functions/{name}/retire", mayWrite, maxControlBody, a.retire)
	a.route("POST", "/v1/functions/{name}/start", mayWrite, maxControlBody, a.start)
	a.route("GET", "/v1/functions/{name}/settings", mayRead, maxControlBody, a.getSettings)
	a.route("PUT", "/v1/functions/{name}/settings", mayWrite, maxControlBody, a.putSettings)
	a.route("GET", "/v1/functions/{name}/provisioned", mayRead, maxControlBody, a.listProvisioned)
	a.route("GET", "/v1/functions/{name}/provisioned/{qualifier}", mayRead, maxControlBody, a.getProvisioned)
	a.route("PUT", "/v1/functions/{name}/provisioned/{qualifier}", mayWrite, maxControlBody, a.putProvisioned)
	a.route("DELETE", "/v1/functions/{name}/provisioned/{qualifier}", mayWrite, maxControlBody, a.deleteProvisioned)
	a.route("GET", "/v1/functions/{name}/urls", mayRead, maxControlBody, a.listURLs)
	a.route("PUT", "/v1/functions/{name}/urls/{qualifier}", mayWrite, maxControlBody, a.putURL)
	a.route("DELETE", "/v1/functions/{name}/urls/{qualifier}", mayWrite, maxControlBody, a.deleteURL)
	a.versionRoutes()
	a.gatewayRoutes()
	a.invocationRoutes()
	a.scaleRoutes()
	if a.o.Schedules != nil {
		a.scheduleRoutes()
	}
	if a.o.Roles != nil {
		a.roleRoutes()
	}
	// What the reserves have learned comes from the functions of all namespaces.
	a.route("GET", "/v1/reserves", mayAdmin, maxControlBody, a.reserves)
	a.route("GET", "/v1/backup", mayAdmin, maxControlBody, a.backup)
	a.route("GET", "/v1/runtimes", mayRead, maxControlBody, a.listRuntimes)
	a.route("POST", "/v1/runtimes/{name}/install", mayAdmin, maxControlBody, a.installRuntime)
}

// call is one request whose caller is known.
type call struct {
	*http.Request
	w         http.ResponseWriter
	id        auth.Identity
	requestID string // UUID; also the invocation's
}

// handler answers c, or returns the error to answer with before anything was
// written.
type handler func(c *call) error

// route registers the one handler of a method and path. The permission and the
// limit of the body in bytes cannot be left out.
func (a *api) route(method, path string, p permission, maxBody int64, h handler) {
	a.mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, w: w, requestID: uuid.NewString()}
		w.Header().Set("X-Request-Id", c.requestID)
		err := c.admit(p, maxBody)
		if err == nil {
			err = h(c)
		}
		if err != nil {
			a.refuse(c, err)
		}
	})
}

// ServeHTTP answers a request; one that no route takes is answered in our shape.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h, pattern := a.mux.Handler(r); pattern == "" {
		a.unrouted(h, w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// unrouted turns the mux's own answers, 404, 405 and redirects, into JSON.
func (a *api) unrouted(h http.Handler, w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, w: w, requestID: uuid.NewString()}
	w.Header().Set("X-Request-Id", c.requestID)
	plain := &statusOnly{header: http.Header{}}
	h.ServeHTTP(plain, r)
	if plain.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", plain.header.Get("Allow"))
		writeError(c, http.StatusMethodNotAllowed, client.Error{
			Code: string(lambent.CodeInvalid), Reason: "MethodNotAllowed",
			Message: r.Method + " is not among the methods of this path: " + plain.header.Get("Allow"),
		})
		return
	}
	a.refuse(c, lambent.Errorf(lambent.CodeNotFound, "there is nothing at this path").WithReason("UnknownPath"))
}

// statusOnly takes an answer and keeps its head.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }

// admit verifies who calls and bounds what is read.
func (c *call) admit(p permission, maxBody int64) error {
	id, ok := auth.From(c.Context())
	if !ok {
		return lambent.Errorf(lambent.CodeDenied, "the request is not signed").WithReason("MissingSignature")
	}
	if id.Service != client.Service {
		// A signature is good for the service it names and for no other one.
		return lambent.Errorf(lambent.CodeDenied, "the request is signed for the service %q; sign it for %q", id.Service, client.Service).WithReason("WrongService")
	}
	if !allowed(id, p) {
		return lambent.Errorf(lambent.CodeDenied, "%s may not %s here", id.ARN, p).WithReason("NotPermitted")
	}
	c.id = id
	if c.ContentLength > maxBody {
		return lambent.Errorf(lambent.CodeTooLarge, "the body has %d bytes, more than the %d that are allowed", c.ContentLength, maxBody)
	}
	return nil
}

// allowed tells whether an identity has a permission. The account's own key has
// them all; there are no others yet.
func allowed(id auth.Identity, _ permission) bool {
	return id.ARN == "arn:aws:iam::"+id.AccountID+":root"
}

// version answers what is running.
func (a *api) version(c *call) error {
	b := telemetry.ReadBuild()
	return c.answer(http.StatusOK, client.Version{
		Version: b.Version, Commit: b.Commit, Go: b.Go, Region: a.o.Region, Account: c.id.AccountID,
	})
}
