package gateway

import (
	"bufio"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// recorder remembers what was answered, for the access log.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Hijack implements http.Hijacker: what follows is no HTTP any more.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil && r.status == 0 {
		r.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}

// serveLogged is serve with a line in the log. What a caller wrote is only told up
// to the query, which may hold secrets.
func (g *Gateway) serveLogged(w http.ResponseWriter, r *http.Request, id string) {
	began := time.Now()
	rec := &recorder{ResponseWriter: w}
	level := slog.LevelDebug
	if g.AccessLog {
		level = slog.LevelInfo
	}
	defer func() {
		path, _ := split(r)
		g.Log.LogAttrs(r.Context(), level, "gateway request",
			slog.String("request", id), slog.String("remote", r.RemoteAddr), slog.String("host", r.Host),
			slog.String("method", r.Method), slog.String("path", path), slog.Int("status", rec.status),
			slog.Int64("bytes", rec.bytes), slog.Duration("took", time.Since(began)))
	}()
	g.serve(rec, r, id)
}
