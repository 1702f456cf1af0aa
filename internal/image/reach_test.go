package image_test

import (
	"net"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

// TestUnreachable: who deploys an image learns which registry could not be reached.
func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = open(t).Resolve(t.Context(), nobody+"/a/b:1", arch)
	want := "The source image " + nobody + "/a/b:1 cannot be read. The registry " + nobody + " refuses connections."
	if lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}
