package cli

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"
)

func TestStaticHandler(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	h := staticHandler(fstest.MapFS{
		"index.html": file("home"), "a.css": file("css"), "docs/index.html": file("docs"), "img/x.png": file("png"),
		".env": file("secret"), ".git/config": file("secret"), ".well-known/x": file("known"), "404.html": file("lost"),
	})
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 200, "home"}, {"GET", "/a.css", 200, "css"}, {"GET", "/docs/", 200, "docs"}, {"GET", "/docs", 301, ""},
		{"GET", "/img/", 404, "lost"}, {"GET", "/img/x.png", 200, "png"}, {"GET", "/nowhere", 404, "lost"}, {"HEAD", "/a.css", 200, ""},
		{"GET", "/.env", 404, "lost"}, {"GET", "/.git/config", 404, "lost"}, {"GET", "/.well-known/x", 200, "known"},
		{"GET", "/../.env", 404, "lost"}, {"POST", "/", 405, "only GET and HEAD are served here\n"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(c.method, "/", nil)
		r.URL.Path = c.path
		h.ServeHTTP(w, r)
		if w.Code != c.status || w.Body.String() != c.body && c.status != http.StatusMovedPermanently {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, w.Code, w.Body, c.status, c.body)
		}
	}
}
