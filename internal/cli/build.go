package cli

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lambent.dev/lambent/internal/cli/build"
	"lambent.dev/lambent/internal/cli/project"
)

// chooser decides on the runtime where that matters to a build.
type chooser func(ctx context.Context, src source) (string, error)

// ask takes the server's choice.
func (a *app) ask(ctx context.Context, src source) (string, error) {
	c, err := a.client()
	if err != nil {
		return "", err
	}
	return a.chooseRuntime(ctx, c, src)
}

// expect asks nobody.
func expect(_ context.Context, src source) (string, error) {
	for _, name := range []string{src.manifest.Runtime, src.guess.Runtime} {
		if name != "" {
			return name, nil
		}
	}
	return firstChoice[src.guess.Family], nil
}

// produce builds what has to be built, fetches what has to be fetched, and packs it.
func (a *app) produce(ctx context.Context, path string, tree fs.FS, src *source, choose chooser) error {
	b := build.Builder{Dir: path, Environ: a.Environ, Arch: src.manifest.Arch, Web: src.guess.App != nil, Busy: a.spin, Say: func(line string) { a.note("%s", line) }}
	switch src.guess.Build {
	case project.BuildMaven:
		if src.guess.Jar != "" && !build.HasMaven() {
			a.note("there is no mvn command to build it: %s is deployed as it is, though %s", src.guess.Jar, src.guess.Because[0])
		} else if err := b.Maven(ctx, project.MavenLibraries(tree)); err != nil {
			return err
		}
		if err := src.rebuilt(tree); err != nil {
			return err
		}
	case project.BuildScript:
		if err := b.NodeScript(ctx); err != nil {
			return err
		}
	}
	if src.guess.Site != "" {
		return src.packSite(tree)
	}
	if src.guess.Libraries != "" {
		out, err := build.Bundle(tree, src.guess.Jar, src.guess.Libraries)
		if err != nil {
			return err
		}
		return src.packOutput(out)
	}
	if src.guess.Jar != "" {
		jar, err := fs.ReadFile(tree, src.guess.Jar)
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
		src.archive = project.Archive{Zip: jar, Files: 1, Bytes: int64(len(jar))}
		return project.CheckSize(int64(len(jar)))
	}
	out, err := compile(ctx, b, src, choose)
	if err != nil {
		return err
	}
	if out != nil {
		return src.packOutput(out)
	}
	return a.pack(ctx, b, tree, src, choose)
}

// packOutput packs what was built, and removes it.
func (s *source) packOutput(out *build.Output) (err error) {
	defer func() { _ = out.Close() }() // a leftover is in the temporary directory
	s.archive, err = project.Pack(out.FS, &project.Ignore{})
	return err
}

// packSite packs the files of a site that was built.
func (s *source) packSite(tree fs.FS) error {
	dir := project.SiteOf(tree, s.guess.Site)
	if dir == "" {
		return usageError{fmt.Errorf("the build made no %s: name what it makes with --command 'lambent static DIR'", s.guess.Site)}
	}
	site, err := fs.Sub(tree, dir)
	if err != nil {
		return fmt.Errorf("read source: %w", err)
	}
	s.guess.Serve(site)
	s.archive, err = project.Pack(site, &project.Ignore{})
	return err
}

// compile builds what is not deployed as it is; nothing otherwise.
func compile(ctx context.Context, b build.Builder, src *source, choose chooser) (*build.Output, error) {
	switch src.guess.Build {
	case project.BuildGo:
		return b.Go(ctx, false)
	case project.BuildGoWasm:
		return b.Go(ctx, true)
	case project.BuildRust:
		return b.Rust(ctx)
	case project.BuildTypeScript:
		var err error
		if b.Runtime, err = choose(ctx, *src); err != nil {
			return nil, err
		}
		return b.TypeScript(ctx, src.guess.Entry, src.manifest.Handler)
	default:
		return nil, nil
	}
}

// pack packs the directory as it is, with the packages that it depends on.
func (a *app) pack(ctx context.Context, b build.Builder, tree fs.FS, src *source, choose chooser) error {
	packages := ""
	var err error
	switch src.guess.Family {
	case project.Node, project.Bun, project.Deno:
		err = b.NodePackages(ctx, src.guess.Development)
	case project.Python:
		if b.Runtime, err = choose(ctx, *src); err == nil {
			packages, err = b.PythonPackages(ctx)
		}
	}
	if err != nil {
		return err
	}
	b.Hint()
	ignore, err := project.ReadIgnore(tree, src.manifest.Ignore)
	if err != nil {
		return err
	}
	if packages != "" {
		root, err := os.OpenRoot(packages)
		if err != nil {
			return fmt.Errorf("open the packages: %w", err)
		}
		defer func() { _ = root.Close() }() // only read from
		tree = project.Overlay(tree, root.FS())
	}
	stop := a.spin("packing " + b.Dir)
	defer stop()
	src.archive, err = project.Pack(tree, ignore)
	return err
}

// rebuilt looks at a Java project again, after its build.
func (s *source) rebuilt(tree fs.FS) error {
	g, err := project.Built(tree)
	if err != nil {
		return err
	}
	g.Because = append(s.guess.Because, g.Because...)
	if s.guess.Runtime != "" {
		g.Runtime = s.guess.Runtime
	}
	if s.manifest.Handler != "" {
		g.Handler = s.manifest.Handler
	}
	if s.guess.App != nil {
		main := project.MainClass(tree, g.Jar)
		g.App = &project.App{Command: project.SpringCommand(main)}
		s.guess = g
		return nil
	}
	if g.Handler == "" {
		return usageError{fmt.Errorf("no handler found in %s: name it with --handler, such as example.Handler::handleRequest", g.Jar)}
	}
	s.guess, s.manifest.Handler = g, g.Handler
	return nil
}

// readModule takes one WebAssembly module as a function.
func readModule(path string, size int64, over project.Manifest) (source, error) {
	if err := project.CheckSize(size); err != nil {
		return source{}, err
	}
	name := filepath.Base(path)
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return source{}, fmt.Errorf("read source: %w", err)
	}
	defer func() { _ = root.Close() }() // only read from
	tree, err := project.Only(root.FS(), name)
	if err != nil {
		return source{}, err
	}
	src := source{manifest: over}
	if src.archive, err = project.Pack(tree, &project.Ignore{}); err != nil {
		return src, err
	}
	return src, src.complete(tree, path)
}
