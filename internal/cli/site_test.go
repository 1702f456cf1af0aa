package cli

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"
)

func siteFile(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o644} }

// ask sends one request to a site; header are names and values.
func askSite(s *site, method, path string, header ...string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/", nil)
	r.URL.Path = path
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	s.ServeHTTP(w, r)
	return w
}

func TestSite(t *testing.T) {
	s := newSite(fstest.MapFS{
		"index.html": siteFile("home"), "a.css": siteFile("css"), "docs/index.html": siteFile("docs"), "img/x.png": siteFile("png"),
		".env": siteFile("secret"), ".git/config": siteFile("secret"), ".well-known/x": siteFile("known"), "404.html": siteFile("lost"),
		"about.html": siteFile("about"),
	}, "")
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 200, "home"}, {"GET", "/a.css", 200, "css"}, {"GET", "/docs/", 200, "docs"}, {"GET", "/docs", 301, ""},
		{"GET", "/img/", 404, "lost"}, {"GET", "/img/x.png", 200, "png"}, {"GET", "/nowhere", 404, "lost"}, {"HEAD", "/a.css", 200, ""},
		{"GET", "/.env", 404, "lost"}, {"GET", "/.git/config", 404, "lost"}, {"GET", "/.well-known/x", 200, "known"},
		{"GET", "/../.env", 404, "lost"}, {"POST", "/", 405, "only GET and HEAD are served here\n"},
		{"GET", "/about", 200, "about"}, {"GET", "/about.html", 200, "about"}, {"GET", "/a.css/", 404, "lost"}, {"GET", "/img", 404, "lost"},
	} {
		w := askSite(s, c.method, c.path)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, w.Code, w.Body, c.status, c.body)
		}
	}
	if to := askSite(s, "GET", "/a/../docs").Header().Get("Location"); to != "./docs/" {
		t.Errorf("a directory without its slash leads to %q", to)
	}
}

// What only the page knows is answered by it; what a page asks for is there or not.
func TestSiteOfOnePage(t *testing.T) {
	s := newSite(fstest.MapFS{"index.html": siteFile("page"), "assets/a.js": siteFile("js")}, "index.html")
	for _, c := range []struct {
		path   string
		header []string
		status int
		body   string
	}{
		{"/orders/7", nil, 200, "page"}, {"/orders/7/", nil, 200, "page"}, {"/assets/a.js", nil, 200, "js"},
		{"/orders", []string{"Sec-Fetch-Dest", "document"}, 200, "page"}, {"/orders", []string{"Sec-Fetch-Dest", "empty"}, 404, "404 page not found\n"},
		{"/assets/old.js", nil, 404, "404 page not found\n"}, {"/favicon.ico", []string{"Sec-Fetch-Dest", "image"}, 404, "404 page not found\n"},
		{"/.env", nil, 404, "404 page not found\n"}, {"/.git/x", nil, 404, "404 page not found\n"},
	} {
		w := askSite(s, "GET", c.path, c.header...)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s %v: %d %q, want %d %q", c.path, c.header, w.Code, w.Body, c.status, c.body)
		}
	}
}

// A browser that has a page asks whether it is still the same: after a deployment of
// another one it is not.
func TestSiteIsNotKeptByCaches(t *testing.T) {
	before := newSite(fstest.MapFS{"index.html": siteFile("one")}, "")
	w := askSite(before, "GET", "/")
	tag := w.Header().Get("Etag")
	if w.Header().Get("Last-Modified") != "" || w.Header().Get("Cache-Control") != "no-cache" || tag == "" {
		t.Errorf("head %v", w.Header())
	}
	if w = askSite(before, "GET", "/", "If-None-Match", tag); w.Code != http.StatusNotModified {
		t.Errorf("the same page: %d", w.Code)
	}
	after := newSite(fstest.MapFS{"index.html": siteFile("two")}, "")
	if w = askSite(after, "GET", "/", "If-None-Match", tag, "If-Modified-Since", "Tue, 01 Jan 1980 00:00:00 GMT"); w.Code != 200 || w.Body.String() != "two" {
		t.Errorf("another page: %d %q", w.Code, w.Body)
	}
	if w = askSite(after, "GET", "/", "Range", "bytes=1-1"); w.Code != http.StatusPartialContent || w.Body.String() != "w" {
		t.Errorf("a part: %d %q", w.Code, w.Body)
	}
}

// TestSiteTypes is about files whose type a host may not know, or not as a site's.
func TestSiteTypes(t *testing.T) {
	for name, want := range map[string]string{
		"app.webmanifest": "application/manifest+json", "film.webm": "video/webm", "text.otf": "font/otf", "part.ts": "video/mp2t",
		"page.html": "text/html; charset=utf-8", "a.css": "text/css; charset=utf-8",
	} {
		s := newSite(fstest.MapFS{name: siteFile("x")}, "")
		if got := askSite(s, "GET", "/"+name).Header().Get("Content-Type"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
