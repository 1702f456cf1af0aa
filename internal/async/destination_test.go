package async

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// picky fails for the payload "bad".
func picky(_ context.Context, inv *lambent.Invocation, _ int) (*lambent.Result, error) {
	if string(inv.Payload) == `"bad"` {
		return failure("ValueError", "bad value"), nil
	}
	return answer(`"fine"`), nil
}

// A record has AWS's shape.
func TestRecords(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, picky, nil)
		r.shelf.configure("f", lambent.EventConfig{
			MaxRetries: new(1),
			OnSuccess:  lambent.Destination{ARN: "arn:aws:lambda:us-east-1:" + ns + ":function:good"},
			OnFailure:  lambent.Destination{ARN: "arn:aws:lambda:us-east-1:" + ns + ":function:bad:live"},
		})
		for payload, want := range map[string]struct{ lane, qualifier, record string }{
			`"ok"`: {"good", "", `{"version":"1.0","timestamp":"2000-01-01T00:00:00.000Z","requestContext":{"requestId":"ID",` +
				`"functionArn":"arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST","condition":"Success","approximateInvokeCount":1},` +
				`"requestPayload":"ok","responseContext":{"statusCode":200,"executedVersion":"$LATEST"},"responsePayload":"fine"}`},
			`"bad"`: {"bad", "live", `{"version":"1.0","timestamp":"2000-01-01T00:00:00.000Z","requestContext":{"requestId":"ID",` +
				`"functionArn":"arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST","condition":"RetriesExhausted","approximateInvokeCount":2},` +
				`"requestPayload":"bad","responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},` +
				`"responsePayload":{"errorMessage":"bad value","errorType":"ValueError"}}`},
		} {
			id := r.accept("f", payload)
			o := r.wait(id)
			if len(o.Sent) != 1 {
				t.Fatalf("%s: sent %+v", payload, o.Sent)
			}
			d := r.want(o.Sent[0].Job, store.JobSucceeded)
			if d.Kind != KindDestination || d.Function != want.lane || d.Qualifier != want.qualifier || d.For != id || r.spine.called(d.ID) != 1 {
				t.Errorf("%s: the record went as %+v", payload, d)
			}
			var got record
			if err := json.Unmarshal(d.Payload, &got); err != nil {
				t.Fatal(err)
			}
			if _, err := time.Parse(recordTime, got.Timestamp); err != nil {
				t.Error(err)
			}
			text := strings.Replace(string(d.Payload), got.Timestamp, "2000-01-01T00:00:00.000Z", 1)
			if text = strings.Replace(text, id, "ID", 1); text != want.record {
				t.Errorf("%s:\ngot  %s\nwant %s", payload, text, want.record)
			}
		}
	})
}

// What has no deliverer is kept and says so; a dead letter carries the event itself.
func TestNoDelivererAndDeadLetters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, picky, nil)
		r.shelf.extra = map[string][]byte{"DeadLetterConfig": []byte(`{"TargetArn":"arn:aws:sqs:us-east-1:000000000000:dead"}`)}
		r.shelf.configure("f", lambent.EventConfig{MaxRetries: new(0), OnFailure: lambent.Destination{ARN: "arn:aws:sns:us-east-1:000000000000:topic"}})
		o := r.want(r.accept("f", `"bad"`), store.JobFailed)
		if len(o.Sent) != 2 || o.Sent[0].Note != "nothing here delivers to sns yet" || o.Sent[1].Note != "nothing here delivers to sqs yet" {
			t.Fatalf("sent %+v", o.Sent)
		}
		d := r.want(o.Sent[1].Job, store.JobFailed)
		if d.Error != "NoDeliverer" || string(d.Payload) != `"bad"` || d.To != "arn:aws:sqs:us-east-1:000000000000:dead" {
			t.Errorf("dead letter %+v", d)
		}
		found, err := r.List(t.Context(), Query{Namespace: ns, Function: "f", Kind: KindDestination, Error: "NoDeliverer"})
		if err != nil || len(found) != 2 {
			t.Errorf("found %d, %v", len(found), err)
		}
	})
}

// A queue that gets both the records and the dead letters of a function gets both.
func TestRecordAndDeadLetterInOneQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const queue = "arn:aws:sqs:us-east-1:" + ns + ":queue"
		r := newRig(t, picky, nil)
		r.shelf.extra = map[string][]byte{"DeadLetterConfig": []byte(`{"TargetArn":"` + queue + `"}`)}
		r.shelf.configure("f", lambent.EventConfig{MaxRetries: new(0), OnFailure: lambent.Destination{ARN: queue}})
		o := r.want(r.accept("f", `"bad"`), store.JobFailed)
		found, err := r.List(t.Context(), Query{Namespace: ns, Function: "f", Kind: KindDestination})
		if err != nil || len(found) != 2 || len(o.Sent) != 2 || o.Sent[0].Job == o.Sent[1].Job {
			t.Errorf("sent %+v, found %d, %v", o.Sent, len(found), err)
		}
	})
}

// A record goes to a function only if the role of the version whose call has ended may
// call it, also when it is sent again.
func TestDestinationsAskTheRole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const target = "arn:aws:lambda:us-east-1:" + ns + ":function:good:live"
		var may atomic.Bool
		r := newRig(t, picky, func(o *Options) {
			o.May = func(from *lambent.Version, function string) error {
				if from.Function != "f" || function != target {
					t.Errorf("%s was asked about %s", from.Function, function)
				}
				if may.Load() {
					return nil
				}
				return lambent.Errorf(lambent.CodeDenied, "the role does not allow it").WithReason("AccessDeniedException")
			}
		})
		r.shelf.configure("f", lambent.EventConfig{OnSuccess: lambent.Destination{ARN: target}})
		o := r.want(r.accept("f", `"ok"`), store.JobSucceeded)
		if len(o.Sent) != 1 || o.Sent[0].Note != "the role does not allow it" {
			t.Fatalf("sent %+v", o.Sent)
		}
		d := r.want(o.Sent[0].Job, store.JobFailed)
		if d.Error != "AccessDeniedException" || d.Function != "f" || d.To != target || d.For != o.ID || r.spine.called(d.ID) != 0 {
			t.Errorf("the record is %+v", d)
		}
		if _, err := r.Retry(t.Context(), ns, d.ID); lambent.CodeOf(err) != lambent.CodeDenied {
			t.Errorf("sent again: %v", err)
		}
		may.Store(true)
		again, err := r.Retry(t.Context(), ns, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		n := r.want(again, store.JobSucceeded)
		if n.Function != "good" || n.Qualifier != "live" || n.RetryOf != d.ID || n.For != o.ID || string(n.Payload) != string(d.Payload) {
			t.Errorf("sent again: %+v", n)
		}
		o = r.want(r.accept("f", `"ok"`), store.JobSucceeded)
		r.want(o.Sent[0].Job, store.JobSucceeded)
	})
}

// Nor does a record leave its account, whatever its configuration says.
func TestDestinationsOfOtherAccounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, picky, nil)
		r.shelf.extra = map[string][]byte{"DeadLetterConfig": []byte(`{"TargetArn":"arn:aws:lambda:us-east-1:111111111111:function:good"}`)}
		r.shelf.configure("f", lambent.EventConfig{MaxRetries: new(0)})
		o := r.want(r.accept("f", `"bad"`), store.JobFailed)
		if d := r.want(o.Sent[0].Job, store.JobFailed); d.Error != string(lambent.CodeDenied) || d.Function != "f" {
			t.Errorf("the record is %+v", d)
		}
	})
}

// endpoint is an HTTP server that takes deliveries.
type endpoint struct {
	*httptest.Server
	mu    sync.Mutex // guards what follows
	heads []http.Header
	texts []string
	fails atomic.Int32 // so many deliveries are refused first
}

func newEndpoint(t *testing.T, status int) *endpoint {
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heads, e.texts = append(e.heads, r.Header.Clone()), append(e.texts, string(body))
		if e.fails.Add(-1) >= 0 {
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func TestHTTPDestination(t *testing.T) {
	e := newEndpoint(t, http.StatusServiceUnavailable)
	e.fails.Store(2)
	r := newRig(t, picky, nil)
	r.shelf.configure("f", lambent.EventConfig{OnSuccess: lambent.Destination{ARN: lambent.HTTPDestination + e.URL + "/hook?x=1", Secret: "s3cret"}})
	o := r.want(r.accept("f", `"ok"`), store.JobSucceeded)
	d := r.want(o.Sent[0].Job, store.JobSucceeded)
	if len(d.Attempts) != 3 || d.Attempts[0].Error != "HTTP503" || d.Lane() == laneOf(ns, "f") {
		t.Errorf("attempts %+v", d.Attempts)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, h := range e.heads {
		var at int64
		var mac string
		if _, err := fmt.Sscanf(strings.ReplaceAll(h.Get(HeaderSignature), ",v1=", " "), "t=%d %s", &at, &mac); err != nil {
			t.Fatalf("signature %q: %v", h.Get(HeaderSignature), err)
		}
		if h.Get(HeaderSignature) != Sign("s3cret", time.Unix(at, 0), []byte(e.texts[i])) || h.Get(HeaderDelivery) != d.ID {
			t.Errorf("headers %v", h)
		}
	}
}

// Lane is what tests compare.
func (o *Object) Lane() string { return sendLane(o.Namespace, o.Function) }

// An endpoint that hangs delays no event, and one that refuses ends the record.
func TestHangingAndRefusingDestinations(t *testing.T) {
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	refuses := newEndpoint(t, http.StatusGone)
	refuses.fails.Store(1000)
	r := newRig(t, picky, func(o *Options) { o.Concurrency = 8 })
	t.Cleanup(func() { close(release); hangs.Close() })
	r.shelf.configure("slow", lambent.EventConfig{OnSuccess: lambent.Destination{ARN: lambent.HTTPDestination + hangs.URL}})
	r.shelf.configure("f", lambent.EventConfig{OnSuccess: lambent.Destination{ARN: lambent.HTTPDestination + refuses.URL}})
	for i := range 40 {
		r.want(r.accept("slow", fmt.Sprint(i)), store.JobSucceeded)
	}
	o := r.want(r.accept("f", `"ok"`), store.JobSucceeded)
	if d := r.want(o.Sent[0].Job, store.JobFailed); d.Error != "HTTP410" || len(d.Attempts) != 1 {
		t.Errorf("refused: %+v", d)
	}
	r.end()
	left, err := r.List(t.Context(), Query{Namespace: ns, Function: "slow", Kind: KindDestination, Statuses: []store.JobStatus{store.JobWaiting}})
	if err != nil || len(left) != 40 {
		t.Errorf("%d records wait after the end, %v; want all 40", len(left), err)
	}
}

// The endpoints of a tenant are no way to what is behind the server.
func TestEndpointsOfTenants(t *testing.T) {
	e := newEndpoint(t, 0)
	deliver := func(o Options, namespace, url string) error {
		o.Now = time.Now
		return newEndpoints(o).Deliver(t.Context(), Delivery{ID: "1", Namespace: namespace, To: lambent.Destination{ARN: lambent.HTTPDestination + url}, Record: []byte("1")})
	}
	o := Options{Operator: ns}
	if err := deliver(o, ns, e.URL); err != nil {
		t.Errorf("the operator's: %v", err)
	}
	if err := deliver(o, "111111111111", e.URL); lambent.ReasonOf(err) != "AddressNotAllowed" {
		t.Errorf("a tenant's: %v", err)
	}
	if err := deliver(o, "111111111111", strings.Replace(e.URL, "127.0.0.1", "localhost", 1)); lambent.ReasonOf(err) != "AddressNotAllowed" {
		t.Errorf("a tenant's, by name: %v", err)
	}
	o.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := deliver(o, "111111111111", e.URL); err != nil {
		t.Errorf("in a network that is named: %v", err)
	}
	away := httptest.NewServer(http.RedirectHandler(e.URL, http.StatusTemporaryRedirect))
	defer away.Close()
	if err := deliver(Options{Operator: ns}, ns, away.URL); lambent.ReasonOf(err) != "HTTP307" {
		t.Errorf("a redirect: %v", err)
	}
}

// Poison events end in their destination with their history.
func TestPoisonEndsInItsDestination(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, picky, nil)
		r.shelf.configure("f", lambent.EventConfig{OnFailure: lambent.Destination{ARN: "arn:aws:lambda:us-east-1:" + ns + ":function:morgue"}})
		var bad []string
		for i := range 300 {
			payload := `"ok"`
			if i%10 == 0 {
				payload = `"bad"`
			}
			id := r.accept("f", payload)
			if i%10 == 0 {
				bad = append(bad, id)
			}
		}
		for _, id := range bad {
			o := r.want(id, store.JobFailed)
			if len(o.Attempts) != 3 || len(o.Sent) != 1 {
				t.Fatalf("%s has %d attempts, sent %+v", id, len(o.Attempts), o.Sent)
			}
			r.want(o.Sent[0].Job, store.JobSucceeded)
		}
		r.end()
		morgue, err := r.List(t.Context(), Query{Namespace: ns, Function: "morgue", Limit: 1000})
		if err != nil || len(morgue) != len(bad) {
			t.Errorf("%d records of %d poison events, %v", len(morgue), len(bad), err)
		}
	})
}
