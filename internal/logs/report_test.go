package logs

import (
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
	warm := &lambent.Result{Report: lambent.Report{Duration: 995 * time.Microsecond, Billed: time.Millisecond, MemoryMB: 512, MaxMemoryMB: 57}}
	late := &lambent.Result{FunctionError: "Unhandled", ErrorType: "Sandbox.Timedout", Report: lambent.Report{Duration: 3 * time.Second, Billed: 3 * time.Second, MemoryMB: 128, MaxMemoryMB: 40}}
	exit := &lambent.Result{FunctionError: "Unhandled", ErrorType: "Runtime.ExitError", Report: warm.Report}
	thrown := &lambent.Result{FunctionError: "Unhandled", ErrorType: "ValueError", Report: warm.Report}
	tests := []struct{ got, want string }{
		{string(f.InitStart(nil, t0, "python:3.12.v18", "arn:x")), "INIT_START Runtime Version: python:3.12.v18\tRuntime Version ARN: arn:x"},
		{string(f.Start(nil, t0, reqID, "$LATEST")), "START RequestId: " + reqID + " Version: $LATEST"},
		{string(f.End(nil, t0, reqID, cold)), "END RequestId: " + reqID},
		{string(f.Report(nil, t0, reqID, cold)), "REPORT RequestId: " + reqID + "\tDuration: 15.74 ms\tBilled Duration: 16 ms\tMemory Size: 128 MB\tMax Memory Used: 56 MB\tInit Duration: 166.61 ms\t"},
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

func TestJSON(t *testing.T) {
	ok := &lambent.Result{Payload: []byte("{}"), Report: lambent.Report{Duration: 1230 * time.Microsecond, Billed: 2 * time.Millisecond, Init: time.Second, MemoryMB: 128, MaxMemoryMB: 33}}
	bad := &lambent.Result{FunctionError: "Unhandled", ErrorType: "Runtime.OutOfMemory", Report: ok.Report}
	const head = `{"time":"2026-01-01T10:00:00.123Z","type":"platform.`
	const metrics = `"metrics":{"billedDurationMs":2,"durationMs":1.23,"initDurationMs":1000.00,"maxMemoryUsedMB":33,"memorySizeMB":128},"requestId":"` + reqID + `",`
	lines := func(level string, r *lambent.Result) []string {
		f := FormatOf(lambent.Logging{Format: "JSON", SystemLevel: level})
		return []string{
			string(f.InitStart(nil, t0, "r", "a")), string(f.Start(nil, t0, reqID, "1")), string(f.End(nil, t0, reqID, r)), string(f.Report(nil, t0, reqID, r)),
		}
	}
	initStart := head + `initStart","record":{"initializationType":"on-demand","phase":"init","runtimeVersion":"r","runtimeVersionArn":"a"}}`
	start := head + `start","record":{"requestId":"` + reqID + `","version":"1"}}`
	done := head + `runtimeDone","record":{"metrics":{"durationMs":1.23,"producedBytes":2},"requestId":"` + reqID + `","status":"success"}}`
	report := head + `report","record":{` + metrics + `"status":"success"}}`
	badReport := head + `report","record":{"errorType":"Runtime.OutOfMemory",` + metrics + `"status":"error"}}`
	badDone := head + `runtimeDone","record":{"errorType":"Runtime.OutOfMemory","metrics":{"durationMs":1.23,"producedBytes":0},"requestId":"` + reqID + `","status":"error"}}`
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
