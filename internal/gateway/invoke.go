package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/gateway/event"
	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/telemetry"
)

func newRequestID() string { return uuid.NewString() }

// bodyTimeout bounds how long a caller may take to send a body.
const bodyTimeout = time.Minute

// invoke has a function answer the request.
func (g *Gateway) invoke(w http.ResponseWriter, r *http.Request, t *Target, v *lambent.Version, id *auth.Identity) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		refuse(w, r, &lambent.Error{Code: lambent.CodeInvalid, Message: t.Function + " is a function, which takes no WebSocket connections; HTTP applications do"})
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		refuse(w, r, err)
		return
	}
	now := g.Now()
	trace := traceID(telemetry.Caller(r.Header), now, t.RequestID)
	req := describe(r, t, id)
	req.Body, req.Time, req.TraceID = body, now, trace
	payload := t.event(make([]byte, 0, 1024+len(body)+len(body)/2), &req)
	if len(payload) > lambent.MaxPayload {
		refuse(w, r, errTooLarge())
		return
	}
	inv := &lambent.Invocation{
		RequestID: t.RequestID, Namespace: t.Namespace, Function: t.Function, Qualifier: t.Qualifier, Version: t.Version,
		Payload: payload, TraceID: trace, Source: "url", Arrived: now,
	}
	w.Header()["X-Amzn-Trace-Id"] = []string{trace}
	var s *stream
	if t.streams() {
		s = newStream(w, r, v)
		inv.Stream = s
	}
	if t.route != nil {
		inv.Source, inv.Affinity = "route", t.Affinity
	}
	res, err := g.Invoker.Invoke(r.Context(), inv)
	switch {
	case s != nil && s.begun:
		s.end(err, res)
	case t.route != nil && errors.Is(context.Cause(r.Context()), errRouteTimeout):
		cut(w, r, http.StatusGatewayTimeout, "route", "timeout "+t.route.Timeout.String())
	case lambent.CodeOf(err) == lambent.CodeNotFound:
		refuse(w, r, notFound("The function does not exist."))
	case err != nil:
		refuse(w, r, err)
	default:
		send(w, r, res, v, t)
	}
}

// describe is the request as the event tells it.
func describe(r *http.Request, t *Target, id *auth.Identity) event.Request {
	req := event.Request{
		Method: r.Method, Protocol: r.Proto, Path: t.Path, Query: t.Query, Host: r.Host, Header: r.Header,
		Scheme: "http", Port: "80", RequestID: t.RequestID, APIID: t.Function, AccountID: "anonymous",
	}
	if r.TLS != nil {
		req.Scheme, req.Port = "https", "443"
	}
	if _, port, err := net.SplitHostPort(r.Host); err == nil && port != "" {
		req.Port = port
	}
	req.SourceIP, _, _ = net.SplitHostPort(r.RemoteAddr)
	if t.URL != nil {
		req.APIID = t.URL.ID
	}
	if id != nil {
		req.AccountID = id.AccountID
		req.IAM = &event.IAM{AccessKey: id.AccessKey, Account: id.AccountID, UserARN: id.ARN}
	}
	return req
}

// readBody reads the body, at most lambent.MaxPayload bytes and within
// bodyTimeout.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	if r.ContentLength > lambent.MaxPayload {
		return nil, errTooLarge()
	}
	if b, ok := r.Body.(interface{ Here() bool }); !ok || !b.Here() {
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // behind a signature it is read already
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	}
	body, err := readAll(r)
	if err == nil {
		return body, nil
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return nil, &lambent.Error{Code: lambent.CodeTimeout, Message: "The request's body did not arrive within " + bodyTimeout.String()}
	}
	if lambent.CodeOf(err) == lambent.CodeTooLarge {
		return nil, err
	}
	return nil, lambent.Errorf(lambent.CodeInvalid, "The request's body could not be read")
}

// eager is how much of a declared length is allocated before it has arrived.
const eager = 1 << 20

func readAll(r *http.Request) ([]byte, error) {
	if n := r.ContentLength; n > 0 && n <= eager {
		body := make([]byte, n)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, lambent.MaxPayload+1))
	if err == nil && len(body) > lambent.MaxPayload {
		err = errTooLarge()
	}
	return body, err
}

// traceID is the caller's, or a new root (AWS X-Ray developer guide, "Tracing
// header"), whose randomness is the request id's.
func traceID(sent string, now time.Time, requestID string) string {
	if sent != "" {
		return sent
	}
	b := make([]byte, 0, 48)
	b = append(b, "Root=1-"...)
	b = strconv.AppendInt(b, now.Unix(), 16)
	b = append(b, '-')
	for i := 0; len(b) < len("Root=1-01234567-")+24; i++ {
		if c := requestID[i]; c != '-' {
			b = append(b, c)
		}
	}
	return string(b)
}

// send answers with what the function answered; t is nil for a stream that has not
// become one.
func send(w http.ResponseWriter, r *http.Request, res *lambent.Result, v *lambent.Version, t *Target) {
	switch {
	case res.ErrorType == "Sandbox.Timedout":
		cut(w, r, http.StatusGatewayTimeout, "function", "timeout "+v.Timeout.String())
		return
	case res.FunctionError != "":
		fail(w, res.ErrorType)
		return
	}
	a, err := t.parse(res)
	if err != nil {
		fail(w, err.Error())
		return
	}
	setHead(w.Header(), a.Header)
	if a.Status != http.StatusNoContent && a.Status != http.StatusNotModified {
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	}
	w.WriteHeader(a.Status)
	_ = httpwire.WriteBody(w, a.Body, writeTimeout) // the caller may be gone, and some statuses have none
}

// parse reads the function's answer. One that is not JSON, of a runtime that says
// so, stands for itself; one that was streamed to nobody may have a prelude.
func parse(res *lambent.Result) (event.Answer, error) {
	kind, _, _ := strings.Cut(res.ContentType, ";")
	switch kind {
	case lambent.PreludeType:
		head, body, ok := cutPrelude(res.Payload)
		if !ok {
			return event.Answer{}, event.ErrAnswer
		}
		a, err := event.ParsePrelude(head)
		a.Body = body
		return a, err
	case "", "application/json", "application/x-www-form-urlencoded":
	default:
		if !json.Valid(res.Payload) {
			return event.Answer{Status: http.StatusOK, Header: []event.Field{{Name: "Content-Type", Value: res.ContentType}}, Body: res.Payload}, nil
		}
	}
	return event.ParseV2(res.Payload)
}

// setHead sets a function's headers. Where the gateway answers for other origins
// it alone does, and what it says about the request is not the function's to say.
func setHead(h http.Header, fields []event.Field) {
	_, cors := h["Access-Control-Allow-Origin"]
	for _, f := range fields {
		switch {
		case cors && strings.HasPrefix(f.Name, "Access-Control-"), f.Name == "X-Amzn-Requestid", f.Name == errorHeader:
		case f.Name == "Set-Cookie" || f.Name == "Vary":
			h[f.Name] = append(h[f.Name], f.Value)
		default:
			h[f.Name] = []string{f.Value}
		}
	}
}
