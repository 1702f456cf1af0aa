package project

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestLookApp(t *testing.T) {
	const (
		flask   = "from flask import Flask\napp = Flask(__name__)\n"
		fastAPI = "import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI(title='x')\n"
		gin     = "package main\nimport \"github.com/gin-gonic/gin\"\n"
	)
	for name, c := range map[string]struct {
		files    map[string]string
		manifest Manifest
		family   string
		build    Build
		command  string // "-" for no application, "" for the program bootstrap
	}{
		"flask":             {map[string]string{"app.py": flask, "requirements.txt": "flask"}, Manifest{}, Python, "", "exec python3 -m flask --app app:app run --host 0.0.0.0 --port $PORT"},
		"flask, gunicorn":   {map[string]string{"main.py": flask, "requirements.txt": "Flask\ngunicorn==23"}, Manifest{}, Python, "", "exec python3 -m gunicorn --bind 0.0.0.0:$PORT --workers 1 --threads 16 --worker-tmp-dir /dev/shm main:app"},
		"fastapi, uvicorn":  {map[string]string{"api.py": fastAPI, "requirements.txt": "fastapi\nuvicorn"}, Manifest{}, Python, "", "exec python3 -m uvicorn api:api --host 0.0.0.0 --port $PORT"},
		"django":            {map[string]string{"manage.py": "import django", "site/wsgi.py": "", "requirements.txt": "django"}, Manifest{}, Python, "", "exec python3 manage.py runserver --noreload 0.0.0.0:$PORT"},
		"django, gunicorn":  {map[string]string{"manage.py": "import django", "site/wsgi.py": "", "requirements.txt": "django gunicorn"}, Manifest{}, Python, "", "exec python3 -m gunicorn --bind 0.0.0.0:$PORT --workers 1 --threads 16 --worker-tmp-dir /dev/shm site.wsgi"},
		"function in flask": {map[string]string{"app.py": flask + "def handler(event, context): pass\n"}, Manifest{}, "", "", "-"},
		"express":           {map[string]string{"package.json": `{"scripts":{"start":"node server.js"},"dependencies":{"express":"5"}}`, "server.js": ""}, Manifest{}, Node, "", "node server.js"},
		"no start script":   {map[string]string{"package.json": `{"dependencies":{"koa":"3"}}`, "app.js": ""}, Manifest{}, Node, "", "node app.js"},
		"next":              {map[string]string{"package.json": `{"scripts":{"start":"next start"},"dependencies":{"next":"16"}}`}, Manifest{}, Node, "", "exec next start -p $PORT"},
		"function in node":  {map[string]string{"package.json": `{"scripts":{"start":"node index.js"}}`, "index.js": "exports.handler = async () => 1"}, Manifest{}, "", "", "-"},
		"fastapi in app":    {map[string]string{"app/main.py": fastAPI, "app/__init__.py": "", "requirements.txt": "fastapi\nuvicorn"}, Manifest{}, Python, "", "exec python3 -m uvicorn app.main:api --host 0.0.0.0 --port $PORT"},
		"typescript":        {map[string]string{"package.json": `{"scripts":{"build":"tsc","start":"node dist/server.js"}}`, "src/server.ts": ""}, Manifest{}, Node, BuildScript, "node dist/server.js"},
		"built already":     {map[string]string{"package.json": `{"scripts":{"build":"tsc","start":"node --enable-source-maps dist/server"}}`, "dist/server.js": ""}, Manifest{}, Node, "", "node --enable-source-maps dist/server"},
		"next, to build":    {map[string]string{"package.json": `{"scripts":{"build":"next build"},"dependencies":{"next":"16"}}`}, Manifest{}, Node, BuildScript, "exec next start -p $PORT"},
		"next, exported":    {map[string]string{"next.config.mjs": "export default { output: 'export' }", "package.json": `{"scripts":{"build":"next build","start":"next start"},"dependencies":{"next":"16"}}`}, Manifest{}, Provided, BuildScript, "lambent static ."},
		"next, developed":   {map[string]string{"package.json": `{"scripts":{"build":"next build","start":"next dev"},"dependencies":{"next":"16"}}`}, Manifest{}, Node, BuildScript, "exec next start -p $PORT"},
		"nuxt":              {map[string]string{"package.json": `{"scripts":{"build":"nuxt build","dev":"nuxt dev"},"dependencies":{"nuxt":"4"}}`}, Manifest{}, Node, BuildScript, "node .output/server/index.mjs"},
		"svelte":            {map[string]string{"package.json": `{"scripts":{"build":"vite build"},"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-node":"5","vite":"6"}}`}, Manifest{}, Node, BuildScript, "node build"},
		"svelte, built":     {map[string]string{"build/index.js": "", "package.json": `{"scripts":{"build":"vite build"},"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-node":"5","vite":"6"}}`}, Manifest{}, Node, "", "node build"},
		"svelte, a site":    {map[string]string{"package.json": `{"scripts":{"build":"vite build"},"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-static":"3","vite":"6"}}`}, Manifest{}, Provided, BuildScript, "lambent static ."},
		"astro, a server":   {map[string]string{"package.json": `{"scripts":{"build":"astro build","start":"astro dev"},"dependencies":{"astro":"5","@astrojs/node":"9"}}`}, Manifest{}, Node, BuildScript, "HOST=0.0.0.0 node dist/server/entry.mjs"},
		"astro":             {map[string]string{"package.json": `{"scripts":{"build":"astro build"},"dependencies":{"astro":"5"}}`}, Manifest{}, Provided, BuildScript, "lambent static ."},
		"angular":           {map[string]string{"package.json": `{"scripts":{"build":"ng build","start":"ng serve"},"dependencies":{"@angular/core":"20"},"devDependencies":{"@angular/build":"20"}}`}, Manifest{}, Provided, BuildScript, "lambent static ."},
		"angular, a server": {map[string]string{"package.json": `{"scripts":{"build":"ng build","start":"ng serve","serve:ssr:shop":"node dist/shop/server/server.mjs"},"devDependencies":{"@angular/build":"20"}}`}, Manifest{}, Node, BuildScript, "node dist/shop/server/server.mjs"},
		"nest":              {map[string]string{"package.json": `{"scripts":{"build":"nest build","start":"nest start","start:prod":"node dist/main"},"dependencies":{"@nestjs/core":"11"}}`}, Manifest{}, Node, BuildScript, "node dist/main"},
		"react-router":      {map[string]string{"package.json": `{"scripts":{"build":"react-router build","start":"react-router-serve ./build/server/index.js"},"devDependencies":{"vite":"7"}}`}, Manifest{}, Node, BuildScript, "react-router-serve ./build/server/index.js"},
		"preloads":          {map[string]string{"dist/main.js": "", "package.json": `{"scripts":{"build":"tsc","start":"node -r dotenv/config --enable-source-maps dist/main"}}`}, Manifest{}, Node, "", "node -r dotenv/config --enable-source-maps dist/main"},
		"node alone":        {map[string]string{"server.js": "const http = require('http')\nhttp.createServer().listen(process.env.PORT)"}, Manifest{}, Node, "", "node server.js"},
		"page with scripts": {map[string]string{"index.html": "<p>", "app.js": "router.listen()"}, Manifest{}, Provided, "", "lambent static ."},
		"axum":              {map[string]string{"Cargo.toml": "[dependencies]\naxum = \"0.8\"\n"}, Manifest{}, Provided, BuildRust, ""},
		"function in Rust":  {map[string]string{"Cargo.toml": "[dependencies]\naxum = \"0.8\"\nlambda_http = \"1\"\n"}, Manifest{}, "", "", "-"},
		"rust with a port":  {map[string]string{"Cargo.toml": "[dependencies]\n"}, Manifest{Port: 80}, Provided, BuildRust, ""},
		"gin":               {map[string]string{"go.mod": "module x", "main.go": gin}, Manifest{}, Provided, BuildGo, ""},
		"net/http":          {map[string]string{"go.mod": "module x", "web.go": "package main\nfunc main() { http.ListenAndServe(\":1\", nil) }"}, Manifest{}, Provided, BuildGo, ""},
		"Go below cmd":      {map[string]string{"go.mod": "module x", "cmd/web/main.go": gin}, Manifest{}, Provided, BuildGo, ""},
		"two below cmd":     {map[string]string{"go.mod": "module x", "cmd/web/main.go": gin, "cmd/job/main.go": "package main"}, Manifest{}, "", "", "-"},
		"Go, server below":  {map[string]string{"go.mod": "module x", "cmd/api/main.go": "package main", "internal/web/web.go": "package web\nvar _ = http.ListenAndServe(1, 2)"}, Manifest{}, Provided, BuildGo, ""},
		"Go, main on top":   {map[string]string{"go.mod": "module x", "main.go": "package main", "web/web.go": "package web\nvar s = http.Server{}"}, Manifest{}, Provided, BuildGo, ""},
		"Go, not its own":   {map[string]string{"go.mod": "module x", "main.go": "package main", "main_test.go": "http.Serve(1)", "vendor/web/web.go": "package web\nvar s = http.Server{}"}, Manifest{}, "", "", "-"},
		"function below":    {map[string]string{"main.go": "package main", "web/web.go": "package web\nimport _ \"github.com/aws/aws-lambda-go/lambda\"\nvar s = http.Server{}"}, Manifest{}, "", "", "-"},
		"gRPC":              {map[string]string{"go.mod": "module x", "main.go": "package main\nvar s = grpc.NewServer()"}, Manifest{}, Provided, BuildGo, ""},
		"tonic":             {map[string]string{"Cargo.toml": "[dependencies]\ntonic = \"0.14\"\n"}, Manifest{}, Provided, BuildRust, ""},
		"aiohttp":           {map[string]string{"main.py": "from aiohttp import web\napp = web.Application()\nweb.run_app(app)"}, Manifest{}, Python, "", "python3 main.py"},
		"bottle":            {map[string]string{"shop.py": "from bottle import route, run\nrun(port=8080)"}, Manifest{}, Python, "", "python3 shop.py"},
		"python alone":      {map[string]string{"server.py": "import http.server as h\nh.ThreadingHTTPServer(('', 1), None).serve_forever()"}, Manifest{}, Python, "", "python3 server.py"},
		"function, client":  {map[string]string{"app.py": "import tornado\ndef index(event, context): pass"}, Manifest{}, "", "", "-"},
		"Go in a module":    {map[string]string{"main.go": gin}, Manifest{}, Provided, BuildGo, ""},
		"function in it":    {map[string]string{"main.go": gin + "import \"github.com/aws/aws-lambda-go/lambda\"\n"}, Manifest{}, "", "", "-"},
		"function in Go":    {map[string]string{"go.mod": "module x\nrequire github.com/aws/aws-lambda-go v1", "main.go": gin}, Manifest{}, "", "", "-"},
		"go with a port":    {map[string]string{"go.mod": "module x", "main.go": "package main"}, Manifest{Port: 80}, Provided, BuildGo, ""},
		"spring":            {map[string]string{"META-INF/MANIFEST.MF": "Main-Class: org.springframework.boot.loader.launch.JarLauncher\n"}, Manifest{}, Java, "", "exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:MaxRAM=${AWS_LAMBDA_FUNCTION_MEMORY_SIZE}m -XX:MaxRAMPercentage=60 -XX:InitialRAMPercentage=25 -cp /var/task org.springframework.boot.loader.launch.JarLauncher --server.port=$PORT"},
		"any jar":           {map[string]string{"META-INF/MANIFEST.MF": "Main-Class: x.Main\n"}, Manifest{}, "", "", "-"},
		"php":               {map[string]string{"index.php": "<?php echo 1;"}, Manifest{}, PHP, "", "exec php -S 0.0.0.0:$PORT -t . /var/runtime/router.php"},
		"php, public":       {map[string]string{"public/index.php": "<?php echo 1;"}, Manifest{}, PHP, "", "exec php -S 0.0.0.0:$PORT -t public /var/runtime/router.php"},
		"site":              {map[string]string{"index.html": "<p>"}, Manifest{}, Provided, "", "lambent static ."},
		"site, built":       {map[string]string{"dist/index.html": "<p>"}, Manifest{}, Provided, "", "lambent static dist"},
		"deno":              {map[string]string{"main.ts": "Deno.serve(() => new Response('x'))"}, Manifest{}, Deno, "", "export DENO_SERVE_ADDRESS=tcp:0.0.0.0:$PORT; exec deno run -A main.ts"},
		"deno, task":        {map[string]string{"deno.json": `{"tasks":{"start":"deno run -A web.ts"}}`}, Manifest{}, Deno, "", "export DENO_SERVE_ADDRESS=tcp:0.0.0.0:$PORT; exec deno run -A web.ts"},
		"deno serve":        {map[string]string{"deno.jsonc": "{} // none", "server.ts": "export default { fetch() { return new Response('x') } }"}, Manifest{}, Deno, "", "export DENO_SERVE_ADDRESS=tcp:0.0.0.0:$PORT; exec deno serve -A server.ts"},
		"function in deno":  {map[string]string{"deno.json": `{"tasks":{"start":"deno run main.ts"}}`, "main.ts": "export const handler = () => 1"}, Manifest{}, "", "", "-"},
		"bun":               {map[string]string{"package.json": "{}", "src/index.ts": "Bun.serve({fetch: () => new Response('x')})"}, Manifest{}, Bun, "", "bun run src/index.ts"},
		"bun, script":       {map[string]string{"package.json": `{"scripts":{"start":"bun run web.ts --fast"},"dependencies":{"hono":"4"},"engines":{"node":"20"}}`}, Manifest{}, Bun, "", "bun run web.ts --fast"},
		"function in bun":   {map[string]string{"index.ts": "Bun.serve({})\nexport const handler = () => 1"}, Manifest{}, "", "", "-"},
		"node beside bun":   {map[string]string{"package.json": `{"scripts":{"start":"node web.js"}}`, "server.ts": "Bun.serve({})"}, Manifest{}, Node, "", "node web.js"},
		"rack":              {map[string]string{"config.ru": "run App"}, Manifest{}, Ruby, "", "exec rackup --host 0.0.0.0 --port $PORT"},
		"rails":             {map[string]string{"config.ru": "run App", "Gemfile": "gem 'rails'"}, Manifest{}, Ruby, "", "exec bundle exec puma -b tcp://0.0.0.0:$PORT"},
		"sinatra":           {map[string]string{"shop.rb": "require 'sinatra'\nget('/') { 'x' }", "Gemfile": "gem 'sinatra'"}, Manifest{}, Ruby, "", "exec bundle exec ruby shop.rb -o 0.0.0.0 -p $PORT"},
		"function in ruby":  {map[string]string{"app.rb": "require 'sinatra/base'\ndef handler(event:, context:) = 1"}, Manifest{}, "", "", "-"},
		"vite":              {map[string]string{"index.html": "<script src=/src/main.ts>", "package.json": `{"scripts":{"build":"vite build","start":"vite"},"devDependencies":{"vite":"7"}}`}, Manifest{}, Provided, BuildScript, "lambent static ."},
		"vite, built":       {map[string]string{"dist/index.html": "", "package.json": `{"scripts":{"build":"vite build"},"devDependencies":{"vite":"7"}}`}, Manifest{}, Provided, "", "lambent static ."},
		"react":             {map[string]string{"public/index.html": "", "package.json": `{"scripts":{"build":"react-scripts build","start":"react-scripts start"},"dependencies":{"react-scripts":"5"}}`}, Manifest{}, Provided, BuildScript, "lambent static ."},
		"vite in express":   {map[string]string{"server.js": "", "package.json": `{"scripts":{"build":"vite build","start":"node server.js"},"dependencies":{"express":"5"},"devDependencies":{"vite":"7"}}`}, Manifest{}, Node, "", "node server.js"},
		"vite before node":  {map[string]string{"server.js": "", "package.json": `{"scripts":{"build":"vite build","start":"node server.js"},"devDependencies":{"vite":"7"}}`}, Manifest{}, Node, "", "node server.js"},
		"procfile wins":     {map[string]string{"Procfile": "worker: x\nweb: gunicorn -b :$PORT app:app\n", "app.py": flask}, Manifest{}, Python, "", "exec gunicorn -b :$PORT app:app"},
		"manifest wins":     {map[string]string{"Procfile": "web: x", "package.json": "{}"}, Manifest{Command: "./serve --fast"}, Node, "", "./serve --fast"},
		"script of a site":  {map[string]string{"Procfile": "web: sh start.sh", "index.php": "<?php echo 1;"}, Manifest{}, PHP, "", "sh start.sh"},
		"runtime is given":  {map[string]string{"a.rb": ""}, Manifest{Command: "ruby a.rb", Runtime: "provided.al2023"}, Provided, "", "ruby a.rb"},
		"handler is given":  {map[string]string{"app.py": flask}, Manifest{Handler: "app.x"}, "", "", "-"},
		"a program":         {map[string]string{"bootstrap": "x"}, Manifest{Port: 3000}, Provided, "", ""},
		"a function":        {map[string]string{"bootstrap": "x"}, Manifest{}, "", "", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for file, text := range c.files {
				tree[file] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
			}
			g, ok, err := LookApp(tree, c.manifest)
			if err != nil {
				t.Fatal(err)
			}
			if c.command == "-" {
				if ok {
					t.Errorf("taken for an application: %+v", g)
				}
				return
			}
			if !ok || g.App == nil {
				t.Fatal("not known as an application")
			}
			command := strings.Join(g.App.Command, " ")
			command = strings.TrimPrefix(command, "/bin/sh -c ")
			if g.Family != c.family || g.Build != c.build || command != c.command || len(g.Because) == 0 {
				t.Errorf("got %s, %q, %q because %q", g.Family, g.Build, command, g.Because)
			}
		})
	}
}

// TestBuiltAgain is about what was changed since it was built.
func TestBuiltAgain(t *testing.T) {
	now := time.Now()
	const server = `{"scripts":{"build":"tsc","start":"node dist/server.js"}}`
	for name, c := range map[string]struct {
		pkg, output, changed string
		after                time.Duration
		build                Build
	}{
		"changed":      {server, "dist/server.js", "src/server.ts", time.Minute, BuildScript},
		"not changed":  {server, "dist/server.js", "src/server.ts", -time.Minute, ""},
		"copied":       {server, "dist/server.js", "src/server.ts", time.Second, ""},
		"installed":    {server, "dist/server.js", "node_modules/a/index.js", time.Minute, ""},
		"also built":   {server, "dist/server.js", "dist/server.js.map", time.Minute, ""},
		"a cache":      {server, "dist/server.js", ".cache/x", time.Minute, ""},
		"a site":       {`{"scripts":{"build":"vite build"},"devDependencies":{"vite":"7"}}`, "dist/index.html", "index.html", time.Minute, BuildScript},
		"next":         {`{"scripts":{"build":"next build"},"dependencies":{"next":"16"}}`, ".next/BUILD_ID", "app/page.jsx", time.Minute, BuildScript},
		"not built":    {`{"scripts":{"build":"tailwind","start":"node src/server.js"}}`, "src/server.js", "package.json", time.Minute, ""},
		"not by build": {`{"scripts":{"start":"node dist/server.js"}}`, "dist/server.js", "src/server.ts", time.Minute, ""},
	} {
		tree := fstest.MapFS{
			"package.json": {Data: []byte(c.pkg), Mode: 0o644, ModTime: now.Add(-time.Hour)},
			c.output:       {Mode: 0o644, ModTime: now},
		}
		if tree[c.changed] == nil {
			tree[c.changed] = &fstest.MapFile{Mode: 0o644}
		}
		tree[c.changed].ModTime = now.Add(c.after)
		if g, ok, err := LookApp(tree, Manifest{}); !ok || err != nil || g.Build != c.build {
			t.Errorf("%s: the build is %q because %q, %v, want %q", name, g.Build, g.Because, err, c.build)
		}
	}
}

// TestStartedByDevelopment is about programs whose start needs what others leave out.
func TestStartedByDevelopment(t *testing.T) {
	for start, want := range map[string]bool{"tsx server.ts": true, "node -r ts-node/register server.ts": true, "node server.js": false, "cross-env A=1 node a.js": false} {
		tree := fstest.MapFS{"package.json": {Mode: 0o644, Data: []byte(`{"scripts":{"start":"` + start + `"},"dependencies":{"cross-env":"1"},"devDependencies":{"tsx":"4","ts-node":"10"}}`)}}
		if g, ok, err := LookApp(tree, Manifest{}); !ok || err != nil || g.Development != want {
			t.Errorf("%s: %v, %v, %v", start, g.Development, ok, err)
		}
	}
}

func TestSiteOf(t *testing.T) {
	for name, c := range map[string]struct {
		files         []string
		pattern, want string
	}{
		"one":         {[]string{"dist/index.html"}, "dist", "dist"},
		"no page":     {[]string{"dist/en/index.html"}, "dist", "dist"},
		"angular":     {[]string{"dist/shop/browser/index.html", "dist/shop/3rdpartylicenses.txt"}, "dist/*/browser", "dist/shop/browser"},
		"two of them": {[]string{"dist/a/browser/index.html", "dist/b/browser/index.html"}, "dist/*/browser", ""},
		"none":        {[]string{"src/index.html"}, "dist", ""},
	} {
		tree := fstest.MapFS{}
		for _, file := range c.files {
			tree[file] = &fstest.MapFile{Mode: 0o644}
		}
		if got := SiteOf(tree, c.pattern); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestLookAppSaysWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string
		manifest Manifest
		want     string
	}{
		"server":  {map[string]string{"main.py": "app = FastAPI()"}, Manifest{}, "add uvicorn to requirements.txt"},
		"adapter": {map[string]string{"package.json": `{"scripts":{"build":"vite build"},"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-auto":"6","vite":"6"}}`}, Manifest{}, "npm install -D @sveltejs/adapter-node"},
		"command": {map[string]string{"x.txt": ""}, Manifest{Port: 80}, "name it with --command"},
	} {
		tree := fstest.MapFS{}
		for file, text := range c.files {
			tree[file] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		}
		if _, _, err := LookApp(tree, c.manifest); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShell(t *testing.T) {
	for line, want := range map[string][]string{
		" python3  app.py -x ":  {"python3", "app.py", "-x"},
		"app --port $PORT":      {"/bin/sh", "-c", "exec app --port $PORT"},
		"app 'one argument'":    {"/bin/sh", "-c", "exec app 'one argument'"},
		"migrate && app":        {"/bin/sh", "-c", "migrate && app"},
		"MODE=fast app --x":     {"/bin/sh", "-c", "MODE=fast app --x"},
		"app --mode=fast --y=1": {"/bin/sh", "-c", "exec app --mode=fast --y=1"},
	} {
		if got := Shell(line); !slices.Equal(got, want) {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
	}
}

func TestManifestOfAnApplication(t *testing.T) {
	one := 1
	m, err := ReadManifest(fstest.MapFS{ManifestFile: &fstest.MapFile{Data: []byte("port: 3000\ncommand: ./serve\nhealth: /ready\nconcurrency: 10\nstart_timeout: 2m\nmin_instances: 1\n")}})
	want := Manifest{Port: 3000, Command: "./serve", Health: "/ready", Concurrency: 10, StartTimeout: 120, MinInstances: &one}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("%+v, %v", m, err)
	}
	if over := m.Over(Manifest{Port: 4000}); over.Port != 4000 || over.Health != "/ready" {
		t.Errorf("%+v", over)
	}
}
