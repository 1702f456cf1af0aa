package build

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Go builds a program as AWS documents it ("Deploy Go Lambda functions with .zip
// file archives"), or with wasm a module for WASI. The main package is that of the
// directory, else the only one below it. Nothing is built twice: the go command
// keeps what it has compiled.
func (b Builder) Go(ctx context.Context, wasm bool) (*Output, error) {
	goTool, err := tool("install Go, or deploy a directory with a program named bootstrap", "go")
	if err != nil {
		return nil, fmt.Errorf("%s is a Go program, and %w", b.Dir, err)
	}
	name, env := "bootstrap", []string{"GOOS=linux", "GOARCH=" + b.goarch(), "CGO_ENABLED=0"}
	if wasm {
		name, env = "bootstrap.wasm", []string{"GOOS=wasip1", "GOARCH=wasm"}
	}
	main, err := b.mainPackage(ctx, goTool, env)
	if err != nil {
		return nil, err
	}
	args := []string{"build", "-trimpath", "-ldflags", "-s -w"}
	if !wasm {
		args = append(args, "-tags", "lambda.norpc")
	}
	out, err := output(func(dir string) error {
		_, err := b.run(ctx, command{program: goTool, args: append(args, "-o", filepath.Join(dir, name), main), env: env, quiet: true})
		return err
	})
	if err != nil {
		return nil, err
	}
	b.Say("built " + main + " with go build, " + strings.Join(env, " "))
	if !wasm && !b.Web {
		b.hintGo(ctx, goTool, env, main)
	}
	return out, nil
}

// hintGo says what a program lacks that is to be a function.
func (b Builder) hintGo(ctx context.Context, goTool string, env []string, main string) {
	const client = "github.com/aws/aws-lambda-go/lambda"
	deps, err := b.run(ctx, command{program: goTool, args: []string{"list", "-deps", main}, env: env, quiet: true})
	if err == nil && !slices.Contains(strings.Fields(deps), client) {
		b.Say("hint: nothing in it imports " + client + ": the program has to speak the Runtime API itself, or if it listens on $PORT, be deployed with --port 8080")
	}
}

// mainPackage is what go build builds.
func (b Builder) mainPackage(ctx context.Context, goTool string, env []string) (string, error) {
	list := func(pattern string) ([]string, error) {
		text, err := b.run(ctx, command{program: goTool, args: []string{"list", "-e", "-f", `{{if eq .Name "main"}}{{.Dir}}{{end}}`, pattern}, env: env, quiet: true})
		return strings.Fields(text), err
	}
	if here, err := list("."); err != nil || len(here) == 1 {
		return ".", err
	}
	all, err := list("./...")
	if err != nil {
		return "", err
	}
	for i, dir := range all {
		rel, err := filepath.Rel(b.Dir, dir)
		if err != nil {
			return "", fmt.Errorf("build %s: %w", b.Dir, err)
		}
		all[i] = "./" + rel
	}
	switch len(all) {
	case 0:
		return "", fmt.Errorf("%s has no main package: there is nothing to run in it", b.Dir)
	case 1:
		return all[0], nil
	default:
		return "", fmt.Errorf("%s has several main packages: deploy the directory of one, %s", b.Dir, strings.Join(all, " or "))
	}
}

// Rust builds a crate's only program for this host: cargo keeps what it compiles
// in the crate's target directory.
func (b Builder) Rust(ctx context.Context) (*Output, error) {
	cargo, err := tool("install Rust, or deploy a directory with a program named bootstrap", "cargo")
	if err != nil {
		return nil, fmt.Errorf("%s is a Rust program, and %w", b.Dir, err)
	}
	if here := (Builder{}).goarch(); b.goarch() != here {
		return nil, fmt.Errorf("%s is a Rust program for %s, which this host cannot build: deploy a directory with a program named bootstrap", b.Dir, b.Arch)
	}
	text, err := b.run(ctx, command{program: cargo, args: []string{"metadata", "--no-deps", "--format-version", "1"}, quiet: true})
	if err != nil {
		return nil, err
	}
	name, target, err := programOf(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", b.Dir, err)
	}
	if _, err := b.run(ctx, command{program: cargo, args: []string{"build", "--release", "--bin", name}}); err != nil {
		return nil, err
	}
	if text := b.read("Cargo.toml"); !b.Web && !strings.Contains(text, "lambda_runtime") && !strings.Contains(text, "lambda_http") {
		b.Say("hint: Cargo.toml does not name lambda_runtime: the program has to speak the Runtime API itself, or if it listens on $PORT, be deployed with --port 8080")
	}
	return output(func(dir string) error {
		return copyFile(filepath.Join(target, "release", name), filepath.Join(dir, "bootstrap"), 0o755)
	})
}

// programOf reads cargo's description of a crate.
func programOf(text string) (name, target string, err error) {
	var meta struct {
		Target   string `json:"target_directory"`
		Packages []struct {
			Default string `json:"default_run"`
			Targets []struct {
				Name string   `json:"name"`
				Kind []string `json:"kind"`
			} `json:"targets"`
		} `json:"packages"`
	}
	if err := json.Unmarshal([]byte(text), &meta); err != nil {
		return "", "", fmt.Errorf("cannot be understood: cargo metadata: %w", err)
	}
	var names []string
	for _, p := range meta.Packages {
		if p.Default != "" && len(meta.Packages) == 1 {
			return p.Default, meta.Target, nil
		}
		for _, t := range p.Targets {
			if len(t.Kind) == 1 && t.Kind[0] == "bin" {
				names = append(names, t.Name)
			}
		}
	}
	switch len(names) {
	case 1:
		return names[0], meta.Target, nil
	case 0:
		return "", "", errors.New("has no program: there is nothing to run in it")
	default:
		return "", "", fmt.Errorf("has %d programs (%s), and one is deployed: name it as default-run in Cargo.toml", len(names), strings.Join(names, ", "))
	}
}

// Maven packages a Java project; its jar is in target/ afterwards, and what it depends
// on in the directory libraries unless that is "".
func (b Builder) Maven(ctx context.Context, libraries string) error {
	mvn, err := tool("install Maven, or run mvn package elsewhere", "mvn")
	if err != nil {
		return fmt.Errorf("%s has no jar yet, and %w", b.Dir, err)
	}
	args := []string{"--batch-mode", "--no-transfer-progress", "-Dstyle.color=never", "-DskipTests", "package"}
	if libraries == "" {
		_, err = b.run(ctx, command{program: mvn, args: args})
		return err
	}
	dir := filepath.Join(b.Dir, libraries)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove what was fetched last: %w", err)
	}
	// The group is in the names because two may have a library of the same name.
	args = append(args, "dependency:copy-dependencies", "-DincludeScope=runtime", "-Dmdep.prependGroupId=true", "-DoutputDirectory="+libraries)
	if _, err := b.run(ctx, command{program: mvn, args: args}); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { // it is there also where nothing is
		return fmt.Errorf("keep what was fetched: %w", err)
	}
	return nil
}

// HasMaven tells whether Maven is installed.
func HasMaven() bool {
	_, err := tool("", "mvn")
	return err == nil
}

// Bundle is a jar with a directory of libraries that go with it, as a Java function has
// them: classes at the top, jars in lib/.
func Bundle(tree fs.FS, jar, libraries string) (*Output, error) {
	data, err := fs.ReadFile(tree, jar)
	if err != nil {
		return nil, fmt.Errorf("take what was built: %w", err)
	}
	classes, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", jar, err)
	}
	jars, err := fs.Sub(tree, libraries)
	if err != nil {
		return nil, fmt.Errorf("take what it depends on: %w", err)
	}
	return output(func(dir string) error {
		if err := os.CopyFS(dir, classes); err != nil {
			return fmt.Errorf("take %s apart: %w", jar, err)
		}
		if err := os.CopyFS(filepath.Join(dir, "lib"), jars); err != nil {
			return fmt.Errorf("take what it depends on: %w", err)
		}
		return nil
	})
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("take what was built: %w", err)
	}
	defer func() { _ = in.Close() }() // only read from
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("take what was built: %w", err)
	}
	_, err = io.Copy(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("take what was built: %w", err)
	}
	return nil
}
