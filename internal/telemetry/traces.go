package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"lambent.dev/lambent"
)

// TraceOptions say which traces go where.
type TraceOptions struct {
	// Endpoint is the URL that spans are posted to, as OTLP in protobuf; without a
	// path it is /v1/traces there. Empty turns traces off. What else there is to say
	// about the connection (headers, compression, certificates), the exporter reads
	// from its own variables (OpenTelemetry specification, "OTLP Exporter
	// Configuration").
	Endpoint string
	Service  string  // service.name
	Sample   float64 // share of the traces to record whose caller leaves it open, 0 to 1
	Region   string
	Metrics  *Metrics // may be nil
	Log      *slog.Logger
}

// pace bounds the sender.
type pace struct {
	queue  int           // calls that may wait to be sent
	delay  time.Duration // from a call's end until it is sent, at most, when the receiver keeps up
	upload time.Duration // for one request and its repetitions
	flush  time.Duration // for all that is left at the end
}

var defaultPace = pace{queue: 4096, delay: time.Second, upload: 10 * time.Second, flush: 2 * time.Second}

// batchSpans is when a request is full.
const batchSpans = 1024

// complaintEvery bounds how often the log tells that spans get lost.
const complaintEvery = time.Minute

// Traces records invocations and cold starts as spans and sends them, from one
// goroutine, to an OTLP receiver. What the receiver cannot take in time is dropped
// and counted: no invocation ever waits for it. A nil *Traces is off and costs
// nothing. Its methods may be called from any goroutine, until Close.
type Traces struct {
	o      TraceOptions
	pace   pace
	client otlptrace.Client
	queue  chan traced
	stop   chan struct{} // closed by Close
	done   chan struct{} // closed when the sender is through
	life   context.Context
	cut    context.CancelFunc // ends life, and with it what is being sent

	complained time.Time // belongs to the sender
}

// traced is something that is over and can be told in spans.
type traced interface {
	// size is the number of the spans.
	size() int
	// spans makes them. It is called by the sender, once.
	spans(t *Traces) []*tracepb.Span
}

// NewTraces starts the sender; it is nil where no endpoint is given.
func NewTraces(o TraceOptions) (*Traces, error) { return newTraces(o, defaultPace) }

func newTraces(o TraceOptions, p pace) (*Traces, error) {
	if o.Endpoint == "" {
		return nil, nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint of traces: %w", err)
	}
	if u.Path == "" {
		u.Path = "/v1/traces"
	}
	t := &Traces{o: o, pace: p, queue: make(chan traced, p.queue), stop: make(chan struct{}), done: make(chan struct{})}
	t.client = otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithTimeout(p.upload),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 2 * time.Second, MaxElapsedTime: p.upload,
		}))
	t.life, t.cut = context.WithCancel(context.Background())
	if err := t.client.Start(t.life); err != nil {
		t.cut()
		return nil, fmt.Errorf("start to send traces: %w", err)
	}
	go t.send() // waited for by Close
	return t, nil
}

// Close sends what is left, for a moment at most, and ends the sender.
func (t *Traces) Close() error {
	if t == nil {
		return nil
	}
	close(t.stop)
	timer := time.AfterFunc(t.pace.flush, t.cut)
	<-t.done
	timer.Stop()
	t.cut()
	return t.client.Stop(context.Background())
}

// Start tells how an instance came to be.
type Start struct {
	Instance string // name of its log stream
	Reason   string // why it was started ahead of a call; "" otherwise
	Failure  string // type of what ended it; "" otherwise
	Origin   lambent.Origin
	Began    time.Time
	Took     time.Duration
	Stages   []lambent.Stage
}

// Started records a cold start that no call has waited for, as a trace of its own.
func (t *Traces) Started(v *lambent.Version, s *Start) {
	if t == nil {
		return
	}
	if trace := newTrace(s.Began); within(trace, t.o.Sample) {
		t.enqueue(&aheadStart{version: v, start: *s, trace: trace})
	}
}

// enqueue never blocks.
func (t *Traces) enqueue(x traced) {
	select {
	case t.queue <- x:
	default:
		t.o.Metrics.spansSent("queue_full", x.size())
	}
}

// send is the sender: it gathers what is over and posts it.
func (t *Traces) send() {
	defer close(t.done)
	for stopping := false; !stopping; {
		select {
		case x := <-t.queue:
			var spans []*tracepb.Span
			spans, stopping = t.gather(x)
			t.upload(spans)
		case <-t.stop:
			stopping = true
		}
	}
	for {
		select {
		case x := <-t.queue:
			spans, _ := t.gather(x)
			t.upload(spans)
		default:
			return
		}
	}
}

// gather waits a moment for more, until a request is full or the end comes.
func (t *Traces) gather(first traced) (spans []*tracepb.Span, stopping bool) {
	spans = first.spans(t)
	timer := time.NewTimer(t.pace.delay)
	defer timer.Stop()
	for len(spans) < batchSpans {
		select {
		case x := <-t.queue:
			spans = append(spans, x.spans(t)...)
			continue
		default:
		}
		select {
		case x := <-t.queue:
			spans = append(spans, x.spans(t)...)
		case <-timer.C:
			return spans, false
		case <-t.stop:
			return spans, true
		}
	}
	return spans, false
}

func (t *Traces) upload(spans []*tracepb.Span) {
	ctx, cancel := context.WithTimeout(t.life, t.pace.upload)
	defer cancel()
	err := t.client.UploadTraces(ctx, t.resource(spans))
	if err == nil {
		t.o.Metrics.spansSent("sent", len(spans))
		return
	}
	t.o.Metrics.spansSent("refused", len(spans))
	if now := time.Now(); now.Sub(t.complained) >= complaintEvery {
		t.complained = now
		t.o.Log.Warn("send traces", "endpoint", t.o.Endpoint, "spans", len(spans), "err", err)
	}
}
