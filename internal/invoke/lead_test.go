package invoke

import "testing"

func TestLead(t *testing.T) {
	const current = "Root=1-1;Parent=a;Sampled=1;Lineage=3:0a1b2c3d:2"
	for name, c := range map[string]struct{ sent, current, want string }{
		"nothing sent":      {"", current, current},
		"nothing current":   {"Root=1-2;Parent=b", "", "Root=1-2;Parent=b"},
		"nothing at all":    {"", "", ""},
		"a span of its own": {"Root=1-1;Parent=c;Sampled=1", current, "Root=1-1;Parent=c;Sampled=1;Lineage=3:0a1b2c3d:2"},
		"passed on":         {current, current, current},
		"a lineage made up": {"Root=1-1;Lineage=1:ffffffff:1;Self=x", current, "Root=1-1;Lineage=3:0a1b2c3d:2;Self=x"},
		"the first call":    {"Root=1-1;Parent=c;Lineage=2:0a1b2c3d:1", "Root=1-1;Parent=a", "Root=1-1;Parent=c;Lineage=2:0a1b2c3d:1"},
	} {
		if got := Lead(c.sent, c.current); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
