package project

import (
	"encoding/json"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// webPackage is what matters of the package.json of an application.
type webPackage struct {
	packageJSON
	Scripts         map[string]string `json:"scripts"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
}

// needs tells whether a package is named, for whatever.
func (p webPackage) needs(name string) bool {
	return p.Dependencies[name]+p.DevDependencies[name] != ""
}

// framework is a known one that listens; "" is none.
func (p webPackage) framework() string {
	for _, name := range []string{"express", "next", "koa", "fastify", "@hapi/hapi", "@nestjs/core", "hono", "nuxt", "restify", "polka"} {
		if p.Dependencies[name] != "" {
			return name
		}
	}
	return ""
}

// builtApp is what a tool builds that listens, and is started by a command that
// projects need not name. marker is a file that the build leaves.
type builtApp struct{ name, start, marker string }

var builtApps = []builtApp{
	{"next", "next start -p $PORT", ".next/BUILD_ID"},
	{"nuxt", "node .output/server/index.mjs", ".output/server/index.mjs"},
	{"@sveltejs/adapter-node", "node build", "build/index.js"},
	{"@astrojs/node", "HOST=0.0.0.0 node dist/server/entry.mjs", "dist/server/entry.mjs"},
}

// app is the one that the package is built by; ok is false for none.
func (p webPackage) app() (b builtApp, ok bool) {
	i := slices.IndexFunc(builtApps, func(b builtApp) bool { return p.needs(b.name) })
	if i < 0 {
		return builtApp{}, false
	}
	return builtApps[i], true
}

// development finds scripts that serve a project to who works on it, by tools that
// build it at the same time.
var development = regexp.MustCompile(`^(?:npx )?(?:next dev|next$|nuxi? dev|vite$|vite dev|vite -|astro dev|ng serve|vue-cli-service serve|react-scripts start|gatsby develop|eleventy --serve|parcel|docusaurus start|svelte-kit dev|react-router dev|remix vite:dev|webpack(?:-dev-server| serve))`)

// start is the script that starts the package where it is used; "" is none.
func (p webPackage) start() (name, line string) {
	names := []string{"start:prod", "start:production"}
	for _, script := range slices.Sorted(maps.Keys(p.Scripts)) {
		if strings.HasPrefix(script, "serve:ssr") { // Angular's
			names = append(names, script)
		}
	}
	for _, name := range append(names, "start") {
		if line := strings.TrimSpace(p.Scripts[name]); line != "" && !development.MatchString(line) {
			return name, line
		}
	}
	return "", ""
}

// appNode knows a package with a start script, or a server's file.
func appNode(tree fs.FS) (Guess, bool, error) {
	var pkg webPackage
	if text := source(tree, "package.json"); text != "" && json.Unmarshal([]byte(text), &pkg) != nil {
		return Guess{}, false, nil //nolint:nilerr // a broken package: whatever this is, it is no application of ours
	}
	if _, isFunction := guessJavaScript(tree); isFunction {
		return Guess{}, false, nil
	}
	g := Guess{Family: Node, App: &App{Env: map[string]string{"NODE_ENV": "production"}}}
	pkg.version(tree, &g)
	name, start := pkg.start()
	tool, isBuilt := pkg.app()
	switch {
	case isBuilt && (start == "" || start == "next start"):
		start, g.Because = tool.start, append(g.Because, "package.json names "+tool.name)
	case start != "":
		g.Because = append(g.Because, "package.json has the "+name+" script "+start)
	default:
		var because string
		if start, because = pkg.program(tree); start == "" {
			return Guess{}, false, pkg.unserved()
		}
		g.Because = append(g.Because, because)
	}
	g.built(tree, pkg, target(tree, start), "what it starts")
	g.Development = slices.ContainsFunc(strings.Fields(start), func(word string) bool {
		name, _, _ := strings.Cut(word, "/") // ts-node/register is of ts-node
		return pkg.DevDependencies[name] != ""
	})
	g.App.Command = Shell(start)
	return g, true, nil
}

// program starts the file of a server, where no script says how.
func (p webPackage) program(tree fs.FS) (start, because string) {
	framework := p.framework()
	for _, file := range []string{p.Main, "server.js", "app.js", "index.js", "server.mjs", "index.mjs"} {
		if file = path.Clean(file); !isFile(tree, file) || framework == "" && !webNode.MatchString(source(tree, file)) {
			continue
		}
		if framework != "" {
			return "node " + file, "package.json names " + framework
		}
		return "node " + file, file + " makes a server"
	}
	return "", ""
}

// unserved says what to do about a SvelteKit project that is not built for a server;
// nil is that it is none.
func (p webPackage) unserved() error {
	if !p.needs("@sveltejs/kit") {
		return nil
	}
	return lambent.Errorf(lambent.CodeInvalid, "SvelteKit needs an adapter that makes a server: npm install -D @sveltejs/adapter-node, and name it in svelte.config.js in place of the other one (@sveltejs/adapter-static makes a site of files)")
}

// webNode finds a program that listens without a framework.
var webNode = regexp.MustCompile(`(?:require\(|from\s*)['"](?:node:)?(?:http|http2)['"]`)

var (
	// started is a file that a start script runs.
	started = regexp.MustCompile(`\bnode\s+(?:(?:-r|--require|--import)\s+\S+\s+|-\S+\s+)*([^-\s]\S*)`)
	// output is a file where builds put what they make, whatever runs it.
	output = regexp.MustCompile(`(?:^|\s)((?:\./)?(?:build|dist|out|\.output)/\S+)`)
)

// target is a file that is there once what a start script runs has been built; "" is
// that it runs nothing that could be.
func target(tree fs.FS, start string) string {
	for _, b := range builtApps {
		if command, _, _ := strings.Cut(b.start, " -p "); strings.HasPrefix(start, command) {
			return b.marker
		}
	}
	m := started.FindStringSubmatch(start)
	if m == nil {
		m = output.FindStringSubmatch(start)
	}
	if m == nil || !fs.ValidPath(path.Clean(m[1])) {
		return ""
	}
	file := path.Clean(m[1])
	for _, name := range []string{file, file + ".js", path.Join(file, "index.js")} {
		if isFile(tree, name) {
			return name
		}
	}
	return file
}

// outputs are where builds put what they make, and nobody edits anything.
var outputs = []string{"build", "dist", "out", "public", "_site", ".next", ".output"}

// settles is how much later than its build a source has to be to count as changed:
// what was copied with its build has whatever times the copying gave it.
const settles = 2 * time.Second

// built has the package's build script run if the target, which what names, is not
// there or older than the source.
func (g *Guess) built(tree fs.FS, pkg webPackage, target, what string) {
	script := pkg.Scripts["build"]
	if script == "" || target == "" {
		return
	}
	info, err := fs.Stat(tree, target)
	top, _, _ := strings.Cut(target, "/")
	switch {
	case err != nil:
		g.Because = append(g.Because, what+" is built by "+script)
	case slices.Contains(outputs, top) && newer(tree, info.ModTime().Add(settles), func(dir string) bool {
		base := path.Base(dir)
		return dir == top || base == "node_modules" || base != "." && strings.HasPrefix(base, ".")
	}, "."):
		g.Because = append(g.Because, "its source is newer than "+target+", which is built by "+script)
	default:
		return
	}
	g.Build = BuildScript
}

// siteTools make a site of files out of a project; each has the directory in which
// its build puts the files, as a pattern.
var siteTools = []struct{ name, files string }{
	{"react-scripts", "build"},
	{"@sveltejs/adapter-static", "build"},
	{"@docusaurus/core", "build"},
	{"@angular/build", "dist/*/browser"},
	{"@angular-devkit/build-angular", "dist/*/browser"},
	{"@vue/cli-service", "dist"},
	{"astro", "dist"},
	{"gatsby", "public"},
	{"@11ty/eleventy", "_site"},
	{"parcel", "dist"},
	{"vite", "dist"},
}

// exported finds a Next.js project that is built into files.
var exported = regexp.MustCompile(`\boutput\s*:\s*['"]export['"]`)

// site is where the package's build makes a site of files, and the tool that does;
// "" is that it makes none.
func (p webPackage) site(tree fs.FS) (tool, files string) {
	if p.needs("next") && exported.MatchString(source(tree, "next.config.js")+source(tree, "next.config.mjs")+source(tree, "next.config.ts")) {
		return "next", "out"
	}
	_, isBuilt := p.app()
	if _, start := p.start(); start != "" || isBuilt || p.framework() != "" {
		return "", ""
	}
	for _, tool := range siteTools {
		switch {
		case !p.needs(tool.name):
		case tool.name == "vite" && p.needs("@sveltejs/kit"): // with another adapter
			return "", ""
		default:
			return tool.name, tool.files
		}
	}
	return "", ""
}

// appSite knows a project that is built into a site of files: what is in its
// directory is the source of the site, and not the site.
func appSite(tree fs.FS) (Guess, bool, error) {
	var pkg webPackage
	_ = json.Unmarshal([]byte(source(tree, "package.json")), &pkg) // what is broken is no application of ours
	tool, files := pkg.site(tree)
	if pkg.Scripts["build"] == "" || tool == "" {
		return Guess{}, false, nil
	}
	g := Guess{Family: Provided, Runtime: "provided.al2023", Site: files, Because: []string{"package.json names " + tool},
		App: &App{Command: []string{StaticProgram, "static", "."}}}
	target := path.Join(files, "index.html")
	if dir := SiteOf(tree, files); dir != "" {
		target = path.Join(dir, "index.html")
	}
	g.built(tree, pkg, target, "its site")
	return g, true, nil
}

// SiteOf is the directory among those that a pattern names in which a site's files
// are; "" is that there is none, or no telling which.
func SiteOf(tree fs.FS, pattern string) string {
	for _, in := range []string{path.Join(pattern, "index.html"), pattern} {
		found, _ := fs.Glob(tree, in) // the patterns are well formed
		switch {
		case len(found) == 1 && in == pattern:
			return found[0]
		case len(found) == 1:
			return path.Dir(found[0])
		}
	}
	return ""
}
