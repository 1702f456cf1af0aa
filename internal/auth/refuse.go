package auth

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
)

// Reasons of this room's errors: AWS's exceptions (AWS Lambda API reference,
// "Common errors").
const (
	reasonMissing      = "MissingAuthenticationTokenException"
	reasonIncomplete   = "IncompleteSignatureException"
	reasonInvalid      = "InvalidSignatureException"
	reasonUnrecognized = "UnrecognizedClientException"
	reasonExpired      = "ExpiredTokenException"
	reasonTooLarge     = "RequestEntityTooLargeException"
	reasonBody         = "InvalidRequestContentException"
)

func denied(reason, message string) *lambent.Error {
	return &lambent.Error{Code: lambent.CodeDenied, Reason: reason, Message: message}
}

func mismatch() *lambent.Error {
	return denied(reasonInvalid, "The request signature we calculated does not match the signature you provided. "+
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

func unrecognized() *lambent.Error {
	return denied(reasonUnrecognized, "The security token included in the request is invalid.")
}

// drainTime is how long a refused body is read for.
const drainTime = 10 * time.Second

// drain reads and forgets the body of a refused request, so that a client that
// sends it whole before it listens gets the answer and not a broken connection.
func drain(w http.ResponseWriter, body io.Reader, most int64) {
	if body == nil || body == http.NoBody {
		return
	}
	// Where there is no connection under w there is nothing to wait for either.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, body, most)
}

// Refuse answers in the protocol the client speaks: awsJson, told by its target
// header, or restJson1.
func Refuse(w http.ResponseWriter, r *http.Request, e *lambent.Error) {
	h := w.Header()
	h.Set("X-Amzn-Requestid", uuid.NewString())
	h.Set("X-Amzn-Errortype", e.Reason)
	body := map[string]string{"message": e.Message}
	status := http.StatusBadRequest
	switch {
	case e.Code == lambent.CodeTooLarge:
		status = http.StatusRequestEntityTooLarge
	case e.Code == lambent.CodeDenied && !isTargeted(r):
		status = http.StatusForbidden
	}
	if isTargeted(r) {
		h.Set("Content-Type", "application/x-amz-json-1.1")
		body["__type"] = e.Reason
		if e.Reason == reasonMissing {
			body["message"] = "Request is missing Authentication Token"
		}
	} else {
		h.Set("Content-Type", "application/json")
	}
	text, err := json.Marshal(body)
	if err != nil { // strings always marshal
		text = []byte("{}")
	}
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that has gone needs no answer
}

// isTargeted tells an awsJson request.
func isTargeted(r *http.Request) bool { return len(r.Header["X-Amz-Target"]) > 0 }

func logRefusal(ctx context.Context, log *slog.Logger, r *http.Request, e *lambent.Error) {
	log.LogAttrs(ctx, slog.LevelDebug, "request refused",
		slog.String("reason", e.Reason), slog.String("method", r.Method), slog.String("remote", r.RemoteAddr))
}
