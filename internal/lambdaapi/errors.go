package lambdaapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// byCode is the exception that a code stands for, unless its reason says more.
var byCode = map[lambent.Code]string{
	lambent.CodeInvalid:      "InvalidParameterValueException",
	lambent.CodeNotFound:     "ResourceNotFoundException",
	lambent.CodeConflict:     "ResourceConflictException",
	lambent.CodePrecondition: "PreconditionFailedException",
	lambent.CodeTooLarge:     "RequestTooLargeException",
	lambent.CodeThrottled:    "TooManyRequestsException",
	lambent.CodeDenied:       "AccessDeniedException",
	lambent.CodeUnsupported:  "ServiceException",
	lambent.CodeUnavailable:  "ServiceException",
	lambent.CodeTimeout:      "ServiceException",
	lambent.CodeCanceled:     "ServiceException",
	lambent.CodeInternal:     "ServiceException",
}

// byReason is the exception for reasons of other rooms. A reason that ends in
// "Exception" is an exception's name already.
var byReason = map[string]string{
	"AliasLimitExceeded":    "AliasLimitExceededException",
	"CodeStorageExceeded":   "CodeStorageExceededException",
	"PolicyLengthExceeded":  "PolicyLengthExceededException",
	"RequestEntityTooLarge": "RequestEntityTooLargeException",
	"ZipTooLarge":           "RequestEntityTooLargeException",
	"UnzippedTooLarge":      "InvalidParameterValueException",
}

// statuses are those that differ from the exception's own: 501 says that the
// server lacks the operation, and is not retried by clients.
var statuses = map[lambent.Code]int{
	lambent.CodeUnsupported: http.StatusNotImplemented,
	lambent.CodeUnavailable: http.StatusServiceUnavailable,
}

// noSigningConfig begins the message about a code signing configuration.
const noSigningConfig = "The Lambda code signing configuration "

// untyped are messages that AWS was recorded to answer without a Type.
var untyped = []string{
	noSigningConfig,
	"$LATEST is not supported for an alias pointing to more than 1 version",
	"Specified ReservedConcurrentExecutions for function decreases account's",
	"Specified ConcurrentExecutions for function ",
	" ReservedConcurrentExecutions ",
}

// answer is an error as it is sent.
type answer struct {
	Exception string
	Status    int
	member    string // name of the message in the body
	message   string
	typ       string // "User", "Server" or "" for none
	reason    string // of a throttle
}

// answerTo is the one place where errors become AWS's.
func answerTo(err error, requestID string) answer {
	var e *lambent.Error
	if !errors.As(err, &e) {
		e = &lambent.Error{Code: lambent.CodeInternal}
	}
	a := answer{Exception: byCode[e.Code], message: e.Message}
	if strings.HasSuffix(e.Reason, "Exception") {
		a.Exception = e.Reason
	} else if name, ok := byReason[e.Reason]; ok {
		a.Exception = name
	}
	x, modelled, ok := wire.LookupException(a.Exception)
	if !ok { // auth's refusals, which all services share
		x = wire.Exception{Status: http.StatusForbidden, Member: "message"}
		if e.Code == lambent.CodeInvalid {
			x.Status = http.StatusBadRequest
		}
	}
	a.Status, a.member = x.Status, x.Member
	if s, ok := statuses[e.Code]; ok && a.Exception == byCode[e.Code] {
		a.Status = s
	}
	switch e.Code {
	case lambent.CodeInternal:
		a.message = "An internal error occurred; the server's log has it under request " + requestID
	case lambent.CodeThrottled:
		a.reason = e.Reason
	}
	if modelled && !isUntyped(a.message) {
		a.typ = "User"
		if a.Status >= http.StatusInternalServerError {
			a.typ = "Server"
		}
	}
	return a
}

func isUntyped(message string) bool {
	for _, prefix := range untyped {
		if strings.HasPrefix(message, prefix) {
			return true
		}
	}
	return false
}

func (a answer) write(w http.ResponseWriter) {
	body := map[string]string{a.member: a.message}
	if a.typ != "" {
		body["Type"] = a.typ
	}
	if a.reason != "" {
		body["Reason"] = a.reason
	}
	w.Header().Set("x-amzn-errortype", a.Exception)
	if a.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(a.Status)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}

// causes writes out an error with the causes that its message hides.
func causes(err error) string {
	text := err.Error()
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		if !strings.Contains(text, cause.Error()) {
			text += ": " + cause.Error()
		}
	}
	return text
}

func invalid(message string) error {
	return &lambent.Error{Code: lambent.CodeInvalid, Message: message}
}

func notFound(message string) error {
	return &lambent.Error{Code: lambent.CodeNotFound, Message: message}
}
