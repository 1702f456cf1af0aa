package project

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// App is what the files of a tree suggest for an HTTP application, in place of a
// handler.
type App struct {
	// Command starts it, with its port in the variable PORT; nil is the program
	// that the build makes.
	Command []string
	// Env are variables that it does better with.
	Env map[string]string
}

// DefaultPort is told to an application that was given no port.
const DefaultPort = 8080

// LookApp guesses how an application is started: by the manifest, by the web line
// of a Procfile, or by its framework. ok is false where there is no sign of one;
// what looks like a function as well is one, unless the manifest or a Procfile
// says otherwise. Errors have CodeInvalid and say what to do.
func LookApp(tree fs.FS, m Manifest) (g Guess, ok bool, err error) {
	line, because := strings.TrimSpace(m.Command), "the command is given"
	if line == "" {
		line, because = procfile(tree), "the Procfile has a web line"
	}
	if line != "" {
		g := Guess{Family: language(tree, line), Because: []string{because}, App: &App{Command: Shell(line)}}
		return g.fit(m), true, nil
	}
	if m.Handler != "" {
		return Guess{}, false, nil
	}
	for _, look := range []func(fs.FS) (Guess, bool, error){appGo, appRust, appPython, appDeno, appBun, appSite, appNode, appSpring, appRuby, appPHP, appStatic} {
		g, ok, err := look(tree)
		if ok || err != nil {
			return g.fit(m), ok, err
		}
	}
	if m.Port == 0 {
		return Guess{}, false, nil
	}
	switch {
	case isFile(tree, "bootstrap"):
		g = Guess{Family: Provided, Because: []string{"there is a program named bootstrap"}, App: &App{}}
		return g.fit(m), true, nil
	case goProgram(tree) != "":
		g = Guess{Family: Provided, Build: BuildGo, Because: []string{goProgram(tree)}, App: &App{}}
		return g.fit(m), true, nil
	case isFile(tree, "Cargo.toml"):
		g = Guess{Family: Provided, Build: BuildRust, Because: []string{"Cargo.toml makes it a Rust program"}, App: &App{}}
		return g.fit(m), true, nil
	}
	return Guess{}, false, lambent.Errorf(lambent.CodeInvalid, "cannot tell how to start the application: name it with --command, such as --command 'python3 server.py'")
}

// fit puts what is known already into the guess.
func (g Guess) fit(m Manifest) Guess {
	if g.Family == Provided {
		g.Runtime = "provided.al2023"
	}
	if m.Runtime != "" {
		g.Runtime, g.Family = m.Runtime, FamilyOf(m.Runtime)
	}
	return g
}

// Shell makes a command line a list of arguments. What is more than words is left
// to a shell, which the program then replaces, so that signals reach it.
func Shell(line string) []string {
	line = strings.TrimSpace(line)
	words := strings.Fields(line)
	switch {
	case !strings.ContainsAny(line, "$`\"'\\;&|<>(){}*?[]~#=\n"):
		return words
	case strings.ContainsAny(line, ";&|\n") || strings.Contains(words[0], "="):
		return []string{"/bin/sh", "-c", line}
	}
	return []string{"/bin/sh", "-c", "exec " + line}
}

// procfile is the web line of a Procfile.
func procfile(tree fs.FS) string {
	for line := range strings.Lines(source(tree, "Procfile")) {
		if command, ok := strings.CutPrefix(line, "web:"); ok {
			return strings.TrimSpace(command)
		}
	}
	return ""
}

// language is the family whose interpreter a command needs: that of its program,
// else that of the files.
func language(tree fs.FS, line string) string {
	program := path.Base(strings.Fields(line)[0])
	for prefix, family := range map[string]string{
		"python": Python, "gunicorn": Python, "uvicorn": Python, "flask": Python, "hypercorn": Python, "daphne": Python, "waitress": Python,
		"node": Node, "npm": Node, "npx": Node, "next": Node, "java": Java, "php": PHP, "ruby": Ruby, "bundle": Ruby, "puma": Ruby, "rackup": Ruby, "rails": Ruby,
		"deno": Deno, "bun": Bun,
	} {
		if strings.HasPrefix(program, prefix) {
			return family
		}
	}
	for _, sign := range [][2]string{{"requirements.txt", Python}, {"composer.json", PHP}, {"Gemfile", Ruby}, {"package.json", Node}, {"index.php", PHP}} {
		if isFile(tree, sign[0]) {
			return sign[1]
		}
	}
	return Provided
}

// webGo finds a Go program that listens.
var webGo = regexp.MustCompile(`\b(?:http\.(?:ListenAndServe|Server\{|Serve\()|grpc\.NewServer\(|net\.Listen\(|fasthttp\.ListenAndServe)|"github\.com/(?:gin-gonic/gin|labstack/echo|gofiber/fiber|go-chi/chi|gorilla/mux)`)

func appGo(tree fs.FS) (Guess, bool, error) {
	because := goProgram(tree)
	if because == "" || strings.Contains(source(tree, "go.mod"), lambdaGo) {
		return Guess{}, false, nil
	}
	files := goFiles(tree)
	top := slices.ContainsFunc(files, func(file string) bool { return goMain.MatchString(source(tree, file)) })
	if commands, _ := fs.Glob(tree, "cmd/*/main.go"); top || len(commands) == 1 { // the pattern is well formed
		files = append(files, goBelow(tree)...)
	}
	for _, file := range files {
		text := source(tree, file)
		if strings.Contains(text, lambdaGo) {
			return Guess{}, false, nil
		}
		if m := webGo.FindString(text); m != "" {
			return Guess{Family: Provided, Runtime: "provided.al2023", Build: BuildGo, App: &App{},
				Because: []string{because, file + " has " + strings.Trim(m, `"({`)}}, true, nil
		}
	}
	return Guess{}, false, nil
}

// maxGoSearch bounds how many files of a module are looked at.
const maxGoSearch = 2000

// goBelow are the files of a module's own packages below the top, but for tests.
func goBelow(tree fs.FS) (files []string) {
	_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error { // what cannot be read has no server
		base := path.Base(name)
		switch {
		case err != nil || len(files) == maxGoSearch:
			return fs.SkipAll
		case name == "." || !d.IsDir() && path.Dir(name) == ".":
		case d.IsDir() && (strings.HasPrefix(base, ".") || slices.Contains([]string{"vendor", "testdata", "node_modules"}, base)):
			return fs.SkipDir
		case !d.IsDir() && path.Ext(base) == ".go" && !strings.HasSuffix(base, "_test.go"):
			files = append(files, name)
		}
		return nil
	})
	return files
}

// webRust finds the crates of programs that listen; webRustNot those of functions.
var (
	webRust    = regexp.MustCompile(`(?m)^(?:axum|actix-web|rocket|warp|poem|salvo|tide|tonic|hyper)\b`)
	webRustNot = regexp.MustCompile(`(?m)^(?:lambda_runtime|lambda_http)\b`)
)

func appRust(tree fs.FS) (Guess, bool, error) {
	manifest := source(tree, "Cargo.toml")
	crate := webRust.FindString(manifest)
	if crate == "" || webRustNot.MatchString(manifest) {
		return Guess{}, false, nil
	}
	return Guess{Family: Provided, Runtime: "provided.al2023", Build: BuildRust, App: &App{},
		Because: []string{"Cargo.toml makes it a Rust program and names " + crate}}, true, nil
}

var (
	pythonApp  = regexp.MustCompile(`(?m)^(\w+)[ \t]*(?::[^=\n]*)?=[ \t]*(?:\w+\.)?(Flask|FastAPI|Starlette|Quart|Litestar|create_app)\(`)
	pythonRoot = []string{"app.py", "main.py", "wsgi.py", "asgi.py", "server.py", "application.py",
		"app/main.py", "app/app.py", "src/main.py", "src/app.py", "api/main.py"}
)

// appPython knows Flask, FastAPI and what is built like them, and Django.
func appPython(tree fs.FS) (Guess, bool, error) {
	needs := strings.ToLower(source(tree, "requirements.txt") + "\n" + source(tree, "pyproject.toml"))
	g := Guess{Family: Python, App: &App{}}
	if isFile(tree, "manage.py") && strings.Contains(source(tree, "manage.py"), "django") {
		return appDjango(tree, g, needs)
	}
	for _, file := range slices.Concat(pythonRoot, others(tree, ".py", pythonRoot)) {
		text := source(tree, file)
		m := pythonApp.FindStringSubmatch(text)
		if m == nil || pythonHandler.MatchString(text) {
			continue
		}
		name := strings.ReplaceAll(strings.TrimSuffix(file, ".py"), "/", ".") + ":" + m[1]
		g.Because = append(g.Because, file+" has "+m[1]+" = "+m[2]+"(...)")
		async := m[2] != "Flask" && m[2] != "create_app"
		command, err := pythonServer(needs, name, async)
		g.App.Command = command
		g.pythonVersion(tree)
		return g, err == nil, err
	}
	return pythonProgram(tree, g)
}

var (
	// pythonServes finds a program that listens by itself.
	pythonServes = regexp.MustCompile(`(?m)\b(?:run_app|uvicorn\.run|(?:HTTP|TCP)Server|make_server|grpc(?:\.aio)?\.server|waitress\.serve|serve_forever|cherrypy\.quickstart)\(|^(?:from|import)[ \t]+(?:bottle|sanic|tornado)\b`)
	// pythonEvents finds a function with a name that nobody guesses.
	pythonEvents = regexp.MustCompile(`(?m)^(?:async[ \t]+)?def[ \t]+\w+\([ \t]*_?event\b`)
)

// pythonProgram knows a program that is its own server.
func pythonProgram(tree fs.FS, g Guess) (Guess, bool, error) {
	for _, file := range slices.Concat(pythonRoot, others(tree, ".py", pythonRoot)) {
		text := source(tree, file)
		sign := pythonServes.FindString(text)
		if sign == "" || pythonHandler.MatchString(text) || pythonEvents.MatchString(text) {
			continue
		}
		g.Because = append(g.Because, file+" has "+strings.Trim(sign, "("))
		g.App.Command = []string{"python3", file}
		g.pythonVersion(tree)
		return g, true, nil
	}
	return Guess{}, false, nil
}

// pythonServer is the command of the server that the requirements name.
func pythonServer(needs, name string, async bool) ([]string, error) {
	switch {
	case async && strings.Contains(needs, "uvicorn"), async && strings.Contains(needs, "fastapi[standard]"):
		return Shell("python3 -m uvicorn " + name + " --host 0.0.0.0 --port $PORT"), nil
	case async && strings.Contains(needs, "hypercorn"):
		return Shell("python3 -m hypercorn --bind 0.0.0.0:$PORT " + name), nil
	case async:
		return nil, lambent.Errorf(lambent.CodeInvalid, "%s needs a server: add uvicorn to requirements.txt, or name one with --command", name)
	case strings.Contains(needs, "gunicorn"):
		return Shell("python3 -m gunicorn --bind 0.0.0.0:$PORT --workers 1 --threads 16 --worker-tmp-dir /dev/shm " + name), nil
	case strings.Contains(needs, "waitress"):
		return Shell("python3 -m waitress --listen=0.0.0.0:$PORT " + name), nil
	}
	return Shell("python3 -m flask --app " + name + " run --host 0.0.0.0 --port $PORT"), nil
}

func appDjango(tree fs.FS, g Guess, needs string) (Guess, bool, error) {
	g.Because = append(g.Because, "manage.py is Django's")
	g.pythonVersion(tree)
	sites, _ := fs.Glob(tree, "*/wsgi.py") // the pattern is well formed
	switch {
	case strings.Contains(needs, "gunicorn") && len(sites) > 0:
		g.App.Command = Shell("python3 -m gunicorn --bind 0.0.0.0:$PORT --workers 1 --threads 16 --worker-tmp-dir /dev/shm " + path.Dir(sites[0]) + ".wsgi")
	default:
		g.App.Command = Shell("python3 manage.py runserver --noreload 0.0.0.0:$PORT")
	}
	return g, true, nil
}

// appSpring knows a Spring Boot archive, unpacked as all code is.
func appSpring(tree fs.FS) (Guess, bool, error) {
	if !strings.Contains(source(tree, "pom.xml"), "spring-boot") && builtJar(tree) == "" && !isFile(tree, "META-INF/MANIFEST.MF") {
		return Guess{}, false, nil
	}
	g, ok, err := guessJava(tree, Java)
	if !ok || err != nil || g.Handler != "" {
		return Guess{}, false, err
	}
	if g.Build == BuildMaven {
		if !strings.Contains(source(tree, "pom.xml"), "spring-boot-maven-plugin") {
			return Guess{}, false, nil
		}
		g.Because = append(g.Because, "pom.xml makes a Spring Boot application")
		g.App = &App{}
		return g, true, nil
	}
	main := MainClass(tree, g.Jar)
	if !strings.HasPrefix(main, "org.springframework.boot.loader.") {
		return Guess{}, false, nil
	}
	g.Because = append(g.Because, "it is a Spring Boot archive")
	g.App = &App{Command: SpringCommand(main)}
	return g, true, nil
}

// SpringCommand starts an unpacked Spring Boot archive. A JVM takes its heap's size
// from the memory of the host, and has to be told what there is of it.
func SpringCommand(main string) []string {
	return Shell("java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:MaxRAM=${AWS_LAMBDA_FUNCTION_MEMORY_SIZE}m " +
		"-XX:MaxRAMPercentage=60 -XX:InitialRAMPercentage=25 -cp /var/task " + main + " --server.port=$PORT")
}

var phpFunction = regexp.MustCompile(`(?m)^\s*(?:function\s+handler\s*\(|return\s+(?:static\s+)?(?:function|fn)\b)`)

// appPHP knows a site in PHP, for the server that PHP has.
func appPHP(tree fs.FS) (Guess, bool, error) {
	for _, root := range []string{".", "public"} {
		index := path.Join(root, "index.php")
		if !isFile(tree, index) || phpFunction.MatchString(source(tree, index)) {
			continue
		}
		return Guess{Family: PHP, Because: []string{"there is " + index},
			App: &App{Command: Shell("php -S 0.0.0.0:$PORT -t " + root + " /var/runtime/router.php"), Env: map[string]string{"PHP_CLI_SERVER_WORKERS": "4"}}}, true, nil
	}
	return Guess{}, false, nil
}

// appStatic knows a site of files.
func appStatic(tree fs.FS) (Guess, bool, error) {
	for _, root := range []string{".", "public", "dist", "build", "_site"} {
		if !isFile(tree, path.Join(root, "index.html")) {
			continue
		}
		site, err := fs.Sub(tree, root)
		if err != nil {
			return Guess{}, false, err
		}
		g := Guess{Family: Provided, Runtime: "provided.al2023", Because: []string{"there is " + path.Join(root, "index.html")}}
		g.serve(site, root)
		return g, true, nil
	}
	return Guess{}, false, nil
}
