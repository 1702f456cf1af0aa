package server

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent/internal/config"
)

// groupsOf makes groups with these files, and gives the directory of the innermost.
func groupsOf(t *testing.T, files map[string]string) (mount, inner string) {
	t.Helper()
	mount = hostOf(t, files).proc
	return mount, filepath.Join(mount, "service", "lambent")
}

func TestMemoryRoom(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		files map[string]string
		room  int
		most  int
		text  string
	}{
		"host":      {map[string]string{"service/memory.max": "max", "service/memory.current": "5"}, 1000 - 256, 3000, "the host has 1000 MB"},
		"no groups": {map[string]string{"other": ""}, 1000 - 256, 3000, "the host has 1000 MB"},
		"service": {map[string]string{"service/memory.max": "536870912", "service/memory.current": "419430400",
			"service/memory.stat": "anon 1\nfile 7\ninactive_file 104857600\nactive_file 209715200", "service/lambent/memory.max": "max"},
			412 - 256, 409, "the group /service has 412 MB of memory left of 512, of which 256"},
		"service with more than the host": {map[string]string{"service/memory.max": "53687091200", "service/memory.current": "0"}, 1000 - 256, 3000, "the host"},
		"the innermost is the tightest": {map[string]string{"service/memory.max": "1048576000", "service/memory.current": "0",
			"service/lambent/memory.max": "943718400", "service/lambent/memory.current": "104857600"}, 800 - 256, 720, "the group /service/lambent has 800 MB"},
		"more than the limit": {map[string]string{"service/memory.max": "104857600", "service/memory.current": "209715200"}, -100 - 256, 80, "the group"},
		"v1": {map[string]string{"service/memory.limit_in_bytes": "536870912", "service/memory.usage_in_bytes": "419430400",
			"service/memory.stat": "inactive_file 5\nactive_file 6\ntotal_inactive_file 104857600\ntotal_active_file 0"}, 212 - 256, 409, "the group /service has 212 MB"},
		"v1 without limit": {map[string]string{"service/memory.limit_in_bytes": "9223372036854771712", "service/memory.usage_in_bytes": "419430400"}, 1000 - 256, 3000, "the host"},
	} {
		mount, inner := groupsOf(t, c.files)
		m := memory{groups: memoryGroups(mount, []string{inner}), host: func(name string) (config.Size, bool) { return 1000 * mb, name == "MemAvailable" }}
		room, text := m.room(256 * mb)
		text = strings.ReplaceAll(text, mount, "")
		if room != c.room || !strings.HasPrefix(text, c.text) {
			t.Errorf("%s: %d MB, %q, want %d and %q", name, room, text, c.room, c.text)
		}
		if got := m.most(3000 * mb); got != c.most {
			t.Errorf("%s: at most %d MB, want %d", name, got, c.most)
		}
	}
}

func TestMemoryGroups(t *testing.T) {
	mount, inner := groupsOf(t, map[string]string{"memory.stat": "", "service/memory.max": "max", "service/lambent/memory.max": "max", "other/memory.max": "max"})
	var got []string
	for _, g := range memoryGroups(mount, []string{inner, "/elsewhere"}) {
		got = append(got, g.dir)
	}
	if want := []string{inner, filepath.Dir(inner)}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
