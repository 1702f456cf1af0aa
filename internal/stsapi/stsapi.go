// Package stsapi is the front door that speaks the query dialect of AWS: a form
// or a query string that names an Action, answered in XML. Of it lambent has
// GetCallerIdentity of the Security Token Service, which tools call before
// anything else to learn whose account they work in. All other actions, IAM's
// among them, answer that they are not implemented. Who calls is settled before
// it, by package auth.
package stsapi

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
)

// namespace is that of the answers (AWS Security Token Service API reference).
const namespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// identityAnswer is the answer to GetCallerIdentity.
type identityAnswer struct {
	XMLName   xml.Name `xml:"GetCallerIdentityResponse"`
	Namespace string   `xml:"xmlns,attr"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

// errorAnswer is an error of the query dialect.
type errorAnswer struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"` // Sender or Receiver
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// Speaks tells a request of the query dialect: the other dialects have paths, or
// name their operation in a header.
func Speaks(r *http.Request) bool {
	return r.URL.Path == "/" && len(r.Header["X-Amz-Target"]) == 0
}

// New makes the door. The middleware of the auth room goes around it, with
// [Refuse] for the requests that [Speaks] is true of.
func New() http.Handler { return http.HandlerFunc(serve) }

func serve(w http.ResponseWriter, r *http.Request) {
	id, ok := auth.From(r.Context())
	if !ok {
		Refuse(w, &lambent.Error{
			Code: lambent.CodeDenied, Reason: "MissingAuthenticationTokenException", Message: "Request is missing Authentication Token",
		})
		return
	}
	params, err := parameters(r)
	if err != nil {
		Refuse(w, &lambent.Error{Code: lambent.CodeInvalid, Reason: "MalformedQueryString", Message: "The request is not a form: " + err.Error()})
		return
	}
	action := params.Get("Action")
	if action != "GetCallerIdentity" || id.Service != "sts" {
		Refuse(w, &lambent.Error{
			Code: lambent.CodeUnsupported, Reason: "NotImplemented", Message: id.Service + ":" + action + " is not implemented by lambent yet",
		})
		return
	}
	requestID := uuid.NewString()
	write(w, http.StatusOK, requestID, identityAnswer{
		Namespace: namespace, ARN: id.ARN, UserID: userID(id), Account: id.AccountID, RequestID: requestID,
	})
}

// parameters are those of the body and of the query string, where a presigned
// request has them.
func parameters(r *http.Request) (url.Values, error) {
	body, err := auth.Body(r)
	if err != nil {
		return nil, err
	}
	params, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.URL.Query() {
		params[name] = append(params[name], values...)
	}
	return params, nil
}

// userID is the caller's unique id: for the account's root the account's own.
func userID(id auth.Identity) string {
	if strings.HasSuffix(id.ARN, ":root") {
		return id.AccountID
	}
	return id.AccessKey
}

// reasons are names that an error has in this dialect alone (AWS Security Token
// Service API reference, "Common errors").
var reasons = map[string]string{
	"InvalidSignatureException":   "SignatureDoesNotMatch",
	"UnrecognizedClientException": "InvalidClientTokenId",
}

// Refuse answers with an error.
func Refuse(w http.ResponseWriter, e *lambent.Error) {
	code, ok := reasons[e.Reason]
	if !ok {
		code = strings.TrimSuffix(e.Reason, "Exception")
	}
	status, who := http.StatusBadRequest, "Sender"
	switch e.Code {
	case lambent.CodeDenied:
		status = http.StatusForbidden
	case lambent.CodeTooLarge:
		status = http.StatusRequestEntityTooLarge
	case lambent.CodeUnsupported:
		status, who = http.StatusNotImplemented, "Receiver"
	}
	requestID := uuid.NewString()
	write(w, status, requestID, errorAnswer{Namespace: namespace, Type: who, Code: code, Message: e.Message, RequestID: requestID})
}

func write(w http.ResponseWriter, status int, requestID string, answer any) {
	text, err := xml.Marshal(answer)
	if err != nil { // strings always marshal
		status, text = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(status)
	_, _ = w.Write(text) // the caller may be gone
}
