package gateway

import (
	"bufio"
	"compress/gzip"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent/internal/gateway/route"
)

// minCompressed is the length from which an answer is worth compressing, in bytes.
const minCompressed = 1024

// zippers are kept because each is large.
var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level exists
	return z
}}

// routeWriter makes an answer what its route wants while it passes.
type routeWriter struct {
	http.ResponseWriter
	r        *http.Request
	facts    *route.Facts
	timer    *time.Timer // ends the request; nil is none
	compress bool        // the route wants it and the caller takes it
	zip      *gzip.Writer
	headed   bool
}

// Unwrap is for http.ResponseController.
func (w *routeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *routeWriter) WriteHeader(status int) {
	if !w.headed && status >= 200 {
		w.head(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *routeWriter) head(status int) {
	w.headed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	h := w.Header()
	w.facts.MapResponse(h)
	if !w.facts.Found.Compress || !compressible(h, status) {
		return
	}
	h.Add("Vary", "Accept-Encoding")
	if !w.compress || w.r.Method == http.MethodHead {
		return
	}
	h["Content-Encoding"] = []string{"gzip"}
	delete(h, "Content-Length")
	delete(h, "Accept-Ranges")
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) { // other bytes than those it names (RFC 9110, section 8.8.1)
		h["Etag"] = []string{"W/" + tag}
	}
	w.zip = zippers.Get().(*gzip.Writer)
	w.zip.Reset(w.ResponseWriter)
}

// Write implements http.ResponseWriter.
func (w *routeWriter) Write(p []byte) (int, error) {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	if w.zip != nil {
		return w.zip.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (w *routeWriter) FlushError() error {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	if w.zip != nil {
		if err := w.zip.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack is for http.ResponseController: what goes on in another protocol has no
// time-out of the route.
func (w *routeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.headed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// end finishes a compressed answer. It is not called for one that broke off.
func (w *routeWriter) end() {
	if w.zip == nil {
		return
	}
	_ = w.zip.Close() // the caller may be gone
	w.zip.Reset(nil)
	zippers.Put(w.zip)
	w.zip = nil
}

// compressible tells whether an answer would get shorter, and may be changed.
func compressible(h http.Header, status int) bool {
	if status == http.StatusNoContent || status == http.StatusNotModified || status == http.StatusPartialContent {
		return false
	}
	if len(h["Content-Encoding"]) > 0 || strings.Contains(strings.ToLower(h.Get("Cache-Control")), "no-transform") {
		return false
	}
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && n < minCompressed {
		return false
	}
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch kind {
	case "application/javascript", "application/wasm", "image/svg+xml", "application/x-ndjson", "application/xml", "application/json", "application/manifest+json":
		return true
	case "text/event-stream":
		return false // its small parts would not get shorter
	}
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml")
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3). What is not named
// is not sent, and gzip with a weight of zero is not either.
func acceptsGzip(h http.Header) bool {
	any := false
	for _, line := range h["Accept-Encoding"] {
		for part := range strings.SplitSeq(line, ",") {
			coding, weight, weighted := strings.Cut(part, ";")
			coding = strings.ToLower(strings.TrimSpace(coding))
			if coding != "gzip" && coding != "x-gzip" && coding != "*" {
				continue
			}
			ok := true
			if weighted {
				name, value, _ := strings.Cut(strings.TrimSpace(weight), "=")
				q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				ok = strings.EqualFold(strings.TrimSpace(name), "q") && err == nil && q > 0
			}
			if coding != "*" {
				return ok
			}
			any = ok
		}
	}
	return any
}
