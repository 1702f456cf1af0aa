package project

import (
	"io/fs"
	"regexp"
	"strings"
)

// StaticProgram is this program, which every sandbox of an application has and
// which serves files too.
const StaticProgram = "lambent"

// Serve has the guess serve the files of a site, which are those of the deployed code.
func (g *Guess) Serve(site fs.FS) { g.serve(site, ".") }

// serve has the guess serve the files of a site, which are below root when it runs. A
// site that is one page with paths of its own gets that page for paths without a file:
// 200.html, as several tools name it, or an index.html that has nothing but scripts,
// unless 404.html says what to answer.
func (g *Guess) serve(site fs.FS, root string) {
	var page string
	switch {
	case isFile(site, "200.html"):
		page = "200.html"
	case !isFile(site, "404.html") && drawn(source(site, "index.html")):
		page = "index.html"
	default:
		g.App = &App{Command: []string{StaticProgram, "static", root}}
		return
	}
	g.App = &App{Command: []string{StaticProgram, "static", "--fallback", page, root}}
	g.Because = append(g.Because, page+" answers for paths without a file")
}

var (
	scripted   = regexp.MustCompile(`(?is)<script\b[^>]*\bsrc\s*=`)
	pageHead   = regexp.MustCompile(`(?is)^.*<body\b[^>]*>|^.*</head>`)
	notShown   = regexp.MustCompile(`(?is)<!--.*?-->|<script\b.*?</script>|<style\b.*?</style>|<noscript\b.*?</noscript>`)
	markup     = regexp.MustCompile(`(?s)<[^>]*>`)
	splashText = 200 // bytes; "Loading ..." is no content
)

// drawn tells whether a page is made by its scripts: it has some, and no text itself.
func drawn(html string) bool {
	if !scripted.MatchString(html) {
		return false
	}
	body := notShown.ReplaceAllString(pageHead.ReplaceAllString(html, ""), "")
	text := strings.Join(strings.Fields(markup.ReplaceAllString(body, " ")), " ")
	return len(text) <= splashText && !strings.Contains(body, "<a ")
}
