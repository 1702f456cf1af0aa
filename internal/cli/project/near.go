package project

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// nearly is a language whose handlers are named FILE.NAME: how its files end, which
// are looked at first, and what in one could be meant by a handler that has a name
// which nobody guesses.
type nearly struct {
	family string
	exts   []string
	files  []string
	define *regexp.Regexp
}

var nearlies = []nearly{
	{Python, []string{".py"}, pythonFiles, regexp.MustCompile(`(?m)^(?:async[ \t]+)?def[ \t]+([A-Za-z]\w*)[ \t]*\(`)},
	{Node, []string{".js", ".mjs", ".cjs", ".ts", ".mts"}, slices.Concat(nodeFiles, typeScriptFiles), regexp.MustCompile(`(?m)(?:^|[^\w.]|module\.)exports\.(\w+)\s*=|^\s*export\s+(?:const|let|var|(?:async\s+)?function)\s+(\w+)\b`)},
	{Ruby, []string{".rb"}, rubyScript.files, regexp.MustCompile(`(?m)^def[ \t]+(\w+)`)},
	{PHP, []string{".php"}, phpScript.files, regexp.MustCompile(`(?m)^function[ \t]+(\w+)[ \t]*\(`)},
	{Bash, []string{".sh"}, bashScript.files, regexp.MustCompile(`(?m)^(?:function[ \t]+)?(\w+)[ \t]*\(\)`)},
}

// byHandler knows the language by the file that a handler is in. Files of two
// languages tell nothing.
func byHandler(tree fs.FS, handler string) (g Guess, ok bool) {
	i := strings.LastIndex(handler, ".")
	if i < 0 {
		return Guess{}, false
	}
	stem := handler[:i]
	for _, n := range nearlies {
		for _, ext := range n.exts {
			file := stem + ext
			if n.family == Python { // a.b is b.py of the package a
				file = strings.ReplaceAll(stem, ".", "/") + ext
			}
			if !fs.ValidPath(file) || !isFile(tree, file) {
				continue
			}
			if ok && g.Family != n.family {
				return Guess{}, false
			}
			g, ok = Guess{Family: n.family, Handler: handler, Because: []string{"the handler is in " + file}}, true
		}
	}
	return g, ok
}

// nearHandler says what of a tree is almost a function; "" is nothing.
func nearHandler(tree fs.FS) string {
	for _, n := range nearlies {
		for _, file := range n.files {
			if !isFile(tree, file) {
				continue
			}
			stem := strings.TrimSuffix(file, path.Ext(file))
			text := fmt.Sprintf("%s has no handler; name one with --handler, such as %s.handler", file, stem)
			if m := n.define.FindStringSubmatch(source(tree, file)); m != nil {
				name := strings.Join(m[1:], "") // one of the groups is it
				text = fmt.Sprintf("%s has no handler; if it is %s, say so with --handler %s.%s", file, name, stem, name)
			}
			return text + "; if it listens on $PORT, name what starts it with --command"
		}
	}
	if dir := below(tree); dir != "" {
		return fmt.Sprintf("there is nothing to run at the top, but there is in %s: deploy that directory", dir)
	}
	return ""
}

// below is the one directory of a tree whose own files suggest something to run.
func below(tree fs.FS) (dir string) {
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules" {
			continue
		}
		sub, err := fs.Sub(tree, e.Name())
		if err != nil || !suggests(sub) {
			continue
		}
		if dir != "" {
			return "" // which of them, only the user knows
		}
		dir = e.Name()
	}
	return dir
}

// suggests tells whether a guesser knows the tree.
func suggests(tree fs.FS) bool {
	return slices.ContainsFunc(guessers, func(look guesser) bool {
		_, ok, err := look(tree, "")
		return ok && err == nil
	})
}

// unknown explains a tree that no guesser knows.
func unknown(tree fs.FS) error {
	for _, hint := range []struct{ file, text string }{
		{"build.gradle", "there is no jar yet: run gradle build first"},
		{"build.gradle.kts", "there is no jar yet: run gradle build first"},
		{"tsconfig.json", "this is TypeScript, but none of " + strings.Join(typeScriptFiles[:4], ", ") + " exports a handler: name it with --runtime and --handler, such as src/run.handler"},
		{"index.ts", "index.ts exports no handler: export const handler = ..."},
	} {
		if isFile(tree, hint.file) {
			return lambent.Errorf(lambent.CodeInvalid, "%s", hint.text)
		}
	}
	if err := unpublished(tree); err != nil {
		return err
	}
	if isFile(tree, "config.ru") {
		return lambent.Errorf(lambent.CodeInvalid, "config.ru makes it a Rack application: name what starts it with --command, such as 'bundle exec puma -b tcp://0.0.0.0:$PORT'")
	}
	if text := nearHandler(tree); text != "" {
		return lambent.Errorf(lambent.CodeInvalid, "cannot tell what to run: %s", text)
	}
	if isFile(tree, "Dockerfile") {
		return lambent.Errorf(lambent.CodeInvalid, "there is a Dockerfile and nothing that runs without it: build the image, and deploy that with --image, such as docker-archive:FILE of docker save")
	}
	return lambent.Errorf(lambent.CodeInvalid, "cannot tell what to run: there is no %s with a handler, no jar and no program named bootstrap; name both --runtime and --handler",
		strings.Join([]string{pythonFiles[0], pythonFiles[1], nodeFiles[1]}, ", "))
}
