package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/cli/project"
	"lambent.dev/lambent/internal/client"
)

// deployFlags are the choices of `lambent deploy`.
type deployFlags struct {
	project.Manifest
	env     []string // K=V
	timeout string
	reserve string

	startTimeout string
	idleTimeout  string
	minInstances int
	image        string
	dryRun       bool
	noCheck      bool
}

func (a *app) deployCommand() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy DIR|ZIP|--image IMAGE",
		Short: "Create or update a function from a directory, a zip or an image",
		Long: "Create or update a function from a directory, a zip or a jar. What the directory's\n" +
			project.ManifestFile + " and the flags do not say is guessed from the files; " + project.IgnoreFile + " has patterns\n" +
			"of files to leave out. Deploying the same again changes nothing. An image is a\n" +
			"reference, or with a server on this machine oci:DIR, oci-archive:FILE or\n" +
			"docker-archive:FILE.",
		Example: "  lambent deploy ./hello\n  lambent deploy ./api --name api --memory 512 --timeout 30 --env STAGE=dev",
		Args:    oneSource(&f),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.image != "" {
				return a.deployImage(cmd, f)
			}
			return a.deploy(cmd, args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Name, "name", "", "name of the function (default: of the directory)")
	flags.StringVar(&f.Runtime, "runtime", "", "such as python3.12 (default: guessed)")
	flags.StringVar(&f.Handler, "handler", "", "such as app.handler (default: guessed)")
	flags.StringVar(&f.Description, "description", "", "what the function is for")
	flags.StringVar(&f.Arch, "arch", "", "x86_64 or arm64 (default: of the server)")
	flags.IntVar(&f.Memory, "memory", 0, "MB, 128 to 10240 (default 128, for an HTTP application 512)")
	flags.StringVar(&f.timeout, "timeout", "", "seconds, or a duration such as 2m (default 3, for an HTTP application 60)")
	flags.StringVar(&f.Role, "role", "", "ARN of the role (default: one of the account)")
	flags.StringVar(&f.Network, "network", "", "outbound, loopback or none (default outbound)")
	flags.StringArrayVar(&f.env, "env", nil, "environment variable as KEY=VALUE; may be repeated")
	flags.StringArrayVar(&f.Layers, "layer", nil, "ARN of a layer version; may be repeated")
	flags.IntVar(&f.Port, "port", 0, "of an HTTP application, which is told it in PORT too (default 8080)")
	flags.StringVar(&f.Command, "command", "", "starts the HTTP application, such as 'python3 server.py' (default: guessed)")
	flags.StringVar(&f.Health, "health", "", "path that answers below 500 once the application is ready (default: its port is open)")
	flags.IntVar(&f.Concurrency, "concurrency", 0, "requests that an instance of the application gets at once (default 80)")
	flags.StringVar(&f.startTimeout, "start-timeout", "", "how long the application may take to start (default 30s)")
	flags.StringVar(&f.idleTimeout, "idle-timeout", "", "how long a stream or a WebSocket of the application may carry nothing (default 5m)")
	flags.IntVar(&f.minInstances, "min-instances", -1, "instances that are kept running (default: as it is, 0 at first)")
	flags.StringVar(&f.reserve, "reserve", "", "on or off: start instances from the reserves, or each from nothing (default on)")
	flags.StringVar(&f.image, "image", "", "container image to make the function of, in place of a directory")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be deployed, and stop")
	flags.BoolVar(&f.noCheck, "no-check", false, "do not try whether the application starts")
	return a.jsonFlag(cmd)
}

// source is code that is ready to be sent.
type source struct {
	manifest project.Manifest
	guess    project.Guess
	archive  project.Archive
}

func (a *app) deploy(cmd *cobra.Command, path string, f deployFlags) error {
	over, err := f.manifest()
	if err != nil {
		return err
	}
	var reserve *bool
	if f.reserve != "" {
		if reserve, err = parseSwitch(f.reserve); err != nil {
			return usageError{fmt.Errorf("--reserve %s: %w", f.reserve, err)}
		}
	}
	choose := a.ask
	if f.dryRun {
		choose = expect
	}
	src, err := a.readSource(cmd.Context(), path, over, choose)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.explain(src)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	d, err := a.request(cmd.Context(), c, src)
	if err != nil {
		return err
	}
	d.Reserve = reserve
	stop := a.spin("deploying " + src.manifest.Name)
	done, err := c.Deploy(cmd.Context(), src.manifest.Name, d)
	stop()
	if err != nil {
		return err
	}
	return a.finish(cmd.Context(), c, src, done, f.noCheck)
}

// manifest is what the flags say.
func (f *deployFlags) manifest() (project.Manifest, error) {
	m := f.Manifest
	for _, limit := range []struct {
		flag, text string
		to         *project.Seconds
	}{{"timeout", f.timeout, &m.Timeout}, {"start-timeout", f.startTimeout, &m.StartTimeout}, {"idle-timeout", f.idleTimeout, &m.IdleTimeout}} {
		if limit.text == "" {
			continue
		}
		if err := limit.to.UnmarshalYAML([]byte(limit.text)); err != nil {
			return m, usageError{fmt.Errorf("--%s %s: %w", limit.flag, limit.text, err)}
		}
	}
	if f.minInstances >= 0 {
		m.MinInstances = &f.minInstances
	}
	for _, text := range f.env {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return m, usageError{fmt.Errorf("--env %s: want KEY=VALUE", text)}
		}
		if m.Env == nil {
			m.Env = make(map[string]string)
		}
		m.Env[key] = value
	}
	return m, nil
}

// readSource reads and packs what path names.
func (a *app) readSource(ctx context.Context, path string, over project.Manifest, choose chooser) (source, error) {
	full := a.path(path)
	info, err := os.Stat(full)
	if err != nil {
		return source{}, fmt.Errorf("read source: %w", err)
	}
	if !info.IsDir() {
		if filepath.Ext(full) == ".wasm" {
			return readModule(full, info.Size(), over)
		}
		return readZip(full, info.Size(), over)
	}
	root, err := os.OpenRoot(full)
	if err != nil {
		return source{}, fmt.Errorf("read source: %w", err)
	}
	defer func() { _ = root.Close() }() // only read from
	src, err := a.readTree(root.FS(), full, over)
	if err != nil {
		return src, err
	}
	return src, a.produce(ctx, full, root.FS(), &src, choose)
}

// readZip takes a zip or a jar as it is.
func readZip(path string, size int64, over project.Manifest) (source, error) {
	if err := project.CheckSize(size); err != nil {
		return source{}, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return source{}, fmt.Errorf("read source: %w", err)
	}
	tree, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return source{}, fmt.Errorf("%s is neither a directory nor a zip: %w", path, err)
	}
	m, err := project.ReadManifest(tree)
	if err != nil {
		return source{}, err
	}
	src := source{manifest: m.Over(over), archive: project.Archive{Zip: data, Files: len(tree.File)}}
	return src, src.complete(tree, path)
}

// readTree finds out what a directory is.
func (a *app) readTree(tree fs.FS, path string, over project.Manifest) (source, error) {
	m, err := project.ReadManifest(tree)
	if err != nil {
		return source{}, err
	}
	src := source{manifest: m.Over(over)}
	return src, src.complete(tree, path)
}

// complete guesses what the manifest leaves open.
func (s *source) complete(tree fs.FS, path string) error {
	guess, isApp, err := project.LookApp(tree, s.manifest)
	if err == nil && !isApp {
		guess, err = project.Look(tree, s.manifest.Runtime, s.manifest.Handler)
	}
	if err != nil {
		return err
	}
	s.guess = guess
	if s.guess.Handler != "" {
		s.manifest.Handler = s.guess.Handler
	}
	if s.manifest.Name == "" {
		s.manifest.Name = project.FunctionName(filepath.Base(path))
	}
	if s.manifest.Name == "" {
		return usageError{fmt.Errorf("no function name can be made of %s: choose one with --name", path)}
	}
	return nil
}

// request is the deploy that makes the function what the source says.
func (a *app) request(ctx context.Context, c *client.Client, src source) (client.Deploy, error) {
	m := src.manifest
	runtime, err := a.chooseRuntime(ctx, c, src)
	if err != nil {
		return client.Deploy{}, err
	}
	d := client.Deploy{
		Zip: src.archive.Zip, Runtime: said(runtime), Handler: said(m.Handler), Description: said(m.Description),
		Arch: said(m.Arch), MemoryMB: said(m.Memory), Role: said(m.Role), Network: said(m.Network),
	}
	if m.Timeout != 0 {
		seconds := float64(m.Timeout)
		d.Timeout = &seconds
	}
	if m.Env != nil {
		d.Env = &m.Env
	}
	src.application(&d)
	if m.Layers != nil {
		d.Layers = &m.Layers
	}
	return d, nil
}

// said is nil for a value that nothing was said about.
func said[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// firstChoice is the runtime of a family to ask for when the server has none
// ready: its answer says how to get it.
var firstChoice = map[string]string{
	project.Python: "python3.12", project.Node: "nodejs22.x", project.Java: "java17", project.Provided: "provided.al2023",
	project.Ruby: "ruby3.3", project.PHP: "php8.2", project.Deno: "deno2", project.Bun: "bun1", project.Bash: "bash", project.Wasm: "wasm",
	project.Dotnet: "dotnet8",
}

// chooseRuntime is what was asked for, else what the function has already if it
// suits the code, else the newest one that the server has ready.
func (a *app) chooseRuntime(ctx context.Context, c *client.Client, src source) (string, error) {
	if src.manifest.Runtime != "" {
		return src.manifest.Runtime, nil
	}
	if src.guess.Runtime != "" {
		return src.guess.Runtime, nil
	}
	f, err := c.Function(ctx, src.manifest.Name, "")
	if err == nil && project.FamilyOf(f.Runtime) == src.guess.Family {
		return f.Runtime, nil
	}
	if err != nil && lambent.CodeOf(err) != lambent.CodeNotFound {
		return "", err
	}
	list, err := c.Runtimes(ctx)
	if err != nil {
		return "", err
	}
	best, bestNumber := firstChoice[src.guess.Family], 0
	for _, r := range list {
		if r.State != "ready" || project.FamilyOf(r.Name) != src.guess.Family {
			continue
		}
		n := runtimeNumber(r.Name) + 1
		if r.Version != "" && !strings.HasPrefix(r.Version, strings.TrimPrefix(runtimeVersion.FindString(r.Name), src.guess.Family)) {
			n = -n // served by another version: the nearest, where there is no other
		}
		if bestNumber == 0 || n > bestNumber {
			best, bestNumber = r.Name, n
		}
	}
	return best, nil
}

// runtimeVersion finds the version in the name of a runtime: 3 and 12 in
// python3.12, 8 in java8.al2.
var runtimeVersion = regexp.MustCompile(`^[a-z]+(\d{1,4})(?:\.(\d{1,4}))?`)

// runtimeNumber orders the runtimes of a family.
func runtimeNumber(name string) int {
	m := runtimeVersion.FindStringSubmatch(name)
	if m == nil {
		return 0
	}
	// The expression lets only short numbers through; the minor one may be absent.
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major*10_000 + minor
}

// explain says what would be deployed.
func (a *app) explain(src source) error {
	runtime := src.manifest.Runtime
	if runtime == "" {
		runtime = src.guess.Runtime
	}
	if runtime == "" {
		runtime = src.guess.Family
	}
	if a.json {
		return a.printJSON(map[string]any{
			"name": src.manifest.Name, "runtime": runtime, "handler": src.manifest.Handler,
			"because": src.guess.Because, "files": src.archive.Files, "zipBytes": len(src.archive.Zip),
		})
	}
	a.explainGuess(src, runtime)
	if app := src.guess.App; app != nil {
		return a.printf("%s: %s, HTTP application, %s, %d files, %s\n", src.manifest.Name, runtime, commandText(app.Command), src.archive.Files, bytesText(int64(len(src.archive.Zip))))
	}
	return a.printf("%s: %s, handler %s, %d files, %s\n", src.manifest.Name, runtime, src.manifest.Handler, src.archive.Files, bytesText(int64(len(src.archive.Zip))))
}

// explainGuess says what was guessed, and why.
func (a *app) explainGuess(src source, runtime string) {
	if app := src.guess.App; app != nil {
		a.note("an HTTP application on port %d, started by %s: %s", src.port(), commandText(app.Command), strings.Join(src.guess.Because, ", "))
		return
	}
	if len(src.guess.Because) > 0 {
		a.note("guessed %s with the handler %s: %s", runtime, src.manifest.Handler, strings.Join(src.guess.Because, ", "))
	}
}

// printDeployed says what was done.
func (a *app) printDeployed(src source, d client.Deployed) error {
	f := d.Function
	a.explainGuess(src, f.Runtime)
	what := "unchanged"
	switch {
	case d.Created:
		what = "created"
	case len(d.Changed) > 0:
		what = "updated: " + strings.Join(d.Changed, ", ")
	}
	var took time.Duration
	for _, t := range d.Timings {
		took += time.Duration(t.MS * float64(time.Millisecond))
	}
	runs := f.Runtime + ", " + handlerText(f)
	size := bytesText(f.CodeBytes) + " "
	if f.Image != "" {
		runs, size = imageText(f), ""
	}
	if err := a.printf("%s %s (%s, %d MB, %sin %s)\n", f.Name, what, runs, f.MemoryMB,
		size, millis(float64(took.Microseconds())/1000)); err != nil {
		return err
	}
	if f.ImagePort != 0 && f.App == nil {
		a.note("note: the image exposes port %d: unless it speaks the Runtime API, deploy it with --port %[1]d, as an HTTP application", f.ImagePort)
	}
	if f.StateReason != "" {
		a.note("note: %s", printable(f.StateReason))
	}
	return nil
}

// next says what can be done with what was deployed.
func (a *app) next(f client.Function) {
	if f.App != nil {
		a.note("next: lambent url %s create --public   for an address, then lambent logs %s --follow", f.Name, f.Name)
		return
	}
	a.note("next: lambent invoke %[1]s -d '{}'   lambent logs %[1]s --follow   lambent url %[1]s create --public", f.Name)
}
