package linux

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

const (
	testPasswd = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34:Web:/srv:/bin/false\n7:x:70:71::/seven:\nfar:x:70000:1::/:\n"
	testGroup  = "root:x:0:\nweb:x:34:\nlog:x:40:www,other\nmail:x:41:other\naudit:x:42:www\n"
)

func TestLookUser(t *testing.T) {
	users, groups := parseAccounts(strings.NewReader(testPasswd)), parseAccounts(strings.NewReader(testGroup))
	for text, want := range map[string]imageUser{
		"www":       {33, 34, []int{40, 42}, "/srv"},
		"www:":      {33, 34, []int{40, 42}, "/srv"},
		"33":        {33, 34, []int{40, 42}, "/srv"},
		"www:mail":  {33, 41, nil, "/srv"},
		"www:7":     {33, 7, nil, "/srv"},
		"1234":      {1234, 0, nil, ""},
		"1234:1235": {1234, 1235, nil, ""},
		"1234:web":  {1234, 34, nil, ""},
		"0":         {0, 0, nil, "/root"},
		"7":         {70, 71, nil, "/seven"}, // a name, whatever it looks like
		"65535":     {65535, 0, nil, ""},
	} {
		got, err := lookUser(text, users, groups)
		if err != nil || got.uid != want.uid || got.gid != want.gid || !slices.Equal(got.groups, want.groups) || got.home != want.home {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"nobody", "www:nogroup", "65536", "-1", "1:65536", "far", "70000", "4294967296", " www", "www:web:x"} {
		if got, err := lookUser(text, users, groups); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestFirstImageID(t *testing.T) {
	for _, base := range []uint32{0, 1 << 16, 1 << 20, 1 << 28, defaultUIDBase} {
		first := uint64(firstImageID(base, 4096))
		end := first + 4096*imageIDs
		if first%imageIDs != 0 || first < imageIDs || end >= 1<<31 || first < uint64(base)+4096 && uint64(base) < end {
			t.Errorf("from %#x: %#x to %#x", base, first, end)
		}
	}
}

// FuzzAccounts feeds lists of users that are not well-formed.
func FuzzAccounts(f *testing.F) {
	f.Add(testPasswd, "www:web")
	f.Add("a:b:c:d:e:f:g\n:::\n", "a")
	f.Fuzz(func(t *testing.T, text, name string) {
		all := parseAccounts(strings.NewReader(text))
		if u, err := lookUser(name, all, all); err == nil && (u.uid < 0 || u.uid >= imageIDs || u.gid < 0 || u.gid >= imageIDs) {
			t.Errorf("%q is %+v", name, u)
		}
	})
}

// ownedLayer is a layer with an account list and files of several users.
func ownedLayer(t *testing.T) string {
	t.Helper()
	dir := layerOf(t, map[string]string{"etc/passwd": testPasswd, "etc/group": testGroup, "of/root": "r", "of/www": "w", "of/log": "l", "home/file": "h"})
	for name, c := range map[string]struct {
		uid, gid int
		mode     os.FileMode
	}{"of/root": {0, 0, 0o600}, "of/www": {33, 34, 0o600}, "of/log": {0, 40, 0o640}, "home": {33, 34, 0o700}} {
		path := filepath.Join(dir, name)
		if err := os.Chown(path, c.uid, c.gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestImageUser(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	layers := []string{ownedLayer(t), probeLayer(t, "probe")}
	for user, want := range map[string]struct {
		id      string
		canRead []string
	}{
		"":         {"993:990", nil},
		"www":      {"33:34", []string{"/of/www", "/of/log", "/home/file"}},
		"33:root":  {"33:0", []string{"/of/www", "/home/file"}},
		"1234:log": {"1234:40", []string{"/of/log"}},
		"root":     {"0:0", []string{"/of/root", "/of/log"}}, // without capabilities: it is a function
	} {
		t.Run(user, func(t *testing.T) {
			l := sandboxtest.Start(t, d, imageSpecOf("user", lambent.Image{EntryPoint: []string{"/probe"}, Directory: "/", User: user}, layers...))
			status := l.Do("read", 0, "/proc/self/status")
			uid, gid, _ := strings.Cut(want.id, ":")
			if !strings.Contains(status, "Uid:\t"+uid+"\t"+uid) || want.id != "993:990" && !strings.Contains(status, "Gid:\t"+gid+"\t"+gid) {
				t.Errorf("runs as\n%s", status)
			}
			for _, c := range []string{"CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"} {
				if !strings.Contains(status, c+":\t0000000000000000") {
					t.Errorf("%s is not empty:\n%s", c, status)
				}
			}
			for _, path := range []string{"/of/root", "/of/www", "/of/log", "/home/file"} {
				got := l.Do("read", 0, path)
				if can := !strings.HasPrefix(got, "ERROR: "); can != slices.Contains(want.canRead, path) {
					t.Errorf("%s: %q", path, got)
				}
			}
			if got := l.Do("write", 0, "/tmp/mine", "x"); strings.HasPrefix(got, "ERROR: ") {
				t.Errorf("/tmp: %s", got)
			}
		})
	}
}

func TestImageUsersThatAreRefused(t *testing.T) {
	needRoot(t)
	d := newDriver(t, Options{DataDir: t.TempDir(), NoNetwork: true, Ready: -1})
	t.Cleanup(func() { _ = d.Close() })
	layers := []string{ownedLayer(t), probeLayer(t, "probe")}
	for user, says := range map[string]string{
		"nobody": "no such user in its /etc/passwd", "www:nogroup": "no such group in its /etc/group",
		"70001": "above 65535", "far": "above 65535",
	} {
		spec := imageSpecOf("refused", lambent.Image{EntryPoint: []string{"/probe"}, Directory: "/", User: user}, layers...)
		spec.Output = &sandboxtest.Lines{}
		i, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		r, err := i.Init(ctx)
		if err != nil || r.Failure == nil || r.Failure.Type != "Runtime.InvalidUser" || !strings.Contains(r.Failure.Message, says) {
			t.Errorf("%s: %+v, %v, want %q", user, r.Failure, err, says)
		}
		_ = i.Stop(ctx)
		cancel()
	}
}
