package project

import (
	"encoding/json"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// serverFiles are where a program that listens is looked for first, without their
// extension.
var serverFiles = []string{"main", "server", "index", "app", "mod", "src/main", "src/server", "src/index", "src/app"}

// server is the first of the usual files in which sign is found; "" is none.
func server(tree fs.FS, sign *regexp.Regexp) (file string) {
	for _, stem := range serverFiles {
		for _, ext := range []string{".ts", ".tsx", ".js", ".mjs"} {
			if sign.MatchString(source(tree, stem+ext)) {
				return stem + ext
			}
		}
	}
	return ""
}

var (
	webDeno  = regexp.MustCompile(`\bDeno\.serve\(`)
	webBun   = regexp.MustCompile(`\bBun\.serve\(`)
	webFetch = regexp.MustCompile(`(?m)^export default\b`)
)

// denoConfig is what matters of a deno.json.
type denoConfig struct {
	Tasks map[string]json.RawMessage `json:"tasks"`
}

// appDeno knows the start task of a deno.json, a program that serves, and one whose
// default export "deno serve" does.
func appDeno(tree fs.FS) (Guess, bool, error) {
	config := source(tree, "deno.json") + source(tree, "deno.jsonc")
	if _, isFunction, err := guessNode(tree, Deno); isFunction || err != nil {
		return Guess{}, false, nil //nolint:nilerr // a function that cannot be guessed is reported as one
	}
	var deno denoConfig
	_ = json.Unmarshal([]byte(config), &deno) // one with comments is used for its being there
	var start string
	_ = json.Unmarshal(deno.Tasks["start"], &start) // of the other form of a task nothing is known
	g := Guess{Family: Deno, App: &App{}}
	file := server(tree, webDeno)
	exported := server(tree, webFetch)
	switch {
	case config != "" && start != "":
		g.Because = []string{"deno.json has the start task " + start}
	case file != "":
		start, g.Because = "deno run -A "+file, []string{file + " has Deno.serve"}
	case config != "" && exported != "":
		start, g.Because = "deno serve -A "+exported, []string{exported + " exports what deno serves"}
	default:
		return Guess{}, false, nil
	}
	// Deno's server listens on a port of its own choice but for this variable.
	line := Shell(start)
	text := "exec " + start
	if line[0] == "/bin/sh" {
		text = line[2]
	}
	g.App.Command = []string{"/bin/sh", "-c", "export DENO_SERVE_ADDRESS=tcp:0.0.0.0:$PORT; " + text}
	return g, true, nil
}

// appBun knows a start script that runs Bun, and a program that serves; Bun takes the
// port from PORT.
func appBun(tree fs.FS) (Guess, bool, error) {
	var pkg webPackage
	_ = json.Unmarshal([]byte(source(tree, "package.json")), &pkg) // what is broken is no application of ours
	if _, isFunction, err := guessNode(tree, Bun); isFunction || err != nil {
		return Guess{}, false, nil //nolint:nilerr // as above
	}
	g := Guess{Family: Bun, App: &App{Env: map[string]string{"NODE_ENV": "production"}}}
	start := pkg.Scripts["start"]
	if words := strings.Fields(start); len(words) > 0 && words[0] == "bun" {
		g.Because = []string{"package.json has the start script " + start}
		g.App.Command = Shell(start)
		return g, true, nil
	}
	file := server(tree, webBun)
	if start != "" || file == "" {
		return Guess{}, false, nil
	}
	g.Because = []string{file + " has Bun.serve"}
	g.App.Command = []string{"bun", "run", file}
	return g, true, nil
}

// webRuby finds a program of Sinatra's.
var webRuby = regexp.MustCompile(`(?m)^[ \t]*require[ \t(]*['"]sinatra(?:/base)?['"]`)

// appRuby knows what Rack runs, Rails too, and a program of Sinatra's.
func appRuby(tree fs.FS) (Guess, bool, error) {
	g := Guess{Family: Ruby, App: &App{Env: map[string]string{"RACK_ENV": "production", "RAILS_ENV": "production", "RAILS_LOG_TO_STDOUT": "1"}}}
	gems, with := source(tree, "Gemfile"), ""
	if gems != "" {
		with = "bundle exec "
	}
	if isFile(tree, "config.ru") {
		g.Because = []string{"there is config.ru"}
		g.App.Command = Shell(with + "rackup --host 0.0.0.0 --port $PORT")
		if strings.Contains(gems, "puma") || strings.Contains(gems, "rails") {
			g.App.Command = Shell(with + "puma -b tcp://0.0.0.0:$PORT")
		}
		return g, true, nil
	}
	for _, file := range slices.Concat(rubyScript.files, others(tree, ".rb", rubyScript.files)) {
		text := source(tree, file)
		if !webRuby.MatchString(text) || rubyScript.handler.MatchString(text) {
			continue
		}
		g.Because = []string{file + " requires sinatra"}
		g.App.Command = Shell(with + "ruby " + file + " -o 0.0.0.0 -p $PORT")
		return g, true, nil
	}
	return Guess{}, false, nil
}
