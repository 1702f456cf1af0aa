package telemetry

import (
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"lambent.dev/lambent"
)

// Attributes of our own, for which the semantic conventions have no name.
const (
	attrOrigin = attribute.Key("lambent.coldstart.origin") // where the process came from
	attrReason = attribute.Key("lambent.coldstart.reason") // why ahead of a call
	attrThaw   = attribute.Key("lambent.thaw.duration")    // seconds
)

// Flags of a span (opentelemetry-proto, SpanFlags).
const (
	flagSampled = 0x001
	flagKnown   = 0x100 // whether the parent is remote is known
	flagRemote  = 0x200 // it is
)

// resource is what all spans have in common: they are this server's.
func (t *Traces) resource(spans []*tracepb.Span) []*tracepb.ResourceSpans {
	version := ReadBuild().Version
	return []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			text(semconv.ServiceNameKey, t.o.Service), text(semconv.ServiceVersionKey, version),
			text(semconv.CloudRegionKey, t.o.Region),
		}},
		ScopeSpans: []*tracepb.ScopeSpans{{
			Scope: &commonpb.InstrumentationScope{Name: "lambent.dev/lambent", Version: version}, Spans: spans,
		}},
		SchemaUrl: semconv.SchemaURL,
	}}
}

// aheadStart is a cold start that no call has waited for.
type aheadStart struct {
	version *lambent.Version
	start   Start
	trace   [16]byte
}

func (a *aheadStart) size() int { return a.start.size() }

func (a *aheadStart) spans(t *Traces) []*tracepb.Span {
	spans := a.start.spans(a.trace, nil)
	spans[0].Name += " " + clean(a.version.Function)
	spans[0].Attributes = append(spans[0].Attributes, t.function(a.version, a.start.Instance)...)
	return spans
}

func (s *Start) size() int { return 1 + len(s.Stages) }

// spans are the start's own and, below it, one for each timed step.
func (s *Start) spans(trace [16]byte, parent []byte) []*tracepb.Span {
	began, ended := s.Began, s.Began.Add(s.Took)
	for _, st := range s.Stages { // clocks are read in several threads: keep the steps inside
		if st.Start.Before(began) {
			began = st.Start
		}
		if end := st.Start.Add(st.Took); end.After(ended) {
			ended = end
		}
	}
	whole := newProto("cold start", trace, parent, began, ended)
	if s.Origin != "" {
		whole.Attributes = append(whole.Attributes, text(attrOrigin, string(s.Origin)))
	}
	if s.Reason != "" {
		whole.Attributes = append(whole.Attributes, text(attrReason, s.Reason))
	}
	fail(whole, s.Failure)
	spans := []*tracepb.Span{whole}
	steps := slices.Clone(s.Stages)
	slices.SortStableFunc(steps, func(a, b lambent.Stage) int { return a.Start.Compare(b.Start) })
	for _, st := range steps {
		spans = append(spans, newProto(st.Name, trace, whole.SpanId, st.Start, st.Start.Add(st.Took)))
	}
	return spans
}

func (c *Call) size() int {
	n := 1
	if !c.asked.IsZero() {
		n++
	}
	if c.instance.Cold != nil {
		n += c.instance.Cold.size()
	}
	if c.run > 0 {
		n++
	}
	return n
}

func (c *Call) spans(t *Traces) []*tracepb.Span {
	trace := c.context.trace
	var parent []byte
	if c.context.parent != [8]byte{} {
		parent = c.context.parent[:]
	}
	whole := newProto("invoke "+clean(c.version.Function), trace, parent, c.arrived, c.ended)
	whole.Kind = tracepb.Span_SPAN_KIND_SERVER
	whole.SpanId = c.span[:]
	if parent != nil {
		whole.Flags |= flagRemote
	}
	whole.Attributes = append(t.function(c.version, c.instance.Stream),
		text(semconv.FaaSInvocationIDKey, c.request), text(semconv.FaaSTriggerKey, trigger(c.source)),
		flag(semconv.FaaSColdstartKey, c.instance.Cold != nil))
	fail(whole, c.kind)
	spans := []*tracepb.Span{whole}
	got := c.got
	if got.IsZero() {
		got = c.ended // it waited in vain
	}
	acquire := newProto("acquire", trace, whole.SpanId, c.asked, got)
	if c.instance.Thaw > 0 {
		acquire.Attributes = append(acquire.Attributes, number(attrThaw, c.instance.Thaw.Seconds()))
	}
	spans = append(spans, acquire)
	if c.instance.Cold != nil {
		spans = append(spans, c.instance.Cold.spans(trace, acquire.SpanId)...)
	}
	if c.run > 0 {
		spans = append(spans, newProto("run", trace, whole.SpanId, c.got, c.got.Add(c.run)))
	}
	return spans
}

// trigger is the kind of event, in the words of the FaaS conventions.
func trigger(source string) string {
	switch source {
	case "url":
		return "http"
	case "schedule":
		return "timer"
	}
	return "other"
}

// function names what runs. The conventions make it the resource's, where a
// process is one function; here it is the span's.
func (t *Traces) function(v *lambent.Version, stream string) []*commonpb.KeyValue {
	attrs := []*commonpb.KeyValue{
		text(semconv.FaaSNameKey, v.Function), text(semconv.FaaSVersionKey, v.Number),
		integer(semconv.FaaSMaxMemoryKey, int64(v.MemoryMB)<<20),
		text(semconv.CloudAccountIDKey, v.Namespace), text(semconv.CloudResourceIDKey, v.ARN(t.o.Region)),
	}
	if stream != "" {
		attrs = append(attrs, text(semconv.FaaSInstanceKey, stream))
	}
	return attrs
}

func newProto(name string, trace [16]byte, parent []byte, began, ended time.Time) *tracepb.Span {
	id := newSpan()
	return &tracepb.Span{
		TraceId: trace[:], SpanId: id[:], ParentSpanId: parent, Flags: flagSampled | flagKnown,
		Name: name, Kind: tracepb.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: uint64(began.UnixNano()), EndTimeUnixNano: uint64(max(ended.UnixNano(), began.UnixNano())),
	}
}

// fail marks a span as failed, if it is.
func fail(s *tracepb.Span, kind string) {
	if kind != "" {
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: clean(kind)}
		s.Attributes = append(s.Attributes, text(semconv.ErrorTypeKey, kind))
	}
}

// maxText bounds an attribute's text, in bytes.
const maxText = 256

// clean makes text that a tenant may have chosen fit for protobuf, which refuses a
// whole request over one string that is not UTF-8.
func clean(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}

func text(k attribute.Key, v string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: string(k), Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: clean(v)}}}
}

func integer(k attribute.Key, v int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: string(k), Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v}}}
}

func number(k attribute.Key, v float64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: string(k), Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v}}}
}

func flag(k attribute.Key, v bool) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: string(k), Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}}
}
