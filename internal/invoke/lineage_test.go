package invoke

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/telemetry"
)

type fixed lambent.Settings

func (fixed) Resolve(string, string, string) (*lambent.Version, error) { return nil, nil }

func (f fixed) Get(ns, fn, _ string) (catalog.Entry, error) {
	return catalog.Entry{Function: &lambent.Function{Namespace: ns, Name: fn, Settings: lambent.Settings(f)}}, nil
}

// chain calls functions one after the other, each with the header that the one
// before got, and tells how many calls there were.
func chain(s *Service, names ...string) (calls int, header string) {
	header = "Root=1-67890123-123456789012345678901234;Parent=1234567890123456;Sampled=0"
	for ; calls < 1000; calls++ {
		inv := &lambent.Invocation{TraceID: header}
		if err := s.turn(inv, &lambent.Version{Namespace: "1", Function: names[calls%len(names)]}); err != nil {
			return calls, header
		}
		header = inv.TraceID
	}
	return calls, header
}

func TestChainsEnd(t *testing.T) {
	s := New(Options{Catalog: fixed{}})
	for name, tt := range map[string]struct {
		names []string
		want  int
	}{
		"one":  {[]string{"a"}, 16},
		"two":  {[]string{"a", "b"}, 32},
		"ten":  {strings.Split("a b c d e f g h i j", " "), 160},
		"many": {strings.Split("a b c d e f g h i j k l m n", " "), 160},
	} {
		calls, header := chain(s, tt.names...)
		if calls != tt.want || len(header) > 256 || !strings.HasPrefix(header, "Root=1-67890123") {
			t.Errorf("%s: %d calls, want %d; %s", name, calls, tt.want, header)
		}
	}
	if calls, _ := chain(New(Options{Catalog: fixed{AllowLoops: true}}), "a"); calls != 1000 {
		t.Errorf("an allowed loop ended after %d calls", calls)
	}
}

// TestChainsCannotHide is for a function that sends a tracing header of its own with each
// call, in which the lineage is not where it is looked for first.
func TestChainsCannotHide(t *testing.T) {
	caller := func(header string) string { return telemetry.Caller(http.Header{"X-Amzn-Trace-Id": {header}}) }
	s := New(Options{Catalog: fixed{}, NewID: uuid.NewString})
	for _, sent := range []string{
		"xLineage=1", "Root=1-2-3;xLineage=0:00000000:1;Sampled=0", "Self=Lineage=Lineage=", "Lineage=0:;Lineage=0:",
		strings.Repeat("x", telemetry.MaxTrace-1), strings.Repeat("x", telemetry.MaxTrace+1), "Root=1-2-3;\xff",
	} {
		header := "Root=1-2-3"
		for n := 1; ; n++ {
			inv := &lambent.Invocation{TraceID: caller(header)}
			if err := s.turn(inv, &lambent.Version{Function: "f"}); err != nil {
				break
			}
			if n > 2*lambent.MaxTurns {
				t.Fatalf("%q: a chain of %d calls goes on", sent, n)
			}
			header = Lead(caller(sent), inv.TraceID)
		}
	}
}

func FuzzLineage(f *testing.F) {
	f.Add("Root=1-2-3;Lineage=3:0a1b2c3d:2|ffffffff:1;Self=x")
	f.Add("Lineage=")
	f.Fuzz(func(t *testing.T, header string) {
		inv := &lambent.Invocation{TraceID: header}
		s := New(Options{Catalog: fixed{AllowLoops: true}, NewID: uuid.NewString})
		if err := s.turn(inv, &lambent.Version{Function: "f"}); err != nil {
			t.Fatal(err)
		}
		_, text, _ := cutLineage(inv.TraceID)
		if l := parseLineage(text); l.calls < 1 || len(l.ancestors) < 1 || l.String() != text {
			t.Fatalf("%q became %q", header, inv.TraceID)
		}
		if len(inv.TraceID) > len(header)+200 {
			t.Fatalf("%d bytes became %d", len(header), len(inv.TraceID))
		}
	})
}
