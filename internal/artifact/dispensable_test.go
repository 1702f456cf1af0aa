package artifact

import (
	"slices"
	"testing"
	"time"

	"lambent.dev/lambent"
)

func TestDispensable(t *testing.T) {
	now := time.Now()
	const mb = 1 << 20
	ago := func(idle time.Duration, size int64) tree { return tree{used: now.Add(-idle), size: size} }
	for name, c := range map[string]struct {
		trees  map[lambent.Digest]tree
		excess int64
		want   []lambent.Digest // in order
	}{
		"nothing in excess":               {map[lambent.Digest]tree{"a": ago(time.Hour, mb)}, 0, nil},
		"the longest unused":              {map[lambent.Digest]tree{"a": ago(time.Hour, mb), "b": ago(2*time.Hour, mb), "c": ago(time.Minute, mb)}, 2 * mb, []lambent.Digest{"b", "a"}},
		"small before large":              {map[lambent.Digest]tree{"large": ago(2*time.Hour, 1024*mb), "a": ago(time.Hour, mb), "b": ago(30*time.Minute, mb)}, mb, []lambent.Digest{"a"}},
		"large when it is long unused":    {map[lambent.Digest]tree{"large": ago(24*time.Hour, 1024*mb), "a": ago(time.Hour, mb)}, mb, []lambent.Digest{"large"}},
		"no small ones beside a large":    {map[lambent.Digest]tree{"large": ago(2*time.Hour, 1024*mb), "a": ago(time.Hour, 3*mb), "b": ago(30*time.Minute, 2*mb)}, 500 * mb, []lambent.Digest{"large"}},
		"those that it takes beside it":   {map[lambent.Digest]tree{"large": ago(2*time.Hour, 1024*mb), "a": ago(time.Hour, 3*mb), "b": ago(30*time.Minute, 2*mb)}, 1026 * mb, []lambent.Digest{"a", "large"}},
		"all, where that is still little": {map[lambent.Digest]tree{"a": ago(time.Hour, mb)}, 5 * mb, []lambent.Digest{"a"}},
		"a clock that went back":          {map[lambent.Digest]tree{"a": ago(-time.Hour, mb), "b": ago(time.Second, mb)}, mb, []lambent.Digest{"b"}},
	} {
		if got := dispensable(c.trees, c.excess, now); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
