package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// writingApp counts its requests in a file that is deployed with it, and keeps uploads in a
// directory that is deployed empty.
const writingApp = `import http.server, os, pathlib
here = pathlib.Path(__file__).parent
class Writer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            count = int((here / "data/count").read_text()) + 1
            (here / "data/count").write_text(str(count))
            (here / "uploads" / str(count)).write_text("kept")
            (here / "new.sqlite3").touch()
            os.unlink(here / "data/old") if count == 1 else None
            text = "%d of %d, %s" % (count, len(os.listdir(here / "uploads")), os.path.exists(here / "data/old"))
        except OSError as error:
            text = str(error)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Writer).serve_forever()
`

// TestApplicationWritesBesideItsCode has an application write where it was deployed to:
// it finds its changes again, and no other instance does.
func TestApplicationWritesBesideItsCode(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"server.py": writingApp, "data/count": "0", "data/old": "x"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "uploads"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{})
	app := publish(t, s, "writer", dir)
	c := &http.Client{Timeout: 30 * time.Second}
	want := func(what, text string) {
		t.Helper()
		if got := ask(t, c, newRequest(t, "GET", app+"/", "")); got.body != text {
			t.Errorf("%s it answers %q, want %q", what, got.body, text)
		}
	}
	// After a deploy the first page is asked for once.
	want("first", "2 of 2, False")
	want("then", "3 of 3, False")
	if _, errs, err := s.CLI("", "deploy", dir, "--name", "writer", "--env", "NEW=1"); err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	want("in another instance", "2 of 2, False")
}
