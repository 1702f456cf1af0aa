package server

import (
	"context"
	"net"
	"net/http"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/config"
	"lambent.dev/lambent/internal/gateway"
	"lambent.dev/lambent/internal/gateway/proxy"
	"lambent.dev/lambent/internal/httpapi"
	"lambent.dev/lambent/internal/iamapi"
	"lambent.dev/lambent/internal/lambdaapi"
	"lambent.dev/lambent/internal/logsapi"
	"lambent.dev/lambent/internal/queryapi"
	"lambent.dev/lambent/internal/sandbox"
	"lambent.dev/lambent/internal/schedulerapi"
	"lambent.dev/lambent/internal/stsapi"
)

// openDoors makes the doors of the API, and the gateway, where nothing of it is.
func (s *Server) openDoors(context.Context) error {
	s.lambda = lambdaapi.New(lambdaapi.Options{
		Catalog: s.catalog, Invoker: s.keeper, Events: s.events, Blobs: s.artifacts,
		Region: s.config.Region, Log: s.log, Concurrency: s.config.Instances.Concurrency,
		Provisioner: s.scale, Optimizer: s.prepare, FunctionURL: s.functionURL,
	})
	query := queryapi.New(map[string]queryapi.API{
		"sts": stsapi.New(stsapi.Options{Roles: s.roles, Keys: s.keys}), "iam": iamapi.New(s.roles),
	}, s.log)
	s.dialects = dialects{
		lambda:    s.lambda,
		logs:      logsapi.New(logsapi.Options{Reader: s.logs, Groups: s.logs, Region: s.config.Region, Stopping: s.stopping, Log: s.log}),
		query:     query,
		queried:   query.Wanted,
		scheduler: schedulerapi.New(schedulerapi.Options{Schedules: s.triggers, Groups: s.triggers, Region: s.config.Region, Log: s.log}),
		own: httpapi.New(httpapi.Options{
			Catalog: s.catalog, Invoker: s.keeper, Events: s.events, Logs: s.logs, Runtimes: s.runtimes,
			Region: s.config.Region, Log: s.log, Stopping: s.stopping,
			Instances: s.pool, Reserver: s.reserver(), Provisioner: s.scale,
			Scaler: s.scale, Roller: s.rollouts, Applications: s.invoke,
			FunctionURL:  s.functionURL,
			ReserveBytes: int64(s.config.Instances.Reserve),
			Domains:      s.domains(),
			Schedules:    s.triggers,
			Roles:        s.roles,
			Backup:       s.backup,
		}),
	}
	s.front = gateway.New(gateway.Options{
		Catalog: s.catalog, Invoker: s.keeper, Keys: s.keys, Permits: s.permits, Region: s.config.Region,
		Namespace: s.config.Account, Domain: s.config.GatewayDomain, Proxies: config.Prefixes(s.config.GatewayProxies), Log: s.log, AccessLog: s.config.Log.Access, Apps: s.serveApp, Elsewhere: s.secureAddress(),
	})
	return nil
}

// apiHandler is the map of the API address: what is open, and the doors behind
// the signature check.
func (s *Server) apiHandler() http.Handler {
	signed := s.keys.Middleware(s.permitted(), s.signing())

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", loopbackOnly(s.metrics.Handler()))
	mux.Handle("GET "+lambdaapi.CodePath, s.lambda)
	mux.HandleFunc("GET /{$}", s.welcome)
	mux.Handle("/", signed)
	// Nothing that is open lies below the Lambda API's own paths: they skip the
	// mux, which would cost more than the signature's parsing. A query is a presigned
	// request of STS, and not a browser that wants to be welcomed.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/20") || r.URL.Path == "/" && r.URL.RawQuery != "" {
			signed.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// signing is what every signature must be for.
func (s *Server) signing() auth.MiddlewareOptions {
	return auth.MiddlewareOptions{
		Region: s.config.Region, Service: s.dialects.signedFor, Operation: lambdaapi.Operation, Log: s.log, Refuse: refuse,
	}
}

// reserver is the driver, if it keeps a reserve.
func (s *Server) reserver() httpapi.Reserver {
	if r, ok := s.driver.(sandbox.Reserver); ok {
		return r
	}
	return nil
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if !s.ready.Load() {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

// welcome is for the person who opens the API address in a browser.
func (s *Server) welcome(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("lambent: the AWS Lambda API is at this address, our own under /v1/.\n" +
		"Credentials: " + s.config.Data + "/credentials\n"))
}

// dialects are the doors of signed requests, each of which speaks one.
type dialects struct {
	lambda, logs, query, scheduler, own http.Handler
	// queried tells what a request of the query door asks for, and of what.
	queried func(r *http.Request, id auth.Identity) (action, resource string)
}

// dialect is what is known of a request by the door that it goes to.
type dialect struct {
	door http.Handler
	// service is what the request must be signed for, "" for any: a signature that was
	// made for one service must not work at another.
	service string
	wish    wish // nil for what nobody but the account may ask for
}

// of finds the door of a request by its path, or else its target header.
func (d dialects) of(r *http.Request) dialect {
	target := r.Header.Get("X-Amz-Target")
	switch {
	case strings.HasPrefix(r.URL.Path, "/20"):
		return dialect{d.lambda, "lambda", wishLambda}
	case strings.HasPrefix(r.URL.Path, "/v1/"):
		return dialect{d.own, "", nil}
	case strings.HasPrefix(target, "Logs_"):
		return dialect{d.logs, "logs", wishLogs}
	case target != "":
		return dialect{http.HandlerFunc(unknownTarget), "", nil}
	case queryapi.Speaks(r): // which tells its services by their signatures
		return dialect{d.query, "", d.wishQuery}
	case schedulerapi.Speaks(r):
		return dialect{d.scheduler, "scheduler", wishScheduler}
	}
	return dialect{d.lambda, "", nil} // which knows no such path
}

// ServeHTTP implements http.Handler.
func (d dialects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.of(r).door.ServeHTTP(w, r)
}

// signedFor is the service that a request must be signed for.
func (d dialects) signedFor(r *http.Request) string {
	return d.of(r).service
}

// unknownTarget answers for a service that lambent does not have.
func unknownTarget(w http.ResponseWriter, r *http.Request) {
	auth.Refuse(w, r, lambent.Errorf(lambent.CodeUnsupported, "%.100s is not implemented by lambent yet", r.Header.Get("X-Amz-Target")).
		WithReason("UnknownOperationException"))
}

// refuse answers a request whose signature does not hold, in its dialect.
func refuse(w http.ResponseWriter, r *http.Request, e *lambent.Error) {
	if queryapi.Speaks(r) {
		queryapi.Refuse(w, e)
		return
	}
	auth.Refuse(w, r, e)
}

// serveApp passes a request through to an application.
func (s *Server) serveApp(w http.ResponseWriter, r *http.Request, t gateway.Target) {
	s.proxy.Serve(w, r, proxy.Target{
		Namespace: t.Namespace, Function: t.Function, Qualifier: t.Qualifier, Path: t.Path, Query: t.Query, Prefix: t.Prefix,
		RequestID: t.RequestID, Affinity: t.Affinity, Version: t.Version,
	})
}

// functionURL is the address of a function URL.
func (s *Server) functionURL(id string) string {
	_, port, err := net.SplitHostPort(s.gateway.Addr().String())
	if err != nil || port == "80" {
		port = ""
	} else {
		port = ":" + port
	}
	return "http://" + id + ".lambda-url." + s.config.Region + "." + s.config.GatewayDomain + port + "/"
}

// loopbackOnly answers requests from this host and refuses all others.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "metrics are open to this host only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
