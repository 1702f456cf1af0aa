package logs

import (
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
)

const reqID = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"

func TestText(t *testing.T) {
	f := FormatOf(lambent.Logging{Format: "Text", SystemLevel: "WARN"})
	cold := &lambent.Result{Report: lambent.Report{
		Duration: 15741 * time.Microsecond, Billed: 16 * time.Millisecond, Init: 166614 * time.Microsecond, MemoryMB: 128, MaxMemoryMB: 56,
	}}
	told := *cold
	told.Report.Cold, told.Report.Origin = true, lambent.OriginBlank
	ms := time.Millisecond
	told.Report.Stages = []lambent.Stage{{Name: lambent.StageSandbox, Took: 200 * time.Microsecond}, {Name: lambent.StageCode, Took: 40 * time.Microsecond},
		{Name: lambent.StageSandbox, Took: 10 * time.Microsecond}, {Name: "other", Took: ms}, {Name: lambent.StageInit, Took: 3 * ms}}
	toldLate := told
	toldLate.FunctionError, toldLate.ErrorType = "Unhandled", "Sandbox.Timedout"
	thawed := &lambent.Result{Report: lambent.Report{Duration: ms, Billed: ms, MemoryMB: 128, MaxMemoryMB: 56, Thaw: 2 * ms}}
	warm := &lambent.Result{Report: lambent.Report{Duration: 995 * time.Microsecond, Billed: time.Millisecond, MemoryMB: 512, MaxMemoryMB: 57}}
	late := &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Timedout", Report: lambent.Report{Duration: 3 * time.Second, Billed: 3 * time.Second, MemoryMB: 128, MaxMemoryMB: 40}}
	exit := &lambent.Result{FunctionError: "Unhandled", ErrorType: "Runtime.ExitError", Report: warm.Report}
	thrown := &lambent.Result{FunctionError: "Unhandled", ErrorType: "ValueError", Report: warm.Report}
	tests := []struct{ got, want string }{
		{string(f.InitStart(nil, t0, Init{Runtime: "python:3.12.v18", RuntimeARN: "arn:x"})), "INIT_START Runtime Version: python:3.12.v18\tRuntime Version ARN: arn:x"},
		{string(f.InitReport(nil, t0, "on-demand", 181490*time.Microsecond, "Runtime.ExitError")), "INIT_REPORT Init Duration: 181.49 ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError"},
		{string(f.InitReport(nil, t0, "on-demand", 3*time.Second, "Sandbox.Timedout")), "INIT_REPORT Init Duration: 3000.00 ms\tPhase: init\tStatus: timeout"},
		{string(f.InstanceEnd(nil, t0, "Runtime.ExitError", "exit status 7")), "INSTANCE_END Status: error\tError Type: Runtime.ExitError\tMessage: exit status 7"},
		{string(f.Start(nil, t0, reqID, "$LATEST")), "START RequestId: " + reqID + " Version: $LATEST"},
		{string(f.End(nil, t0, reqID, cold)), "END RequestId: " + reqID},
		{string(f.Report(nil, t0, reqID, cold)), "REPORT RequestId: " + reqID + "\tDuration: 15.74 ms\tBilled Duration: 16 ms\tMemory Size: 128 MB\tMax Memory Used: 56 MB\tInit Duration: 166.61 ms\t"},
		{string(f.Report(nil, t0, reqID, &told)), "REPORT RequestId: " + reqID + "\tDuration: 15.74 ms\tBilled Duration: 16 ms\tMemory Size: 128 MB\tMax Memory Used: 56 MB\tInit Duration: 166.61 ms\tCold Start: blank sandbox=0.21 code=0.04 files=0.00 network=0.00 runtime=0.00 init=3.00 ms\t"},
		{string(f.Report(nil, t0, reqID, &toldLate)), "REPORT RequestId: " + reqID + "\tDuration: 15.74 ms\tBilled Duration: 16 ms\tMemory Size: 128 MB\tMax Memory Used: 56 MB\tInit Duration: 166.61 ms\tCold Start: blank sandbox=0.21 code=0.04 files=0.00 network=0.00 runtime=0.00 init=3.00 ms\tStatus: timeout"},
		{string(f.Report(nil, t0, reqID, thawed)), "REPORT RequestId: " + reqID + "\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 56 MB\tThaw: 2.00 ms\t"},
		{string(f.Report(nil, t0, reqID, warm)), "REPORT RequestId: " + reqID + "\tDuration: 0.99 ms\tBilled Duration: 1 ms\tMemory Size: 512 MB\tMax Memory Used: 57 MB\t"},
		{string(f.Report(nil, t0, reqID, late)), "REPORT RequestId: " + reqID + "\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\tStatus: timeout"},
		{string(f.Report(nil, t0, reqID, exit)), "REPORT RequestId: " + reqID + "\tDuration: 0.99 ms\tBilled Duration: 1 ms\tMemory Size: 512 MB\tMax Memory Used: 57 MB\tStatus: error\tError Type: Runtime.ExitError"},
		{string(f.Report(nil, t0, reqID, thrown)), string(f.Report(nil, t0, reqID, warm))},
		{string(f.TimedOut(nil, t0, reqID, 3*time.Second)), "2026-01-01T10:00:00.123Z " + reqID + " Task timed out after 3.00 seconds"},
	}
	for _, c := range tests {
		if c.got != c.want {
			t.Errorf("got  %q\nwant %q", c.got, c.want)
		}
	}
}

func TestJSONColdStart(t *testing.T) {
	r := &lambent.Result{Report: lambent.Report{Cold: true, Origin: lambent.OriginFork, Thaw: time.Millisecond,
		Stages: []lambent.Stage{{Name: lambent.StageInit, Took: 1500 * time.Microsecond}}}}
	const want = `{"time":"2026-01-01T10:00:00.123Z","type":"platform.report","record":{` +
		`"coldStart":{"origin":"fork","stages":{"codeMs":0.00,"filesMs":0.00,"initMs":1.50,"networkMs":0.00,"runtimeMs":0.00,"sandboxMs":0.00}},` +
		`"metrics":{"billedDurationMs":0,"durationMs":0.00,"maxMemoryUsedMB":0,"memorySizeMB":0},"requestId":"` + reqID + `","status":"success","thawMs":1.00}}`
	if got := string(Format{JSON: true}.Report(nil, t0, reqID, r)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestJSON(t *testing.T) {
	ok := &lambent.Result{Payload: []byte("{}"), Report: lambent.Report{Duration: 1230 * time.Microsecond, Billed: 2 * time.Millisecond, Init: time.Second, MemoryMB: 128, MaxMemoryMB: 33}}
	bad := &lambent.Result{FunctionError: "Unhandled", ErrorType: "Runtime.OutOfMemory", Report: ok.Report}
	const head = `{"time":"2026-01-01T10:00:00.123Z","type":"platform.`
	const metrics = `"metrics":{"billedDurationMs":2,"durationMs":1.23,"initDurationMs":1000.00,"maxMemoryUsedMB":33,"memorySizeMB":128},"requestId":"` + reqID + `",`
	lines := func(level string, r *lambent.Result) []string {
		f := FormatOf(lambent.Logging{Format: "JSON", SystemLevel: level})
		return []string{
			string(f.InitStart(nil, t0, Init{Runtime: "r", RuntimeARN: "a", Type: "on-demand"})), string(f.Start(nil, t0, reqID, "1")), string(f.End(nil, t0, reqID, r)), string(f.Report(nil, t0, reqID, r)),
		}
	}
	initStart := head + `initStart","record":{"initializationType":"on-demand","phase":"init","runtimeVersion":"r","runtimeVersionArn":"a"}}`
	start := head + `start","record":{"requestId":"` + reqID + `","version":"1"}}`
	done := head + `runtimeDone","record":{"metrics":{"durationMs":1.23,"producedBytes":2},"requestId":"` + reqID + `","status":"success"}}`
	report := head + `report","record":{` + metrics + `"status":"success"}}`
	badReport := head + `report","record":{"errorType":"Runtime.OutOfMemory",` + metrics + `"status":"error"}}`
	badDone := head + `runtimeDone","record":{"errorType":"Runtime.OutOfMemory","metrics":{"durationMs":1.23,"producedBytes":0},"requestId":"` + reqID + `","status":"error"}}`
	if got, want := string(FormatOf(lambent.Logging{Format: "JSON", SystemLevel: "WARN"}).InitReport(nil, t0, "on-demand", time.Second, "Runtime.ExitError")), head+
		`initReport","record":{"errorType":"Runtime.ExitError","initializationType":"on-demand","metrics":{"durationMs":1000.00},"phase":"init","status":"error"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, c := range []struct {
		level string
		r     *lambent.Result
		want  []string
	}{
		{"DEBUG", ok, []string{initStart, start, done, report}},
		{"INFO", ok, []string{initStart, start, "", report}},
		{"", ok, []string{initStart, start, "", report}},
		{"WARN", ok, []string{"", "", "", ""}},
		{"WARN", bad, []string{"", "", badDone, badReport}},
	} {
		for i, got := range lines(c.level, c.r) {
			if got != c.want[i] {
				t.Errorf("%s, line %d:\ngot  %s\nwant %s", c.level, i, got, c.want[i])
			}
		}
	}
}

func TestStreamedAnswer(t *testing.T) {
	r := &lambent.Result{CallerGone: true, Report: lambent.Report{Duration: 5 * time.Millisecond, Billed: 5 * time.Millisecond,
		MemoryMB: 128, MaxMemoryMB: 56, Streamed: 1000, FirstByte: 2 * time.Millisecond}}
	const done = `{"time":"2026-01-01T10:00:00.123Z","type":"platform.runtimeDone","record":{"callerGone":true,` +
		`"metrics":{"durationMs":5.00,"producedBytes":1000},"requestId":"` + reqID + `","spans":[` +
		`{"durationMs":2.00,"name":"responseLatency","start":"2026-01-01T10:00:00.118Z"},` +
		`{"durationMs":3.00,"name":"responseDuration","start":"2026-01-01T10:00:00.120Z"}],"status":"success"}}`
	if got := string(FormatOf(lambent.Logging{Format: "JSON", SystemLevel: "DEBUG"}).End(nil, t0, reqID, r)); got != done {
		t.Errorf("got  %s\nwant %s", got, done)
	}
	const left = "\tMax Memory Used: 56 MB\tStreamed: 1000 bytes, then the caller left\t"
	if got := string(Format{}.Report(nil, t0, reqID, r)); !strings.HasSuffix(got, left) {
		t.Errorf("got  %q\nwant %q at its end", got, left)
	}
	r.CallerGone = false
	if got := string(Format{}.Report(nil, t0, reqID, r)); strings.Contains(got, "Streamed") {
		t.Errorf("an answer that went through: %q", got)
	}
}
