// Package server is the composition root: it builds every room in one place,
// starts them in order, serves the doors, and takes everything down in the
// reverse order. It owns the life of the process and the data directory's
// endpoints.json; it refuses to hold any logic of a room.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/async"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/backup"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/gateway"
	"lambent.dev/lambent/internal/gateway/certs"
	"lambent.dev/lambent/internal/gateway/proxy"
	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/internal/invoke"
	"lambent.dev/lambent/internal/logs"
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/prepare"
	"lambent.dev/lambent/internal/rollout"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/scale"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/telemetry"
	"lambent.dev/lambent/internal/trigger"
)

// Hooks are what a caller may attach to a server. All may be nil.
type Hooks struct {
	// Ready is called once, when both addresses answer.
	Ready func(Addresses)
	// Point is called at named moments of durable writes; a crash test ends the
	// process there.
	Point func(name string)
	// Driver replaces the sandbox driver, for fault injection.
	Driver sandbox.Driver
	// Rush is told when there are more cold starts at once than processors, and when
	// that is over; nil is nobody.
	Rush func(on bool)
	// Sockets are those that an earlier server had, to be taken over by name.
	Sockets Sockets
}

// Addresses are where a running server answers.
type Addresses struct {
	API     string `json:"api"`
	Gateway string `json:"gateway"`
	TLS     string `json:"tls,omitempty"` // of the gateway; "" is none
}

// Server is every room of one lambent. Make it with New, Run it, then Close it.
type Server struct {
	config config.Config
	hooks  Hooks
	log    *slog.Logger
	ready  atomic.Bool

	metrics   *telemetry.Metrics
	traces    *telemetry.Traces // nil when off
	records   store.Store
	keys      *auth.Keys
	artifacts *artifact.Store
	runtimes  *runtimes.Catalog
	catalog   *catalog.Catalog
	images    *image.Room
	logs      *logs.Store
	driver    sandbox.Driver
	prepare   *prepare.Room
	pool      *pool.Pool
	habits    *scale.Habits // nil when nothing is guessed from calls
	loads     *scale.Loads
	scale     *scale.Service
	rollouts  *rollout.Room
	invoke    *invoke.Service
	proxy     *proxy.Proxy
	events    *async.Service
	keeper    *async.Keeper // the spine for callers who wait
	triggers  *trigger.Room
	roles     *iam.Room
	lambda    http.Handler     // the Lambda API's door
	dialects  dialects         // all doors of the API
	front     *gateway.Gateway // one for all listeners, because it counts callers
	calls     *httpwire.Queue  // connections on which functions call the API

	api, gateway net.Listener
	tls          net.Listener   // nil when there is none
	certs        *certs.Store   // nil without tls
	socketsMu    sync.Mutex     // guards sockets
	sockets      Sockets        // kept open for the next server, if there is one
	parting      atomic.Bool    // clients are asked to close their connections
	callers      callers        // clients that have to reconnect
	stopping     chan struct{}  // closed when Run begins to stop
	closers      []func() error // in the order of opening
}

// New opens every room on the data directory. Its error is one clear line; on
// error nothing is left open.
func New(ctx context.Context, c config.Config, log *slog.Logger, hooks Hooks) (*Server, error) {
	s := &Server{config: c, hooks: hooks, log: log, metrics: telemetry.NewMetrics(), stopping: make(chan struct{})}
	steps := []func(context.Context) error{
		s.openStore, s.openRoles, s.openKeys, s.listen, s.openTraces, s.openArtifacts, s.openImages, s.openRuntimes,
		s.openCatalog, s.openCertificates, s.openLogs, s.openCalls, s.openDriver, s.openPrepare,
		s.openPool, s.openScale, s.openInvoke, s.openRollouts, s.openEvents, s.openTriggers, s.openDoors,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// Check tells what would keep a server with this configuration from its data directory,
// besides that another one is using it.
func Check(c config.Config) error { return store.Readable(c.Data) }

func (s *Server) openStore(ctx context.Context) (err error) {
	s.records, err = store.Open(ctx, store.Options{
		Dir: s.config.Data, URL: string(s.config.Store.URL), Log: s.log, Point: s.hooks.Point,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.records.Close)
	return backup.Tidy(s.config.Data) // the directory is ours alone from here on
}

func (s *Server) openKeys(context.Context) (err error) {
	s.keys, err = auth.Open(s.config.Data, auth.Options{
		Account: s.config.Account, Region: s.config.Region, Log: s.log, Lives: s.roles.Lives,
	})
	return err
}

func (s *Server) openRoles(ctx context.Context) (err error) {
	s.roles, err = iam.Open(ctx, iam.Options{Records: s.records, Region: s.config.Region, Log: s.log})
	return err
}

// trusts tells whether a role lets a function have it, or is not on record.
func (s *Server) trusts(role, function string) bool {
	trusted, known := s.roles.Trusts(role, iam.LambdaService, function)
	return trusted || !known
}

// listen takes both addresses before anything slow, so that a port in use is
// reported at once.
func (s *Server) listen(ctx context.Context) (err error) {
	if s.api, err = s.listenOn(ctx, socketAPI, s.config.Listen); err != nil {
		return fmt.Errorf("listen for the API on %s: %w", s.config.Listen, plain(err))
	}
	if s.gateway, err = s.listenOn(ctx, socketGateway, s.config.Gateway); err != nil {
		return fmt.Errorf("listen for the gateway on %s: %w", s.config.Gateway, plain(err))
	}
	return s.listenTLS(ctx)
}

func (s *Server) openArtifacts(context.Context) (err error) {
	endpoints := make([]artifact.S3Endpoint, 0, len(s.config.S3))
	for _, e := range s.config.S3 {
		keys, err := e.Keys()
		if err != nil {
			return err
		}
		endpoints = append(endpoints, artifact.S3Endpoint{
			Bucket: strings.TrimPrefix(e.Bucket, "*"), Endpoint: e.Endpoint, Region: cmp.Or(e.Region, s.config.Region),
			AccessKey: keys.AccessKey, SecretKey: string(keys.SecretKey), PathStyle: e.PathStyle,
		})
	}
	s.artifacts, err = artifact.Open(artifact.Options{
		Dir: filepath.Join(s.config.Data, "artifacts"), S3: endpoints, Log: s.log, Point: s.hooks.Point,
	})
	return err
}

// openImages opens the room that fetches container images, with its logins.
func (s *Server) openImages(context.Context) error {
	var logins []image.Registry
	for _, r := range s.config.Registries {
		password, token, err := r.Secrets()
		if err != nil {
			return err
		}
		logins = append(logins, image.Registry{Host: r.Host, Username: r.Username, Password: password, Token: token, Insecure: r.Insecure})
	}
	if path := s.config.DockerConfig; path != "" {
		more, err := image.FromDockerConfig(path)
		if err != nil {
			return err
		}
		logins = append(logins, more...)
	}
	o := image.Options{Layers: s.artifacts, Registries: logins, Log: s.log}
	if err := lazyImages(); err != nil {
		s.log.Info("large images start when all of them is here", "err", err)
	} else {
		o.Lazy = s.artifacts
	}
	s.images = image.New(o)
	return nil
}

func (s *Server) openRuntimes(ctx context.Context) (err error) {
	s.runtimes, err = runtimes.Open(ctx, runtimes.Options{
		DataDir: s.config.Data, Search: slices.Concat(s.config.Runtimes.Search, runtimes.DefaultSearch()), NPMRegistry: s.config.Runtimes.NPM, PythonIndex: s.config.Runtimes.PyPI,
		Region: s.config.Region, Log: s.log,
	})
	return err
}

func (s *Server) openCatalog(ctx context.Context) (err error) {
	s.catalog, err = catalog.Open(ctx, catalog.Options{
		Records: s.records, Artifacts: s.artifacts, Runtimes: s.runtimes, Images: s.images,
		Region: s.config.Region, Concurrency: s.config.Instances.Concurrency, Log: s.log, NewID: uuid.NewString,
		OnChange: s.retire, OnWanted: s.wanted, Trusts: s.trusts, May: s.mayDeliver,
	})
	return err
}

// openLogs starts the log room too: it must take lines until the last instance
// is gone, and so outlives Run.
func (s *Server) openLogs(ctx context.Context) (err error) {
	s.logs, err = logs.Open(logs.Options{
		Dir: filepath.Join(s.config.Data, "logs"), MaxAge: s.config.Logs.MaxAge,
		MaxBytes: int64(s.config.Logs.MaxBytes), Log: s.log,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- s.logs.Run(ctx) }() // waited for by the closer
	s.closers = append(s.closers, func() error { stop(); return <-done })
	return nil
}

// openDriver ends what an earlier server left behind before anything new runs.
func (s *Server) openDriver(ctx context.Context) (err error) {
	s.driver = s.hooks.Driver
	if s.driver == nil {
		if s.driver, err = s.newDriver(); err != nil {
			return err
		}
	}
	s.closers = append(s.closers, s.driver.Close)
	ended, err := s.driver.Recover(ctx)
	if err != nil {
		return fmt.Errorf("recover sandboxes: %w", err)
	}
	if ended > 0 {
		s.log.Warn("ended sandboxes of an earlier server", "count", ended)
	}
	for _, w := range s.driver.Describe().Warnings {
		s.log.Warn("sandbox: " + w)
	}
	return nil
}

// killTimeout is what calls get that still run when the time for draining is over.
// Their connections are cut by then, and they answer nobody.
const killTimeout = 200 * time.Millisecond

// Run serves until ctx ends or a part of the server fails. It removes
// endpoints.json before it returns; Close does the rest.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.catalog.Run(ctx) })
	group.Go(func() error { return s.images.Run(ctx) })
	group.Go(func() error { return s.scale.Run(ctx) })
	group.Go(func() error { return s.rollouts.Run(ctx) })
	group.Go(func() error { return s.prepare.Run(ctx) })
	group.Go(func() error { return s.events.Run(ctx) })
	group.Go(func() error { return s.keeper.Run(ctx) })
	group.Go(func() error { return s.triggers.Run(ctx) })
	group.Go(func() error { return s.collect(ctx) })
	group.Go(func() error { return s.serveAPI(ctx, s.api) })
	group.Go(func() error { return s.serveGateway(ctx, s.gateway, s.plainly(s.front)) })
	if s.tls != nil {
		group.Go(func() error { return s.certs.Run(ctx) })
		group.Go(func() error { return s.serveTLS(ctx, s.tls, s.front) })
	}
	group.Go(func() error {
		if err := s.announce(); err != nil {
			return err
		}
		s.expectAll()
		<-ctx.Done()
		s.ready.Store(false)
		close(s.stopping)
		return os.Remove(s.endpointsFile())
	})
	return group.Wait()
}

// Close takes the server down after Run has returned: instances first, then the
// rooms in the reverse order of opening.
func (s *Server) Close() error { return s.close() }

func (s *Server) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}
