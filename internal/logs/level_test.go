package logs_test

import (
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/logs"
)

// kept collects lines.
type kept []string

func (k *kept) WriteLine(_ time.Time, p []byte) { *k = append(*k, string(p)) }

func TestLeveled(t *testing.T) {
	const at = `"2024-11-02T16:51:31.587199Z"`
	lines := []string{
		`{"level": "debug", "msg": "of the guide", "timestamp": ` + at + `}`,
		`{"time":` + at + `,"level":"INFO","msg":"of slog"}`,
		`{"timestamp":"2024-11-02T16:51:31Z","level":"WARNING","message":"of Python"}`,
		`{"timestamp":` + at + `,"level":"Critical","message":"of .NET"}`,
		`{"timestamp":` + at + `,"level":"TRACE"}`,
		// What has no level or no time stays.
		`{"level":"DEBUG","msg":"no time"}`, `{"level":"DEBUG","time":1730566291}`, `{"level":20,"time":` + at + `}`,
		`{"level":"DEBUG","time":` + at, `{"severity":"DEBUG","time":` + at + `}`, `{"level":"loud","time":` + at + `}`, `panic: "level"`, ``,
	}
	const rest = 8
	for _, c := range []struct {
		logging lambent.Logging
		want    []int
	}{
		{lambent.Logging{Format: "JSON", ApplicationLevel: "TRACE"}, []int{0, 1, 2, 3, 4}},
		{lambent.Logging{Format: "JSON", ApplicationLevel: "DEBUG"}, []int{0, 1, 2, 3}},
		{lambent.Logging{Format: "JSON", ApplicationLevel: "INFO"}, []int{1, 2, 3}},
		{lambent.Logging{Format: "JSON", ApplicationLevel: "WARN"}, []int{2, 3}},
		{lambent.Logging{Format: "JSON", ApplicationLevel: "FATAL"}, []int{3}},
		{lambent.Logging{Format: "Text"}, []int{0, 1, 2, 3, 4}},
	} {
		var got, want kept
		out := logs.Leveled(&got, c.logging)
		for _, line := range lines {
			out.WriteLine(time.Time{}, []byte(line))
		}
		for _, n := range c.want {
			want = append(want, lines[n])
		}
		want = append(want, lines[len(lines)-rest:]...)
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("%+v keeps\n%s\nwant\n%s", c.logging, g, w)
		}
	}
}
