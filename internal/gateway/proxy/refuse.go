package proxy

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/event"
)

// statuses are those of errors by which a request has reached no instance.
var statuses = map[lambent.Code]int{
	lambent.CodeNotFound:  http.StatusNotFound,
	lambent.CodeInvalid:   http.StatusBadRequest,
	lambent.CodeThrottled: http.StatusTooManyRequests,
	lambent.CodeConflict:  http.StatusServiceUnavailable,
	lambent.CodeCanceled:  http.StatusServiceUnavailable,
}

// refuse answers for an application that has not begun to.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil || errors.Is(err, errGone) {
		panic(http.ErrAbortHandler) // nobody reads it
	}
	f := failureOf(err)
	w.Header().Set("X-Lambent-Error", f.layer+": "+plain(f.limit))
	if r.ProtoMajor == 1 && errors.Is(err, errBody) { // net/http looks no more, as the body was read beside the answer
		w.Header().Set("Connection", "close")
	}
	if event.RefuseGRPC(w, r, f.status, f.message) {
		return
	}
	body, err := json.Marshal(struct {
		Message string `json:"message"`
		Layer   string `json:"layer"`
		Limit   string `json:"limit"`
	}{f.message, f.layer, f.limit})
	if err != nil {
		body = []byte(`{}`) // three strings always encode
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if f.status == http.StatusTooManyRequests {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(f.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the caller may be gone
	}
}

// failureOf words an error for the caller. What is wrong inside of the server is
// for its log.
func failureOf(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var e *lambent.Error
	if !errors.As(err, &e) {
		return &failure{http.StatusBadGateway, "gateway", "internal", "Internal Server Error", err}
	}
	switch {
	case e.Code == lambent.CodeUnavailable && e.Reason != "": // it failed to start
		return &failure{http.StatusBadGateway, "application", e.Reason, e.Message, err}
	case e.Code == lambent.CodeUnavailable:
		return &failure{http.StatusServiceUnavailable, "platform", "no instance", "No instance of the application can be reached", err}
	case e.Code == lambent.CodeThrottled:
		return &failure{http.StatusTooManyRequests, "platform", "concurrency", e.Message, err}
	}
	status, ok := statuses[e.Code]
	if !ok {
		return &failure{http.StatusBadGateway, "gateway", "internal", "Internal Server Error", err}
	}
	return &failure{status, "platform", strings.ToLower(string(e.Code)), e.Message, err}
}

// plain is text for a header.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
}
