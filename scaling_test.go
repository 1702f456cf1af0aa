package lambent

import (
	"maps"
	"testing"
	"time"
)

func TestScalingTexts(t *testing.T) {
	texts := map[string]string{
		"mode": "rps", "target": "12.5", "utilisation": "0.8", "stable": "1m0s", "panic": "10s", "panic-threshold": "3",
		"up-rate": "10", "down-rate": "4", "max": "20", "initial": "2", "down-delay": "30s", "grace": "5m0s", "forecast": "on", "factor": "1.2",
	}
	if len(texts) != len(ScalingNames()) {
		t.Fatalf("the test has %d members, there are %d", len(texts), len(ScalingNames()))
	}
	s, err := ParseScaling(texts)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Texts(); !maps.Equal(got, texts) {
		t.Errorf("%v became %v", texts, got)
	}
	if over := (Scaling{Max: 3}).Over(s); over.Max != 3 || over.Target != 12.5 {
		t.Errorf("%+v", over)
	}
	for name := range texts {
		if err := s.Set(name, "default"); err != nil {
			t.Error(err)
		}
	}
	if s != (Scaling{}) {
		t.Errorf("%+v is left", s)
	}
	s.Stable = 10 * time.Second
	for _, wrong := range [][2]string{
		{"mode", "feeling"}, {"target", "NaN"}, {"target", "0"}, {"utilisation", "1.1"}, {"stable", "1s"}, {"panic", "11s"},
		{"max", "-1"}, {"max", "1001"}, {"grace", "soon"}, {"forecast", "maybe"}, {"speed", "1"},
	} {
		if err := s.Set(wrong[0], wrong[1]); CodeOf(err) != CodeInvalid {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}
