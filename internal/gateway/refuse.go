package gateway

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/gateway/event"
)

func notFound(message string) error {
	return &lambent.Error{Code: lambent.CodeNotFound, Message: message}
}

// errForbidden is what AWS answers to who may not call a function URL.
func errForbidden() error {
	return &lambent.Error{Code: lambent.CodeDenied, Reason: "AccessDeniedException", Message: "Forbidden. For troubleshooting Function URL authorization issues, " +
		"see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"}
}

func errTooLarge() error {
	return &lambent.Error{Code: lambent.CodeTooLarge, Message: "Request must be smaller than " + strconv.Itoa(lambent.MaxPayload) + " bytes, as the function gets it"}
}

// statuses are those of each code; a function that does not answer is not here.
var statuses = map[lambent.Code]int{
	lambent.CodeInvalid:     http.StatusBadRequest,
	lambent.CodeNotFound:    http.StatusNotFound,
	lambent.CodeConflict:    http.StatusServiceUnavailable,
	lambent.CodeTooLarge:    http.StatusRequestEntityTooLarge,
	lambent.CodeThrottled:   http.StatusTooManyRequests,
	lambent.CodeDenied:      http.StatusForbidden,
	lambent.CodeUnsupported: http.StatusNotImplemented,
	lambent.CodeUnavailable: http.StatusServiceUnavailable,
	lambent.CodeTimeout:     http.StatusGatewayTimeout,
	lambent.CodeCanceled:    http.StatusServiceUnavailable,
}

// refuse answers a request that no function has answered. It is the one place
// where errors become this door's.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var e *lambent.Error
	if !errors.As(err, &e) || e.Code == lambent.CodeInternal {
		e = &lambent.Error{Code: lambent.CodeInternal, Message: "Internal Server Error"}
	}
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusBadGateway
	}
	if e.Reason == reasonUnauthorized {
		status = http.StatusUnauthorized
	}
	h := w.Header()
	if e.Reason != "" {
		h["X-Amzn-Errortype"] = []string{e.Reason}
	}
	if e.Code == lambent.CodeThrottled && h["Retry-After"] == nil {
		h["Retry-After"] = []string{"1"}
	}
	if event.RefuseGRPC(w, r, status, e.Message) {
		return
	}
	text := event.AppendString([]byte(`{"Message":`), e.Message)
	if e.Code != lambent.CodeTooLarge {
		answer(w, status, text)
		return
	}
	h["Connection"] = []string{"close"}
	_ = http.NewResponseController(w).EnableFullDuplex() // where it cannot be, the rest is not read
	answer(w, status, text)
	drain(w, r)
}

// answer writes a body of JSON that lacks its last brace.
func answer(w http.ResponseWriter, status int, body []byte) {
	body = append(body, '}')
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may be gone
}

var jsonType = []string{"application/json"}

// refuseSignature answers who has not signed, or not well.
func refuseSignature(w http.ResponseWriter, r *http.Request, e *lambent.Error) {
	if e.Reason == "MissingAuthenticationTokenException" {
		refuse(w, r, errForbidden())
		return
	}
	status := http.StatusForbidden
	switch e.Code {
	case lambent.CodeTooLarge:
		status = http.StatusRequestEntityTooLarge
	case lambent.CodeInvalid:
		status = http.StatusBadRequest
	}
	w.Header()["X-Amzn-Errortype"] = []string{e.Reason}
	if event.RefuseGRPC(w, r, status, e.Message) {
		return
	}
	answer(w, status, event.AppendString([]byte(`{"message":`), e.Message))
}

// errorHeader says, beside what AWS would answer, why there is no answer.
const errorHeader = "X-Lambent-Error"

// fail answers as AWS does for a function that failed, or whose answer cannot be
// sent.
func fail(w http.ResponseWriter, reason string) {
	w.Header()[errorHeader] = []string{"function: " + reason}
	answer(w, http.StatusBadGateway, []byte(`{"message":"Internal Server Error"`))
}

// cut answers for a call that a limit has ended: which, and whose.
func cut(w http.ResponseWriter, r *http.Request, status int, layer, limit string) {
	w.Header()[errorHeader] = []string{layer + ": " + limit}
	message := "The request was cut by a limit: " + layer + ", " + limit
	if event.RefuseGRPC(w, r, status, message) {
		return
	}
	body := event.AppendString([]byte(`{"message":`), message)
	body = event.AppendString(append(body, `,"layer":`...), layer)
	answer(w, status, event.AppendString(append(body, `,"limit":`...), limit))
}

// drainTime is how long a body that is refused is read for.
const drainTime = 5 * time.Second

// drain reads a part of a body that was refused, so that a client that sends it whole
// before it listens gets the answer and not a broken connection. Who waits for leave
// to send it has the answer already.
func drain(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength > 0 && r.Header.Get("Expect") != "" {
		return
	}
	control := http.NewResponseController(w)
	_ = control.Flush()
	// Where there is no connection under w there is nothing to wait for either.
	_ = control.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, r.Body, 2*lambent.MaxPayload)
}
