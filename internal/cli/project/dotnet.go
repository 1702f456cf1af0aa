package project

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"regexp"
	"strings"

	"lambent.dev/lambent"
)

const (
	runtimeConfig = ".runtimeconfig.json"
	// toolsDefaults is where AWS's templates keep the handler of a class library.
	toolsDefaults = "aws-lambda-tools-defaults.json"
)

// targetFramework reads "net8.0" and "netcoreapp3.1".
var targetFramework = regexp.MustCompile(`^net(coreapp)?([0-9]{1,2})\.([0-9])$`)

// guessDotnet knows the output of "dotnet publish": one NAME.runtimeconfig.json at
// the top, with NAME.dll beside it. A program is its own handler. A class library's
// is where AWS's templates have it, or has to be told.
func guessDotnet(tree fs.FS, _ string) (Guess, bool, error) {
	configs, _ := fs.Glob(tree, "*"+runtimeConfig) // the pattern is well formed
	if len(configs) != 1 {
		return Guess{}, false, nil
	}
	name := strings.TrimSuffix(configs[0], runtimeConfig)
	if !isFile(tree, name+".dll") {
		return Guess{}, false, nil
	}
	var config struct {
		Options struct {
			Framework string `json:"tfm"`
		} `json:"runtimeOptions"`
	}
	// One that cannot be read says nothing; dotnet will say what is wrong.
	_ = json.Unmarshal([]byte(source(tree, configs[0])), &config)
	g := Guess{Family: Dotnet, Runtime: dotnetRuntime(config.Options.Framework), Because: []string{configs[0] + " makes it .NET"}}
	var defaults struct {
		Handler string `json:"function-handler"`
	}
	switch _ = json.Unmarshal([]byte(source(tree, toolsDefaults)), &defaults); { // likewise
	case defaults.Handler != "":
		g.Handler = defaults.Handler
		g.Because = append(g.Because, toolsDefaults+" names the handler")
	case startsItself([]byte(source(tree, name+".dll"))):
		g.Handler = name
		g.Because = append(g.Because, name+".dll is a program")
	}
	return g, true, nil
}

// dotnetRuntime is the runtime's name for a target framework; "" for one that has
// none of its own.
func dotnetRuntime(framework string) string {
	m := targetFramework.FindStringSubmatch(framework)
	switch {
	case m == nil:
		return ""
	case m[1] != "" && m[2]+m[3] == "31":
		return "dotnetcore3.1"
	case m[1] == "" && (m[2] == "6" || m[2] == "8" || m[2] == "10"):
		return Dotnet + m[2]
	}
	return ""
}

// startsItself tells whether an assembly has an entry point (ECMA-335, II.25.3.3).
func startsItself(assembly []byte) bool {
	file, err := pe.NewFile(bytes.NewReader(assembly))
	if err != nil {
		return false
	}
	var directories [16]pe.DataDirectory
	switch h := file.OptionalHeader.(type) {
	case *pe.OptionalHeader32:
		directories = h.DataDirectory
	case *pe.OptionalHeader64:
		directories = h.DataDirectory
	}
	at := directories[pe.IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR].VirtualAddress
	for _, s := range file.Sections {
		if at == 0 || at < s.VirtualAddress || at-s.VirtualAddress >= s.Size {
			continue
		}
		const size, entryPoint = 72, 20
		header := make([]byte, size)
		if _, err := s.ReadAt(header, int64(at-s.VirtualAddress)); err != nil {
			return false
		}
		return binary.LittleEndian.Uint32(header[entryPoint:]) != 0
	}
	return false
}

// unpublished explains the source of a .NET project: there is no telling which of
// its outputs is meant.
func unpublished(tree fs.FS) error {
	for _, pattern := range []string{"*.csproj", "*.fsproj", "*.vbproj", "src/*/*.csproj"} {
		if found, _ := fs.Glob(tree, pattern); len(found) > 0 { // the patterns are well formed
			return lambent.Errorf(lambent.CodeInvalid, "%s is a .NET project: publish it first (dotnet publish -c Release -o out) and deploy its output", found[0])
		}
	}
	return nil
}
