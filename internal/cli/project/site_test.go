package project

import (
	"strings"
	"testing"
	"testing/fstest"
)

// What a page is told by is what tools write and what people do.
func TestServe(t *testing.T) {
	const vite = `<!doctype html><html lang="en"><head><meta charset="UTF-8" /><title>Vite + React</title>
<script type="module" crossorigin src="/assets/index-DdG2k1.js"></script></head>
<body><div id="root"></div></body></html>`
	const react = `<!doctype html><html><head><title>React App</title><script defer="defer" src="/static/js/main.1f.js"></script></head>` +
		`<body><noscript>You need to enable JavaScript to run this app, which is a long sentence of a page that has none of its own.</noscript><div id="root"></div></body></html>`
	for name, c := range map[string]struct {
		files   map[string]string
		command string
	}{
		"vite":             {map[string]string{"index.html": vite}, "lambent static --fallback index.html ."},
		"react":            {map[string]string{"index.html": react}, "lambent static --fallback index.html ."},
		"angular":          {map[string]string{"index.html": `<body><app-root>Loading ...</app-root><script src="main.js" type="module"></script></body>`}, "lambent static --fallback index.html ."},
		"a page for it":    {map[string]string{"index.html": "<h1>Home</h1>", "200.html": vite, "404.html": ""}, "lambent static --fallback 200.html ."},
		"says what is not": {map[string]string{"index.html": vite, "404.html": "lost"}, "lambent static ."},
		"text":             {map[string]string{"index.html": "<body><p>" + strings.Repeat("Words. ", 40) + `</p><script src="count.js"></script></body>`}, "lambent static ."},
		"links":            {map[string]string{"index.html": `<body><a href="/about.html">About</a><script src="x.js"></script></body>`}, "lambent static ."},
		"no script":        {map[string]string{"index.html": "<p>Hello"}, "lambent static ."},
		"frames":           {map[string]string{"index.html": `<body><img src="under-construction.gif"></body>`}, "lambent static ."},
	} {
		tree := fstest.MapFS{}
		for file, text := range c.files {
			tree[file] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		}
		var g Guess
		g.Serve(tree)
		if got := strings.Join(g.App.Command, " "); got != c.command || (len(g.Because) > 0) != strings.Contains(got, "--fallback") {
			t.Errorf("%s: %s because %q, want %s", name, got, g.Because, c.command)
		}
	}
}
