package runtimes

import (
	"fmt"
	"slices"
)

// family is a language, or the bare operating system.
type family string

const (
	familyPython   family = "python"
	familyNode     family = "nodejs"
	familyJava     family = "java"
	familyProvided family = "provided"
	familyDotnet   family = "dotnet"
	familyRuby     family = "ruby"
	familyWasm     family = "wasm"
	familyPHP      family = "php"
	familyDeno     family = "deno"
	familyBun      family = "bun"
	familyBash     family = "bash"
)

// release is one runtime name that new functions can have: AWS's, or our own.
type release struct {
	name         string
	family       family
	major, minor int // of the language; minor is 0 where the name has none
}

// accepted are the names that CreateFunction takes: the enum set that AWS lists
// when it refuses a name, and what the newest API model has added since.
var accepted = []release{
	{"python3.8", familyPython, 3, 8},
	{"python3.9", familyPython, 3, 9},
	{"python3.10", familyPython, 3, 10},
	{"python3.11", familyPython, 3, 11},
	{"python3.12", familyPython, 3, 12},
	{"python3.13", familyPython, 3, 13},
	{"python3.14", familyPython, 3, 14},
	{"python3.15", familyPython, 3, 15},
	{"nodejs16.x", familyNode, 16, 0},
	{"nodejs18.x", familyNode, 18, 0},
	{"nodejs20.x", familyNode, 20, 0},
	{"nodejs22.x", familyNode, 22, 0},
	{"nodejs24.x", familyNode, 24, 0},
	{"nodejs26.x", familyNode, 26, 0},
	{"java8.al2", familyJava, 8, 0},
	{"java8.al2023", familyJava, 8, 0},
	{"java11", familyJava, 11, 0},
	{"java11.al2023", familyJava, 11, 0},
	{"java17", familyJava, 17, 0},
	{"java17.al2023", familyJava, 17, 0},
	{"java21", familyJava, 21, 0},
	{"java25", familyJava, 25, 0},
	{"provided.al2", familyProvided, 0, 0},
	{"provided.al2023", familyProvided, 0, 0},
	{"dotnet6", familyDotnet, 6, 0},
	{"dotnet8", familyDotnet, 8, 0},
	{"dotnet10", familyDotnet, 10, 0},
	{"ruby3.2", familyRuby, 3, 2},
	{"ruby3.3", familyRuby, 3, 3},
	{"ruby3.4", familyRuby, 3, 4},
	{"ruby4.0", familyRuby, 4, 0},
}

// own are the names that CreateFunction takes beyond AWS's. dotnetcore3.1 is one
// that AWS has retired: it is served where somebody has put .NET Core on the host.
var own = []release{
	{Wasm, familyWasm, 0, 0},
	{"php8.1", familyPHP, 8, 1},
	{"php8.2", familyPHP, 8, 2},
	{"php8.3", familyPHP, 8, 3},
	{"php8.4", familyPHP, 8, 4},
	{"php8.5", familyPHP, 8, 5},
	{"deno2", familyDeno, 2, 0},
	{"bun1", familyBun, 1, 0},
	{"bash", familyBash, 0, 0},
	{"dotnetcore3.1", familyDotnet, 3, 1},
}

// known are all names that new functions can have.
var known = slices.Concat(accepted, own)

// retired are the names that AWS knows but takes for no new function.
var retired = map[string]bool{
	"nodejs": true, "nodejs4.3": true, "nodejs4.3-edge": true, "nodejs6.10": true,
	"nodejs8.10": true, "nodejs10.x": true, "nodejs12.x": true, "nodejs14.x": true,
	"java8": true, "python2.7": true, "python3.6": true, "python3.7": true,
	"dotnetcore1.0": true, "dotnetcore2.0": true, "dotnetcore2.1": true,
	"dotnetcore3.1": true, "go1.x": true, "ruby2.5": true, "ruby2.7": true,
	"provided": true,
}

// enumSet is the list in AWS's refusal of an unknown name, in its order.
const enumSet = "nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, " +
	"nodejs22.x, java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, ruby3.2, python3.8, " +
	"python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, java8.al2"

// lookup finds a known name.
func lookup(name string) (release, bool) {
	for _, r := range known {
		if r.name == name {
			return r, true
		}
	}
	return release{}, false
}

// language is the release as its makers call it: "Python 3.12".
func (r release) language() string {
	if l, ok := languages[r.family]; ok {
		return l.name(r)
	}
	switch r.family {
	case familyPython:
		return fmt.Sprintf("Python %d.%d", r.major, r.minor)
	case familyNode:
		return fmt.Sprintf("Node.js %d", r.major)
	case familyJava:
		return fmt.Sprintf("Java %d", r.major)
	default:
		return "the operating system"
	}
}
