package cli

import "testing"

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
