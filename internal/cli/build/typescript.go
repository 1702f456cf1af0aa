package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// bundleSuffix comes before the extension of a bundle, beside which the handler's
// own file only switches its source map on.
const bundleSuffix = ".bundle"

// TypeScript bundles what the entry imports into one file, by the project's
// tsconfig.json; packages are fetched where they are missing. The source map goes
// along, and stack traces name the lines of the source. Types are not checked.
func (b Builder) TypeScript(ctx context.Context, entry, handler string) (*Output, error) {
	if err := b.NodePackages(ctx, true); err != nil {
		return nil, err
	}
	stop := b.Busy("bundling " + entry)
	defer stop()
	module := b.isModule(entry)
	result := api.Build(b.esbuild(entry, module))
	stop()
	for _, text := range api.FormatMessages(result.Warnings, api.FormatMessagesOptions{Kind: api.WarningMessage}) {
		b.Say(strings.TrimSpace(text))
	}
	if len(result.Errors) > 0 {
		for _, text := range api.FormatMessages(result.Errors, api.FormatMessagesOptions{Kind: api.ErrorMessage}) {
			b.Say(strings.TrimSpace(text))
		}
		return nil, fmt.Errorf("build %s: %s does not compile", b.Dir, entry)
	}
	b.Say("bundled " + entry + " with esbuild; types are not checked, tsc --noEmit does that")
	return output(func(dir string) error {
		for _, f := range result.OutputFiles {
			rel, err := filepath.Rel(b.Dir, f.Path)
			if err != nil || !filepath.IsLocal(rel) {
				return fmt.Errorf("build %s: the bundle would be in %s", b.Dir, f.Path)
			}
			if err := writeFile(filepath.Join(dir, rel), f.Contents); err != nil {
				return err
			}
		}
		return b.starter(dir, entry, handler, module)
	})
}

func (b Builder) esbuild(entry string, module bool) api.BuildOptions {
	ext := map[bool]string{true: ".mjs", false: ".js"}[module]
	o := api.BuildOptions{
		AbsWorkingDir:       b.Dir,
		EntryPointsAdvanced: []api.EntryPoint{{InputPath: entry, OutputPath: strings.TrimSuffix(entry, path.Ext(entry)) + bundleSuffix}},
		Outdir:              b.Dir, // in memory: it makes the map's paths those in the zip
		Outbase:             b.Dir,
		OutExtension:        map[string]string{".js": ext},
		Bundle:              true,
		Platform:            api.PlatformNode,
		Engines:             []api.Engine{{Name: api.EngineNode, Version: b.nodeVersion()}},
		Format:              api.FormatCommonJS,
		Sourcemap:           api.SourceMapLinked,
		SourcesContent:      api.SourcesContentExclude,
		Loader:              map[string]api.Loader{".node": api.LoaderCopy},
		LogLevel:            api.LogLevelSilent,
	}
	if module {
		o.Format = api.FormatESModule
		// Packages in the older format ask for Node's own modules by require.
		o.Banner = map[string]string{"js": `import { createRequire as lambentRequire } from 'node:module'; const require = lambentRequire(import.meta.url);`}
	}
	return o
}

// starter is the handler's own file. A source map is read when a module is loaded,
// and only if that is switched on by then.
func (b Builder) starter(dir, entry, handler string, module bool) error {
	at := strings.TrimSuffix(entry, path.Ext(entry))
	bundle := "./" + path.Base(at) + bundleSuffix
	_, export, _ := strings.Cut(path.Base(handler), ".")
	export, _, _ = strings.Cut(export, ".")
	if !identifier.MatchString(export) {
		return fmt.Errorf("build %s: the handler %q names no export", b.Dir, handler)
	}
	if module {
		text := "process.setSourceMapsEnabled(true);\nconst bundle = await import('" + bundle + ".mjs');\nexport const " + export + " = bundle." + export + ";\n"
		return writeFile(filepath.Join(dir, filepath.FromSlash(at)+".mjs"), []byte(text))
	}
	text := "process.setSourceMapsEnabled(true);\nmodule.exports = require('" + bundle + ".js');\n"
	return writeFile(filepath.Join(dir, filepath.FromSlash(at)+".js"), []byte(text))
}

var identifier = regexp.MustCompile(`^[A-Za-z_$][\w$]*$`)

// isModule tells whether the project's own code is in ECMAScript modules, as Node
// decides it.
func (b Builder) isModule(entry string) bool {
	return path.Ext(entry) == ".mts" || b.packageJSON().Type == "module"
}

var nodeRelease = regexp.MustCompile(`^nodejs(\d+)`)

// nodeVersion is what the bundle is written for.
func (b Builder) nodeVersion() string {
	if m := nodeRelease.FindStringSubmatch(b.Runtime); m != nil {
		return m[1]
	}
	return "18"
}

// packageJSON is what matters of a package.json.
type packageJSON struct {
	Type            string                     `json:"type"`
	Dependencies    map[string]json.RawMessage `json:"dependencies"`
	DevDependencies map[string]json.RawMessage `json:"devDependencies"`
}

func (b Builder) packageJSON() packageJSON {
	var pkg packageJSON
	// One that cannot be read says nothing; npm will say what is wrong with it.
	_ = json.Unmarshal([]byte(b.read("package.json")), &pkg)
	return pkg
}

// NodeScript runs the build script of a JavaScript project, with all its packages; its
// files are in the source's directory afterwards.
func (b Builder) NodeScript(ctx context.Context) error {
	if err := b.NodePackages(ctx, true); err != nil {
		return err
	}
	npm, err := tool("install Node.js with npm, or run its build script elsewhere", "npm")
	if err != nil {
		return fmt.Errorf("%s has a build script, and %w", b.Dir, err)
	}
	_, err = b.run(ctx, command{program: npm, args: []string{"run", "build"}})
	return err
}

// NodePackages fetches what a JavaScript project depends on, if that is missing, to where
// npm puts it. What is only needed for development is left out unless it is asked for.
func (b Builder) NodePackages(ctx context.Context, development bool) error {
	pkg := b.packageJSON()
	if b.has("node_modules") || len(pkg.Dependencies) == 0 && (!development || len(pkg.DevDependencies) == 0) {
		return nil
	}
	program, args, err := b.installer(development, func(name string) (string, error) {
		return tool("install Node.js with npm, or install the packages elsewhere", name)
	})
	if err != nil {
		return fmt.Errorf("%s depends on packages that are not in node_modules, and %w", b.Dir, err)
	}
	_, err = b.run(ctx, command{program: program, args: args})
	return err
}

// installers are what installs packages, by the file that each keeps their versions in;
// omit leaves out what is for development.
var installers = []struct{ lock, program, args, omit string }{
	{"package-lock.json", "npm", "ci --no-audit --no-fund", "--omit=dev"},
	{"npm-shrinkwrap.json", "npm", "ci --no-audit --no-fund", "--omit=dev"},
	{"pnpm-lock.yaml", "pnpm", "install --frozen-lockfile", "--prod"},
	{".yarnrc.yml", "yarn", "install --immutable", ""},
	{"yarn.lock", "yarn", "install --frozen-lockfile", "--production"},
	{"bun.lock", "bun", "install --frozen-lockfile", "--production"},
	{"bun.lockb", "bun", "install --frozen-lockfile", "--production"},
}

// installer is what installs the packages of the project: the program that its versions
// were chosen by, else npm.
func (b Builder) installer(development bool, find func(name string) (string, error)) (program string, args []string, err error) {
	arguments, omit := "install --no-audit --no-fund", "--omit=dev"
	for _, i := range installers {
		if !b.has(i.lock) {
			continue
		}
		if program, err = find(i.program); err == nil {
			arguments, omit = i.args, i.omit
		} else if i.program != "npm" {
			b.Say("hint: " + i.lock + " is not read: there is no " + i.program + " command, and npm takes what package.json allows")
		}
		break
	}
	if program == "" {
		program, err = find("npm")
	}
	args = strings.Fields(arguments)
	if !development && omit != "" {
		args = append(args, omit)
	}
	return program, args, err
}

func writeFile(path string, data []byte) error {
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		return fmt.Errorf("write what was built: %w", err)
	}
	return nil
}
