package async

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
	"lambent.dev/lambent/internal/telemetry"
)

// deliver brings a record to its destination. It is tried until it is too old.
func (s *Service) deliver(h *held, now time.Time) ending {
	namespace, _ := ownerOf(h.job.Lane)
	var failure error = noDeliverer(h.head.To)
	if d := s.o.Deliverers[h.head.To.Service()]; d != nil {
		ctx, cancel := context.WithTimeout(h.ctx, sendTimeout)
		failure = d.Deliver(ctx, Delivery{
			ID: h.job.ID, Namespace: namespace, To: *h.head.To, Record: h.payload,
			Attributes: h.head.Attributes, TraceID: h.head.Trace,
		})
		cancel()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.started = time.Time{}
	a := Attempt{Start: now, End: s.o.Now()}
	if failure == nil {
		h.state.add(a)
		return s.ended(h, store.JobSucceeded, "", nil)
	}
	a.Error, a.Message = classOf(failure), failure.Error()
	a.Next = a.End.Add(s.roomDelay(h.state.Retries + 3))
	switch {
	case h.cancelled:
		return s.ended(h, store.JobCancelled, "Cancelled", nil)
	case h.lost || h.ctx.Err() != nil:
		return ending{h: h, change: store.Change{ID: h.job.ID, Status: store.JobWaiting, Uncounted: true, Error: h.job.Error}}
	case final(lambent.CodeOf(failure)) || s.tooOld(h, a.Next):
		a.Next = time.Time{}
		h.state.add(a)
		return s.ended(h, store.JobFailed, a.Error, nil)
	}
	h.state.Retries++
	h.state.add(a)
	return ending{h: h, change: store.Change{ID: h.job.ID, Status: store.JobWaiting, Due: a.Next, Error: word(a.Error), State: mustJSON(h.state)}}
}

func noDeliverer(to *lambent.Destination) *lambent.Error {
	return lambent.Errorf(lambent.CodeUnsupported, "nothing here delivers to %s yet", to.Service()).WithReason("NoDeliverer")
}

// The headers of a delivery to an HTTP endpoint. The signature is
// t=<seconds>,v1=<hex>: the HMAC-SHA256 by the endpoint's secret of the seconds, a
// dot and the body. A receiver compares it in constant time, and refuses what is
// older than a few minutes.
const (
	HeaderSignature = "Lambent-Signature"
	HeaderDelivery  = "Lambent-Delivery" // the same at every try
)

// Sign is the signature of a body that is sent at a time.
func Sign(secret string, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// endpoints delivers to HTTP endpoints. Those of the operator may be anywhere.
// Those of other namespaces have public addresses, or addresses in the networks
// that the operator has named: what a tenant configures must not become a way to
// what is behind the server. The address is looked at when the connection is made,
// so that no name server can change it after the check; redirects are not followed,
// and no proxy is used.
type endpoints struct {
	o      Options
	anyone *http.Client // for the operator
	public *http.Client
}

func newEndpoints(o Options) *endpoints {
	e := &endpoints{o: o}
	e.anyone = e.client(nil)
	e.public = e.client(func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !e.allowed(at.Addr()) {
			return lambent.Errorf(lambent.CodeDenied, "the address %s is not public, and async.destination_networks does not name it", address).WithReason("AddressNotAllowed")
		}
		return nil
	})
	return e
}

func (e *endpoints) client(control func(network, address string, c syscall.RawConn) error) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: control}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, MaxIdleConnsPerHost: 4,
			IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (e *endpoints) allowed(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return lambent.PublicAddress(a) || slices.ContainsFunc(e.o.Networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Deliver implements Deliverer. Answers from 200 to 299 are success; 400 to 499,
// but for 408, 425 and 429, say that another try is of no use.
func (e *endpoints) Deliver(ctx context.Context, d Delivery) error {
	u := d.To.URL()
	if u == nil {
		return lambent.Errorf(lambent.CodeInvalid, "%s is not an HTTP endpoint", d.To.ARN)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(d.Record))
	if err != nil {
		return lambent.Errorf(lambent.CodeInvalid, "make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "lambent")
	req.Header.Set(HeaderDelivery, d.ID)
	req.Header.Set(HeaderSignature, Sign(d.To.Secret, e.o.Now(), d.Record))
	telemetry.Carry(req.Header, d.TraceID)
	client := e.public
	if d.Namespace == e.o.Operator {
		client = e.anyone
	}
	resp, err := client.Do(req)
	if err != nil {
		if lambent.CodeOf(err) == lambent.CodeDenied {
			return err
		}
		return lambent.Errorf(lambent.CodeUnavailable, "%s did not answer: %w", u.Host, err).WithReason("EndpointUnreachable")
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	_ = resp.Body.Close()                          // only read from
	reason := fmt.Sprintf("HTTP%d", resp.StatusCode)
	switch c := resp.StatusCode; {
	case c >= 200 && c < 300:
		return nil
	case c >= 300 && c < 500 && c != http.StatusRequestTimeout && c != http.StatusTooEarly && c != http.StatusTooManyRequests:
		return lambent.Errorf(lambent.CodeInvalid, "%s answered %s", u.Host, resp.Status).WithReason(reason)
	}
	return lambent.Errorf(lambent.CodeUnavailable, "%s answered %s", u.Host, resp.Status).WithReason(reason)
}
