package relay

import (
	"bytes"
	"testing"
	"time"
)

// TestOlder: events in the words of the Logs API, those of AWS's guide.
func TestOlder(t *testing.T) {
	at := time.Date(2020, 8, 20, 12, 31, 32, 123e6, time.UTC)
	const stamp = `{"time":"2020-08-20T12:31:32.123Z",`
	event := func(kind, record string) []byte {
		return []byte(stamp + `"type":"` + kind + `","record":` + record + `}`)
	}
	for _, c := range []struct {
		schema string
		event  []byte
		want   string
	}{
		{"2020-08-15", Line(at, Function, []byte(`a "line"`), false), stamp + `"type":"function","record":"a \"line\"\n"}`},
		{"2020-08-15", Line(at, Function, []byte(`{"level":"INFO"}`), true), stamp + `"type":"function","record":"{\"level\":\"INFO\"}\n"}`},
		{"2020-08-15", Line(at, Extension, []byte(`x`), false), stamp + `"type":"extension","record":"x\n"}`},
		{"2020-08-15", event("platform.start", `{"requestId":"r","version":"7","tracing":{"type":"x"}}`), stamp + `"type":"platform.start","record":{"requestId":"r","version":"7"}}`},
		{"2020-08-15", event("platform.runtimeDone", `{"requestId":"r","status":"success","metrics":{"durationMs":1}}`), ""},
		{"2020-08-15", event("platform.report", `{"requestId":"r"}`), stamp + `"type":"platform.end","record":{"requestId":"r"}}` + stamp + `"type":"platform.report","record":{"requestId":"r"}}`},
		{"2021-03-18", event("platform.runtimeDone", `{"requestId":"r","status":"timeout"}`),
			stamp + `"type":"platform.runtimeDone","record":{"requestId":"r","status":"timeout"}}`},
		{"2021-03-18", event("platform.runtimeDone", `{"requestId":"r","status":"error","errorType":"Runtime.ExitError"}`),
			stamp + `"type":"platform.runtimeDone","record":{"requestId":"r","status":"failure"}}` +
				stamp + `"type":"platform.fault","record":"RequestId: r Process exited before completing request"}`},
		{"2021-03-18", event("platform.report", `{"requestId":"r","status":"success","metrics":{"durationMs":101.51,"billedDurationMs":300,"memorySizeMB":512,"maxMemoryUsedMB":33,"initDurationMs":116.67,"thawMs":1}}`),
			stamp + `"type":"platform.end","record":{"requestId":"r"}}` +
				stamp + `"type":"platform.report","record":{"requestId":"r","metrics":{"billedDurationMs":300,"durationMs":101.51,"initDurationMs":116.67,"maxMemoryUsedMB":33,"memorySizeMB":512}}}`},
		{"2021-03-18", event("platform.extension", `{"name":"a"}`), stamp + `"type":"platform.extension","record":{"name":"a"}}`},
		{"2021-03-18", event("platform.initStart", `{"phase":"init"}`), ""},
		{"2021-03-18", event("platform.telemetrySubscription", `{"name":"a"}`), ""},
		{"2021-03-18", event("platform.start", `"no object"`), ""},
		{"2021-03-18", []byte(`{`), ""},
	} {
		if got := bytes.Join(older(c.schema, c.event), nil); string(got) != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.schema, c.event, got, c.want)
		}
	}
}

// TestParseLogs: where a subscription of the Logs API differs.
func TestParseLogs(t *testing.T) {
	s, refused := parse(Logs, []byte(`{"types":["platform"],"destination":{"protocol":"HTTP","URI":"http://sandbox:1/logs","method":"PUT"}}`), 9001)
	if refused != nil || s.schema != "2020-08-15" || s.method != "PUT" || s.url != "http://sandbox:1/logs" || s.items != 10000 || s.api != Logs {
		t.Errorf("%+v, %+v", s, refused)
	}
	for body, want := range map[string]string{
		`{"schemaVersion":"2022-12-13","types":["platform"],"destination":{"protocol":"TCP","port":1}}`: "schemaVersion should be one of 2020-08-15, 2021-03-18",
		`{"types":[],"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain"}}`:             "URI port is not provided; types should not be empty",
	} {
		_, refused := parse(Logs, []byte(body), 9001)
		if refused == nil || refused.Status != 400 || refused.Type != "Logs.ValidationError" || refused.Message != want {
			t.Errorf("%s: %+v, want %s", body, refused, want)
		}
	}
}

// TestLogsSubscriber: who has subscribed by one API is told by that, and cannot by the
// other.
func TestLogsSubscriber(t *testing.T) {
	bubble(t, nil, func(g *rig) {
		const destination = `"destination":{"protocol":"HTTP","URI":"http://sandbox:4243/older"}}`
		g.add(Platform, "platform.initStart")
		first, refused := g.r.Subscribe(Logs, "old", []byte(`{"types":["platform","function"],`+destination))
		if !first || refused != nil {
			g.Fatalf("first %v, refused %+v", first, refused)
		}
		if _, refused := g.r.Subscribe(Telemetry, "old", []byte(`{"schemaVersion":"2022-12-13","types":["platform"],`+destination)); refused == nil || refused.Type != "Telemetry.SubscriptionClosed" {
			g.Errorf("by both: %+v", refused)
		}
		g.r.Add(Platform, Encode(time.Now(), "platform.runtimeDone", map[string]any{"requestId": "r", "status": "success"}))
		g.add(Platform, "platform.report")
		time.Sleep(time.Second)
		g.want("logsSubscription end report")
		g.r.Seal()
		if _, refused := g.r.Subscribe(Logs, "late", []byte(`{}`)); refused == nil || refused.Status != 403 || refused.Type != "Logs.SubscriptionClosed" {
			g.Errorf("a late subscription: %+v", refused)
		}
	})
}
