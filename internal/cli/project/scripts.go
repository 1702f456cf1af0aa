package project

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// script is a language in which a handler is a function at the top of a file.
type script struct {
	family  string
	runtime string // where the family has only one
	ext     string
	files   []string // the usual names
	others  bool     // any other file at the top may have it
	handler *regexp.Regexp
}

// guess finds the first file that defines a handler.
func (s script) guess(tree fs.FS) (Guess, bool, error) {
	files := s.files
	if s.others {
		files = slices.Concat(files, others(tree, s.ext, files))
	}
	for _, file := range files {
		m := s.handler.FindStringSubmatch(source(tree, file))
		if m == nil {
			continue
		}
		g := Guess{Family: s.family, Runtime: s.runtime, Handler: strings.TrimSuffix(file, s.ext) + "." + m[1], Because: []string{file + " defines " + m[1]}}
		return g, true, nil
	}
	return Guess{}, false, nil
}

var rubyScript = script{
	family: Ruby, ext: ".rb", others: true,
	files:   []string{"lambda_function.rb", "app.rb", "main.rb", "index.rb", "handler.rb", "function.rb"},
	handler: regexp.MustCompile(`(?m)^def[ \t]+(lambda_handler|handler)\b`),
}

func guessRuby(tree fs.FS, _ string) (Guess, bool, error) { return rubyScript.guess(tree) }

var phpScript = script{
	family: PHP, ext: ".php", others: true,
	files:   []string{"index.php", "handler.php", "main.php", "app.php", "function.php"},
	handler: regexp.MustCompile(`(?m)^function[ \t]+(lambda_handler|handler)[ \t]*\(`),
}

// phpReturned is a file whose value is the handler.
var phpReturned = regexp.MustCompile(`(?m)^return[ \t]+(?:static[ \t]+)?(?:function|fn)[ \t]*\(|^return[ \t]+new[ \t]`)

func guessPHP(tree fs.FS, _ string) (Guess, bool, error) {
	g, ok, err := phpScript.guess(tree)
	if ok || err != nil {
		return g, ok, err
	}
	for _, file := range phpScript.files {
		if phpReturned.MatchString(source(tree, file)) {
			return Guess{Family: PHP, Handler: file, Because: []string{file + " returns the handler"}}, true, nil
		}
	}
	return Guess{}, false, nil
}

// Shell scripts lie about in many projects: only a few names are taken for a
// function's.
var bashScript = script{
	family: Bash, runtime: Bash, ext: ".sh",
	files:   []string{"main.sh", "handler.sh", "function.sh", "index.sh"},
	handler: regexp.MustCompile(`(?m)^(?:function[ \t]+)?(handler)[ \t]*\(\)`),
}

func guessBash(tree fs.FS, _ string) (Guess, bool, error) { return bashScript.guess(tree) }
