package cli

import (
	"os"
	"strings"
	"testing"
)

func TestImageName(t *testing.T) {
	for reference, want := range map[string]string{
		"registry.example:5000/team/api:1": "api", "api@sha256:00": "api", "oci:/images/site": "site", "oci:site:1": "site",
		"oci-archive:site.tar": "site", "docker-archive:out/site.tar:team/app:1": "app",
	} {
		if got := imageName(reference); got != want {
			t.Errorf("%s: %q, want %q", reference, got, want)
		}
	}
}

// TestImageSource is about places that a registry could be asked for by mistake.
func TestImageSource(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("site.tar", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("site", 0o700); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"site": "site", "team/site:1": "team/site:1", "docker://registry.example/site:1": "registry.example/site:1",
		"oci:site": "oci:site", "oci-archive:site.tar": "oci-archive:site.tar", "other.tar": "other.tar",
	} {
		if got, err := imageSource(given); got != want || err != nil {
			t.Errorf("%s is %q, %v", given, got, err)
		}
	}
	for given, says := range map[string]string{
		"site.tar": "oci-archive:site.tar", "./site": "oci:./site", "dir:site": "skopeo copy dir:site", "docker-daemon:site:1": "docker-archive:FILE",
	} {
		if got, err := imageSource(given); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s is %q, %v, want an error with %q", given, got, err, says)
		}
	}
}

func TestEntryHint(t *testing.T) {
	for message, says := range map[string]string{
		"fork/exec /entry.sh: no such file or directory": "interpreter", "fork/exec /app: exec format error": "processor",
		"fork/exec /app: permission denied": "chmod", "fork/exec /app: loop": "",
	} {
		if got := entryHint("Runtime.InvalidEntrypoint", message); !strings.Contains(got, says) || says == "" && got != "" {
			t.Errorf("%s: %q, want %q", message, got, says)
		}
	}
	if got := entryHint("Runtime.ExitError", "x: permission denied"); got != "" {
		t.Errorf("another failure: %q", got)
	}
}
