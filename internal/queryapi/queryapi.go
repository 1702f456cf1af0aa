// Package queryapi is the query dialect of AWS, which STS and IAM share: a form or a
// query string that names an Action, answered in XML. It owns how requests are read
// and how answers and errors are written; it refuses to know what an action does,
// which the doors stsapi and iamapi say above it. Who calls is settled before it, by
// package auth.
package queryapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
)

// API is one service that speaks the dialect.
type API struct {
	Namespace string // of the XML of its answers
	Actions   map[string]Action
	// Resource is the ARN of what a call is about, as policies name it; "" or "*" is
	// none. Nil is none of any.
	Resource func(action string, c *Call) string
}

// Action answers one call. The result becomes the element that is named for the
// action; nil is none. An error is a [lambent.Error].
type Action func(ctx context.Context, c *Call) (result any, err error)

// Call is a request whose caller is known.
type Call struct {
	Caller auth.Identity
	Params url.Values
}

// maxForm bounds a request in bytes: the longest policy document, escaped.
const maxForm = 1 << 20

// Speaks tells a request of the query dialect: the other dialects have paths, or
// name their operation in a header.
func Speaks(r *http.Request) bool {
	return r.URL.Path == "/" && len(r.Header["X-Amz-Target"]) == 0
}

// New makes one door of the services, which go by the names that requests are
// signed for. The middleware of the auth room goes around it, with [Refuse] for the
// requests that [Speaks] is true of.
func New(services map[string]API, log *slog.Logger) *Door {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Door{services: services, log: log}
}

// Door serves the dialect.
type Door struct {
	services map[string]API
	log      *slog.Logger
}

// ServeHTTP implements http.Handler.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	name, api := params.Get("Action"), d.services[id.Service]
	act := api.Actions[name]
	if act == nil {
		Refuse(w, lambent.Errorf(lambent.CodeUnsupported, "%s:%.100s is not implemented by lambent yet", id.Service, name))
		return
	}
	requestID := uuid.NewString()
	result, err := act(r.Context(), &Call{Caller: id, Params: params})
	var text []byte
	if err == nil {
		text, err = answer(name, api.Namespace, requestID, result)
	}
	if err != nil {
		d.fail(r, w, failure{err: err, namespace: api.Namespace, requestID: requestID, action: name})
		return
	}
	write(w, http.StatusOK, requestID, text)
}

// Wanted tells what a request of a caller asks for, in the words of policies, and the
// ARN of what it is about: "*" where it is about none, or it cannot be told.
func (d *Door) Wanted(r *http.Request, id auth.Identity) (action, resource string) {
	params, err := parameters(r)
	if err != nil {
		return id.Service + ":", "*"
	}
	name := params.Get("Action")
	if of := d.services[id.Service].Resource; of != nil {
		resource = of(name, &Call{Caller: id, Params: params})
	}
	return id.Service + ":" + name, cmp.Or(resource, "*")
}

// parameters are those of the body and of the query string, where a presigned
// request has them.
func parameters(r *http.Request) (url.Values, error) {
	_, err := auth.BodyUpTo(r, maxForm)
	if lambent.CodeOf(err) == lambent.CodeTooLarge {
		return nil, errors.New("it is too large")
	}
	if err != nil {
		return nil, err
	}
	return auth.Decoded(r, func(body []byte) (url.Values, error) {
		params, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		for name, values := range r.URL.Query() {
			params[name] = append(params[name], values...)
		}
		return params, nil
	})
}

// answer writes what an action has to say.
func answer(action, namespace, requestID string, result any) ([]byte, error) {
	var b bytes.Buffer
	e := xml.NewEncoder(&b)
	top := element(action + "Response")
	top.Attr = []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}
	err := e.EncodeToken(top)
	if err == nil && result != nil {
		err = e.EncodeElement(result, element(action+"Result"))
	}
	if err == nil {
		err = e.EncodeElement(struct{ RequestId string }{requestID}, element("ResponseMetadata"))
	}
	if err == nil {
		err = e.EncodeToken(top.End())
	}
	err = errors.Join(err, e.Close())
	return b.Bytes(), err
}

func element(name string) xml.StartElement {
	return xml.StartElement{Name: xml.Name{Local: name}}
}

func write(w http.ResponseWriter, status int, requestID string, text []byte) {
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(status)
	_, _ = w.Write(text) // the caller may be gone
}
