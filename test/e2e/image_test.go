package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"lambent.dev/lambent/internal/image/imagetest"
	"lambent.dev/lambent/test/harness"
)

// TestFunctionFromImage makes a function of an image in a registry that asks for
// a login, calls it, gives it another image, and overrides what that starts.
func TestFunctionFromImage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	binary := probe.Content(t)
	registry := imagetest.Start(t)
	base := imagetest.Layer(t, [2]string{"etc/os-release", "NAME=Tiny\n"}, [2]string{"data/old", "old"}, [2]string{"data/kept", "kept"})
	code := imagetest.Layer(t, [2]string{"app/bin/serve!", binary}, [2]string{"data/.wh.old", ""}, [2]string{"app/run", "->bin/serve"})
	config := v1.Config{Entrypoint: []string{"serve"}, WorkingDir: "/data", Env: []string{"PATH=/usr/bin:/app/bin", "FROM_IMAGE=yes", "GREETING=image"}}
	reference := registry.Push(t, "team/probe:1", imagetest.Image(t, runtime.GOARCH, config, base, code))

	s := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"registries:\n  - host: %s\n    username: %s\n    password: %s\n", registry.Host, imagetest.User, imagetest.Password)})
	c := s.Lambda()
	made, err := c.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("from-image"), PackageType: types.PackageTypeImage, Role: aws.String(harness.Role), Timeout: aws.Int32(10),
		Code: &types.FunctionCode{ImageUri: &reference}, Environment: &types.Environment{Variables: map[string]string{"GREETING": "function"}},
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Stderr())
	}
	if made.State != types.StatePending || made.PackageType != types.PackageTypeImage || len(*made.CodeSha256) != 64 {
		t.Errorf("created: %s %s %s", made.State, made.PackageType, *made.CodeSha256)
	}
	active := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	if err := active.Wait(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("from-image")}, time.Minute); err != nil {
		t.Fatalf("%v\n%s", err, s.Stderr())
	}
	wantPayload(t, s.Invoke(t, "from-image", `{"do":"echo"}`), `{"do":"echo"}`)

	got, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("from-image")})
	if err != nil {
		t.Fatal(err)
	}
	if l := got.Code; aws.ToString(l.ImageUri) != reference || aws.ToString(l.RepositoryType) != "ECR" ||
		aws.ToString(l.ResolvedImageUri) != strings.TrimSuffix(reference, ":1")+"@sha256:"+*made.CodeSha256 {
		t.Errorf("code: %+v", *l)
	}

	// The function has what it needs, with no registry and after a restart, also of
	// the cache.
	registry.Change = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusTeapot); return true }
	s.Stop()
	trees, err := filepath.Glob(filepath.Join(s.Data, "artifacts", "trees", "*", "*"))
	if err != nil || len(trees) < 2 {
		t.Fatalf("the cache has %v, %v", trees, err)
	}
	for _, tree := range trees {
		if err := os.RemoveAll(tree); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	c = s.Lambda()
	wantPayload(t, s.Invoke(t, "from-image", `{"do":"echo"}`), `{"do":"echo"}`)
	registry.Change = nil

	// What it overrides counts, and can be taken back.
	configure := func(config *types.ImageConfig) {
		t.Helper()
		in := &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("from-image"), ImageConfig: config}
		if _, err := c.UpdateFunctionConfiguration(ctx, in); err != nil {
			t.Fatal(err)
		}
		waitUpdated(ctx, t, c, "from-image")
	}
	configure(&types.ImageConfig{EntryPoint: []string{"/app/absent"}})
	if out := s.Invoke(t, "from-image", `{"do":"echo"}`); out.FunctionError == nil || !strings.Contains(string(out.Payload), "Runtime.InvalidEntrypoint") {
		t.Errorf("without its program: %s", out.Payload)
	}
	configure(&types.ImageConfig{EntryPoint: []string{"run"}, WorkingDirectory: aws.String("/app")})
	if out := s.Invoke(t, "from-image", `{"do":"echo"}`); out.FunctionError == nil { // found by PATH only
		t.Errorf("a program of the working directory: %s", out.Payload)
	}
	configure(&types.ImageConfig{EntryPoint: []string{"./run"}, WorkingDirectory: aws.String("/app")})
	wantPayload(t, s.Invoke(t, "from-image", `{"do":"echo"}`), `{"do":"echo"}`)
	configure(&types.ImageConfig{})

	// Another image takes its place.
	exits := imagetest.Image(t, runtime.GOARCH, v1.Config{Entrypoint: []string{"/data/kept"}}, base)
	other := registry.Push(t, "team/other:1", exits)
	if _, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("from-image"), ImageUri: &other}); err != nil {
		t.Fatal(err)
	}
	waitUpdated(ctx, t, c, "from-image")
	if out := s.Invoke(t, "from-image", `{"do":"echo"}`); out.FunctionError == nil {
		t.Errorf("after an update: %s", out.Payload)
	}
}

func waitUpdated(ctx context.Context, t *testing.T, c *lambda.Client, name string) {
	t.Helper()
	w := lambda.NewFunctionUpdatedV2Waiter(c, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	})
	if err := w.Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, 30*time.Second); err != nil {
		t.Fatal(err)
	}
}

// TestImageWithAShell has the layout of AWS's base images: an entry point that is a
// script gets the handler as its argument, and starts the runtime.
func TestImageWithAShell(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Skip("this host has no shell")
	}
	files := [][2]string{{"bin", "->usr/bin"}, {"lib", "->usr/lib"}, {"lib64", "->usr/lib64"}, {"tmp/", ""}, {"var/task/", ""}}
	libraries, err := exec.Command("ldd", shell).Output()
	if err != nil {
		t.Skip("the shell's libraries cannot be found")
	}
	for _, path := range append(regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1), shell) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(path, "/")
		if path == shell {
			name = "usr/bin/sh"
		} else if !strings.HasPrefix(name, "usr/") {
			name = "usr/" + name
		}
		files = append(files, [2]string{name + "!", string(content)})
	}
	binary := probe.Content(t)
	runtimeLayer := imagetest.Layer(t, [2]string{"lambda-entrypoint.sh!", "#!/bin/sh\necho \"handler $1\"\nexport _HANDLER=\"$1\"\nexec /var/runtime/bootstrap\n"},
		[2]string{"var/runtime/bootstrap!", binary})
	registry := imagetest.Start(t)
	registry.Open = true
	config := v1.Config{Entrypoint: []string{"/lambda-entrypoint.sh"}, WorkingDir: "/var/task"}
	reference := registry.Push(t, "lambda/shell", imagetest.Image(t, runtime.GOARCH, config, imagetest.Layer(t, files...), runtimeLayer))
	s := harness.Start(t, harness.Options{})
	if out, errs, err := s.CLI("", "deploy", "--image", reference, "--name", "shell"); err != nil {
		t.Fatalf("%v\n%s%s\n%s", err, out, errs, s.Stderr())
	}
	_, err = s.Lambda().UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{
		FunctionName: aws.String("shell"), ImageConfig: &types.ImageConfig{Command: []string{"app.handler"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	waitUpdated(t.Context(), t, s.Lambda(), "shell")
	wantPayload(t, s.Invoke(t, "shell", `{"do":"echo"}`), `{"do":"echo"}`)
	if out, errs, err := s.CLI("", "logs", "shell"); err != nil || !strings.Contains(out, "handler app.handler") {
		t.Errorf("log: %v\n%s%s", err, out, errs)
	}
}

// TestApplicationFromImage runs the program of an image on disk, which writes into its
// root, behind a function URL.
func TestApplicationFromImage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	binary := files.Content(t)
	base := imagetest.Layer(t, [2]string{"srv/", ""}, [2]string{"srv/page", "from the image"}, [2]string{"srv/gone", "x"},
		[2]string{"etc/passwd", "root:x:0:0::/root:\nwww:x:33:33::/srv:\n"})
	code := imagetest.Layer(t, [2]string{"usr/bin/serve!", binary}, [2]string{"srv/.wh.gone", ""})
	dir := imageLayout(t, imagetest.Image(t, runtime.GOARCH, v1.Config{Cmd: []string{"serve"}, WorkingDir: "/srv", StopSignal: "SIGUSR1",
		Volumes: map[string]struct{}{"/srv/volumes/data": {}, "/srv": {}}}, base, code))
	s := harness.Start(t, harness.Options{})
	if out, errs, err := s.CLI("", "deploy", "--image", "oci:"+dir, "--name", "site", "--port", "8080"); err != nil {
		t.Fatalf("%v\n%s%s\n%s", err, out, errs, s.Stderr())
	}
	// The tag of an image may stay where it is: nothing is changed then.
	if out, errs, err := s.CLI("", "deploy", "--image", "oci:"+dir, "--name", "site", "--port", "8080"); err != nil || !strings.HasPrefix(out, "site unchanged (image 127.0.0.1:") {
		t.Errorf("deployed again: %v\n%s%s", err, out, errs)
	}
	if out, errs, err := s.CLI("", "url", "site", "create", "--public"); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	for _, step := range [][2]string{
		{"page", "from the image"}, {"gone", "no file"}, {"root/.ssh", "no file"},
		{"write/page", "changed"}, {"page", "changed"}, {"write/new", "changed"}, {"write/volumes/data/new", "changed"},
		// Without a user it is root's, which may go on as another one.
		{"env/HOME", "/root"}, {"env/PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{"as/0", "0:0 <nil>"}, {"as/33", "33:33 <nil>"}, {"as/65536", "fork/exec /proc/self/exe: invalid argument"},
	} {
		path, want := step[0], step[1]
		res, err := http.Get(s.Gateway + "/fn/site/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(body) != want {
			t.Errorf("%s: %d %q, want %q\n%s", path, res.StatusCode, body, want, s.Stderr())
		}
	}
	change := &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("site"), MemorySize: aws.Int32(512)}
	if _, err := s.Lambda().UpdateFunctionConfiguration(t.Context(), change); err != nil { // ends the instance
		t.Error(err)
	}
	said := ""
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(said, "asked to end"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the program has not had the signal of its image:\n%s\n%s", said, s.Stderr())
		}
		said, _, _ = s.CLI("", "logs", "site")
	}
	applicationAsUser(t, s, base, code)
	stored, err := filepath.Glob(filepath.Join(s.Data, "artifacts", "trees", "*", "*", "srv", "new"))
	if err != nil || len(stored) > 0 {
		t.Errorf("written into the image itself: %v, %v", stored, err)
	}
}

// imageLayout writes an image to a directory, as "oci:" names it.
func imageLayout(t *testing.T, img v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestImageWithoutProgram deploys an image that says nothing about what to run.
func TestImageWithoutProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	dir := imageLayout(t, imagetest.Image(t, runtime.GOARCH, v1.Config{}, imagetest.Layer(t, [2]string{"srv/page", "x"})))
	s := harness.Start(t, harness.Options{})
	for name, c := range map[string]struct {
		flag string
		want string
	}{
		"function":    {"--memory=128", "set EntryPoint or Command in the function's ImageConfig"},
		"application": {"--port=8080", "deploy it with --command"},
		"unchecked":   {"--no-check", "names no program to start"},
	} {
		if out, errs, err := s.CLI("", "deploy", "--image", "oci:"+dir, "--name", name, c.flag); err == nil || !strings.Contains(errs, name+" is deployed but cannot start") || !strings.Contains(errs, c.want) {
			t.Errorf("%s: %v\n%s%s", name, err, out, errs)
		}
	}
	if out, errs, err := s.CLI("", "deploy", "--image", "oci:"+dir, "--name", "told", "--port=8080", "--command", "/srv/page", "--no-check"); err != nil {
		t.Errorf("with a command: %v\n%s%s", err, out, errs)
	}
}

// applicationAsUser runs the same program as the user that its image names, who has
// no more than that one may.
func applicationAsUser(t *testing.T, s *harness.Server, layers ...v1.Layer) {
	t.Helper()
	registry := imagetest.Start(t)
	registry.Open = true
	img := imagetest.Image(t, runtime.GOARCH, v1.Config{Cmd: []string{"serve"}, WorkingDir: "/srv", User: "www", ExposedPorts: map[string]struct{}{"80/tcp": {}}}, layers...)
	reference := registry.Push(t, "as-user", img)
	if out, errs, err := s.CLI("", "deploy", "--image", reference, "--name", "no-port"); err != nil || !strings.Contains(errs, "the image exposes port 80: ") {
		t.Errorf("deployed as a function: %v\n%s%s", err, out, errs)
	}
	app := publish(t, s, "as-user", "--image", reference, "--port", "80")
	c := &http.Client{Timeout: 30 * time.Second}
	for path, want := range map[string]string{
		"page": "from the image", "env/HOME": "/srv", "write/page": "permission denied", "as/33": "33:33 <nil>", "as/0": "operation not permitted",
	} {
		if got := ask(t, c, newRequest(t, "GET", app+"/"+path, "")); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("%s answers %+v, want %q", path, got, want)
		}
	}
	made := imagetest.Image(t, runtime.GOARCH, v1.Config{Cmd: []string{"/usr/bin/serve"}, WorkingDir: "/made/for/it", User: "www"}, layers...)
	if _, errs, err := s.CLI("", "deploy", "--image", registry.Push(t, "elsewhere", made), "--name", "elsewhere", "--port", "8080"); err != nil {
		t.Errorf("a working directory that the image lacks: %v\n%s", err, errs)
	}
	missing := imagetest.Image(t, runtime.GOARCH, v1.Config{Cmd: []string{"serve"}, User: "nobody"}, layers...)
	app = publish(t, s, "as-nobody", "--image", registry.Push(t, "as-nobody", missing), "--port", "8080", "--no-check")
	if got := ask(t, c, newRequest(t, "GET", app+"/page", "")); got.status != 502 || !strings.Contains(got.body, "no such user in its /etc/passwd") {
		t.Errorf("a user that is missing: %+v", got)
	}
}

// TestImagesThatCannotBeHad says why.
func TestImagesThatCannotBeHad(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	registry := imagetest.Start(t)
	layer := imagetest.Layer(t, [2]string{"bin/x!", "x"})
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	registry.Push(t, "foreign:1", imagetest.Image(t, other, v1.Config{Entrypoint: []string{"/bin/x"}}, layer))
	s := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"registries:\n  - host: %s\n    username: %s\n    password: %s\n", registry.Host, imagetest.User, imagetest.Password)})
	stranger := imagetest.Start(t) // whose login the server does not have

	for name, c := range map[string]struct{ reference, says string }{
		"missing": {registry.Host + "/nothing:1", "does not exist"},
		"foreign": {registry.Host + "/foreign:1", "is for " + other},
		"no name": {"Not A Reference", "is not valid"},
		"login":   {stranger.Host + "/private:1", "does not have permission"},
	} {
		_, err := s.Lambda().CreateFunction(ctx, &lambda.CreateFunctionInput{
			FunctionName: aws.String("bad"), PackageType: types.PackageTypeImage, Role: aws.String(harness.Role),
			Code: &types.FunctionCode{ImageUri: &c.reference},
		})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, c.says)
		}
	}
	var invalid *types.InvalidParameterValueException
	_, err := s.Lambda().CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("bad"), PackageType: types.PackageTypeImage, Role: aws.String(harness.Role), Runtime: types.RuntimePython312, Handler: aws.String("a.b"),
		Code: &types.FunctionCode{ImageUri: aws.String(registry.Host + "/foreign:1")},
	})
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "Please don't provide Handler or Runtime or Layer") {
		t.Errorf("with a runtime: %v", err)
	}
}
