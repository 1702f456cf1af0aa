package queryapi

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"lambent.dev/lambent"
)

// errorAnswer is an error of the dialect.
type errorAnswer struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Namespace string   `xml:"xmlns,attr,omitempty"`
	Type      string   `xml:"Error>Type"` // Sender or Receiver
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// exception is what an error is called where its reason does not say, and its
// status (AWS Identity and Access Management API reference, "Common errors").
type exception struct {
	name   string
	status int
}

var exceptions = map[lambent.Code]exception{
	lambent.CodeInvalid:     {"ValidationError", http.StatusBadRequest},
	lambent.CodeNotFound:    {"NoSuchEntity", http.StatusNotFound},
	lambent.CodeConflict:    {"EntityAlreadyExists", http.StatusConflict},
	lambent.CodeTooLarge:    {"RequestEntityTooLarge", http.StatusRequestEntityTooLarge},
	lambent.CodeDenied:      {"AccessDenied", http.StatusForbidden},
	lambent.CodeThrottled:   {"Throttling", http.StatusBadRequest},
	lambent.CodeUnsupported: {"NotImplemented", http.StatusNotImplemented},
	lambent.CodeUnavailable: {"ServiceUnavailable", http.StatusServiceUnavailable},
	lambent.CodeTimeout:     {"ServiceUnavailable", http.StatusServiceUnavailable},
	lambent.CodeCanceled:    {"RequestCanceled", http.StatusBadRequest},
}

// renamed are reasons that have another name in this dialect alone.
var renamed = map[string]string{
	"InvalidSignatureException":   "SignatureDoesNotMatch",
	"UnrecognizedClientException": "InvalidClientTokenId",
}

// Refuse answers a request that got no further than the dialect.
func Refuse(w http.ResponseWriter, e *lambent.Error) {
	refuse(w, e, "", uuid.NewString())
}

func refuse(w http.ResponseWriter, e *lambent.Error, namespace, requestID string) {
	x, ok := exceptions[e.Code]
	if !ok {
		x = exception{"InternalFailure", http.StatusInternalServerError}
	}
	if name, ok := renamed[e.Reason]; ok {
		x.name = name
	} else if e.Reason != "" {
		x.name = strings.TrimSuffix(e.Reason, "Exception")
	}
	who := "Sender"
	if x.status >= http.StatusInternalServerError {
		who = "Receiver"
	}
	text, err := xml.Marshal(errorAnswer{Namespace: namespace, Type: who, Code: x.name, Message: e.Message, RequestID: requestID})
	if err != nil { // strings always marshal
		x.status = http.StatusInternalServerError
	}
	write(w, x.status, requestID, text)
}

// failure is a call that ended in an error.
type failure struct {
	err                          error
	action, namespace, requestID string
}

// fail answers with an error. What is ours to mend is logged here, where it ends.
func (d *Door) fail(r *http.Request, w http.ResponseWriter, f failure) {
	var e *lambent.Error
	if !errors.As(f.err, &e) || e.Code == lambent.CodeInternal {
		d.log.ErrorContext(r.Context(), "request failed", "request", f.requestID, "action", f.action, "err", f.err)
		e = &lambent.Error{Code: lambent.CodeInternal, Message: "The request failed because of an internal error; the server's log has it under request " + f.requestID}
	}
	refuse(w, e, f.namespace, f.requestID)
}
