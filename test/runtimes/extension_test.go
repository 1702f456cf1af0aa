package runtimes

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent/internal/image/imagetest"
	"lambent.dev/lambent/test/harness"
)

// witness is the extension's program.
func witness(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "witness")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", binary, ".")
	cmd.Dir, cmd.Env = sourceDir("extension"), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// logText is all that there is of a function's log.
func logText(t *testing.T, s *harness.Server, function string) string {
	t.Helper()
	out, stderr, err := s.CLI("", "logs", function)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	return out
}

// awaitLog waits until the log has all of a list, one after the other, and gives it.
func awaitLog(t *testing.T, s *harness.Server, function string, want ...string) string {
	t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		text, missing := logText(t, s, function), ""
		at := 0
		for _, w := range want {
			n := strings.Index(text[at:], w)
			if n < 0 {
				missing = w
				break
			}
			at += n + len(w)
		}
		if missing == "" {
			return text
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("no %q, or not in its place, in the log:\n%s", missing, text)
		}
	}
}

// change ends a function's instances.
func change(t *testing.T, s *harness.Server, function string) {
	t.Helper()
	if _, err := s.Lambda().UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &function, Timeout: aws.Int32(7),
	}); err != nil {
		t.Fatal(err)
	}
}

// TestExternalExtension runs a program of a layer beside functions.
func TestExternalExtension(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t), "extensions/notes/of.txt": "in a folder"})
	zip := harness.ZipDir(t, code(t, "provided"))
	s.Create(t, harness.Function{Name: "watched", Runtime: "provided.al2023", Handler: "h", Zip: zip, Layers: []string{layer}, Env: map[string]string{"GOODBYE": "50ms"}})
	for range 2 {
		if out := s.Invoke(t, "watched", `{"do":"echo","value":1}`); out.FunctionError != nil {
			t.Fatalf("%s\n%s", out.Payload, logText(t, s, "watched"))
		}
	}
	change(t, s, "watched")
	awaitLog(t, s, "watched",
		`witness: registered for {"functionName":"watched","functionVersion":"$LATEST","handler":"h"}`,
		"witness: INVOKE", "witness: INVOKE", "told of the end", "done with the end", "witness: SHUTDOWN spindown", "witness: at rest")
	if text := logText(t, s, "watched"); strings.Contains(text, "has the runtime's") {
		t.Errorf("the extension has the runtime's variables:\n%s", text)
	}
}

// TestEndsThatNobodyBringsOn: who was idle too long, and who is there when the server
// stops, is told of an ordinary end.
func TestEndsThatNobodyBringsOn(t *testing.T) {
	s := harness.Start(t, harness.Options{Config: "instances:\n  idle: 1s\n"})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	zip := harness.ZipDir(t, code(t, "provided"))
	for _, name := range []string{"idle", "stopped"} {
		s.Create(t, harness.Function{Name: name, Runtime: "provided.al2023", Handler: "h", Zip: zip, Layers: []string{layer}})
		wantPayload(t, s.Invoke(t, name, `{"do":"echo","value":1}`), "1")
		if name == "stopped" {
			s.Restart()
		}
		awaitLog(t, s, name, "REPORT RequestId: ", "witness: SHUTDOWN spindown", "witness: at rest")
	}
}

// TestExtensionThatFails has extensions fail in each way that there is.
func TestExtensionThatFails(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	program := witness(t)
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": program})
	none := publish(t, s, "broken", map[string]string{"extensions/broken!": "no program"})
	still := publish(t, s, "still", map[string]string{"extensions/still": program})
	many := map[string]string{}
	for n := range 11 {
		many[fmt.Sprintf("extensions/e%d!", n)] = "never started"
	}
	crowd := publish(t, s, "crowd", many)
	zip := harness.ZipDir(t, code(t, "provided"))
	for name, c := range map[string]struct {
		layers                 []string
		behaves, kind, message string
	}{
		"crash":         {[]string{layer}, "crash", "Extension.Crash", "Extension witness exited with error: exit status 3"},
		"exit-error":    {[]string{layer}, "exit/error", "Extension.ExitError", "Extension witness failed: Extension.Boom"},
		"init-error":    {[]string{layer}, "init/error", "Extension.InitError", "Extension witness failed: Extension.Boom"},
		"no-program":    {[]string{layer, none}, "", "Extension.LaunchError", "fork/exec /opt/extensions/broken: exec format error"},
		"no-permission": {[]string{still}, "", "Extension.LaunchError", "fork/exec /opt/extensions/still: permission denied"},
		"too-many":      {[]string{crowd}, "", "Extension.TooManyExtensions", "There are more than 10 extensions"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Create(t, harness.Function{Name: name, Runtime: "provided.al2023", Handler: "h", Zip: zip, Layers: c.layers, Env: map[string]string{"WITNESS": c.behaves}})
			began := time.Now()
			wantFailure(t, s.Invoke(t, name, `{"do":"sleep","seconds":4}`), c.kind, "RequestId: ID Error: "+c.message)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestExtensionStartsFirst: what the function does while it initialises finds the
// extension there.
func TestExtensionStartsFirst(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	s.Create(t, harness.Function{Name: "second", Runtime: "python3.11", Handler: "f.handler", Layers: []string{layer}, Env: map[string]string{"WITNESS": "late"},
		Zip: harness.Zip(t, map[string]string{"f.py": "import socket\nsocket.create_connection(('127.0.0.1', 4244))\ndef handler(event, context):\n    return 'there'\n"})})
	if out := s.Invoke(t, "second", `{}`); string(out.Payload) != `"there"` {
		t.Errorf("%s\n%s", out.Payload, logText(t, s, "second"))
	}
}

// TestExtensionOutlivesRuntime: when an invocation ends the runtime, its caller has the
// answer at once, and extensions are told what happened, why it ends, and have a while.
func TestExtensionOutlivesRuntime(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	zip := harness.ZipDir(t, code(t, "provided"))
	// Nothing is delivered before the end but by its being the end.
	patient := strings.Replace(fmt.Sprintf(subscription, `"platform","function"`, `{"protocol":"HTTP","URI":"http://sandbox:4243"}`), `:25`, `:30000`, 1)
	for name, c := range map[string]struct {
		payload, kind, reason, status string
		timeout                       int32 // to fill the memory takes a busy machine seconds
	}{
		"times-out": {`{"do":"sleep","seconds":60}`, "Sandbox.Timedout", "timeout", `"status":"timeout"`, 1},
		"exits":     {`{"do":"exit","code":1}`, "Runtime.ExitError", "failure", `"status":"error"`, 30},
		"exhausts":  {`{"do":"oom"}`, "Runtime.ExitError", "failure", `"status":"error"`, 30},
	} {
		t.Run(name, func(t *testing.T) {
			s.Create(t, harness.Function{Name: name, Runtime: "provided.al2023", Handler: "h", Zip: zip, Layers: []string{layer}, Timeout: c.timeout,
				Env: map[string]string{"WITNESS": "lingers", "TELEMETRY": patient}})
			if out := s.Invoke(t, name, `{"do":"say","value":"first words"}`); out.FunctionError != nil {
				t.Fatalf("%s\n%s", out.Payload, logText(t, s, name))
			}
			out := s.Invoke(t, name, c.payload)
			if f := failureOf(t, out); f.Type != c.kind {
				t.Errorf("%+v", f)
			}
			answered := time.Now().UnixMilli()
			text := awaitLog(t, s, name, "witness: INVOKE", "told: ", "first words", c.status, "platform.report", "witness: SHUTDOWN "+c.reason, "witness: at rest")
			_, rest, _ := strings.Cut(text, "witness: at rest ")
			rest, _, _ = strings.Cut(rest, "\n")
			if at, err := strconv.ParseInt(rest, 10, 64); err != nil || at <= answered {
				t.Errorf("the answer came at %d and has waited for the extension, which was at rest at %s", answered, rest)
			}
		})
	}
}

// reports are the durations in a log's REPORT lines, by the field's name.
func reports(text, field string) (all []float64) {
	for _, m := range regexp.MustCompile(`(?m)^.*REPORT .*\t`+field+`: ([0-9.]+) ms`).FindAllStringSubmatch(text, -1) {
		ms, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			continue // the caller finds too few
		}
		all = append(all, ms)
	}
	return all
}

// TestExtensionWorksAfterTheAnswer: the report tells of what it does then, which the
// answer has not waited for; the instance takes the next call.
func TestExtensionWorksAfterTheAnswer(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	s.Create(t, harness.Function{Name: "works", Runtime: "provided.al2023", Handler: "h", Zip: harness.ZipDir(t, code(t, "provided")), Layers: []string{layer}, Timeout: 20,
		Env: map[string]string{"WITNESS": "works", "TELEMETRY": fmt.Sprintf(subscription, `"platform"`, `{"protocol":"HTTP","URI":"http://sandbox:4243"}`)}})
	type counted struct{ Count int }
	for n := 1; n <= 2; n++ {
		out := s.Invoke(t, "works", `{"do":"count"}`)
		if got := decode[counted](t, out); got.Count != n {
			t.Errorf("call %d is the %d. of its instance", n, got.Count)
		}
		var inOrder []string
		for range n {
			inOrder = append(inOrder, "START RequestId: ", "witness: INVOKE", "witness: has done its work", "END RequestId: ", "REPORT RequestId: ")
		}
		text := awaitLog(t, s, "works", inOrder...)
		so, whole, billed := reports(logOf(out), "Duration"), reports(text, "Duration"), reports(text, "Billed Duration")
		if len(so) != 1 || len(whole) != n || len(billed) != n {
			t.Fatalf("reports of call %d: %v, then %v, %v in\n%s", n, so, whole, billed, text)
		}
		if whole[n-1] < 300 || billed[n-1] < whole[n-1] || so[0] >= whole[n-1] {
			t.Errorf("call %d took %v ms, the whole %v ms, billed %v ms", n, so[0], whole[n-1], billed[n-1])
		}
	}
	all := awaitTold(t, s, "works", "platform.report")
	if report := recordOf(t, all, "platform.report"); !strings.Contains(report, `"name":"extensionOverhead"`) {
		t.Errorf("the extension was told %s", report)
	}
	types := typesOf(all)
	if done, report := slices.Index(types, "runtimeDone"), slices.Index(types, "report"); done < 0 || report < done {
		t.Errorf("told in this order: %v", types)
	}
}

// TestExtensionOfTheDocument runs the one that docs/extensions.md shows.
func TestExtensionOfTheDocument(t *testing.T) {
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip(err)
	}
	page, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "extensions.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(page), "    #!")
	program, _, _ = strings.Cut("#!"+program, "\n\n")
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "told", map[string]string{"extensions/told!": strings.ReplaceAll(program, "\n    ", "\n")})
	s.Create(t, harness.Function{Name: "shown", Runtime: "provided.al2023", Handler: "h", Zip: harness.ZipDir(t, code(t, "provided")), Layers: []string{layer}, Timeout: 20})
	wantPayload(t, s.Invoke(t, "shown", `{"do":"echo","value":1}`), "1")
	change(t, s, "shown")
	awaitLog(t, s, "shown", "told: INVOKE ", "REPORT RequestId: ", "told: SHUTDOWN spindown")
}

// TestInitBesideExtension: what the function's own initialisation takes is reported
// beside an extension, too, whenever the server hears of its beginning.
func TestInitBesideExtension(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	for _, language := range []string{"java", "dotnet", "deno", "bun", "bash"} {
		t.Run(language, func(t *testing.T) {
			runtimes, folder := ready(t, s, language), language
			if _, err := exec.LookPath("mcs"); len(runtimes) == 0 || language == "dotnet" && err != nil {
				t.Skip("this host has no such runtime")
			}
			if language == "deno" || language == "bun" {
				folder = "web"
			}
			s.Create(t, harness.Function{Name: language, Runtime: runtimes[0], Handler: handlers[language], Zip: harness.ZipDir(t, code(t, folder)),
				Layers: []string{layer}, Timeout: 30, Memory: 512, Env: map[string]string{"INIT_SLEEP": "200"}})
			out := s.Invoke(t, language, `{"do":"echo","value":1}`)
			wantPayload(t, out, "1")
			if init := reports(logOf(out), "Init Duration"); len(init) != 1 || init[0] < 200 {
				t.Errorf("init took %v ms\n%s", init, logOf(out))
			}
		})
	}
}

// TestSlowExtension: an extension that is at work on an invocation holds up its instance,
// not the caller, and the function's time is its, too.
func TestSlowExtension(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	layer := publish(t, s, "witness", map[string]string{"extensions/witness!": witness(t)})
	s.Create(t, harness.Function{Name: "slow", Runtime: "provided.al2023", Handler: "h", Zip: harness.ZipDir(t, code(t, "provided")), Layers: []string{layer}, Timeout: 1,
		Env: map[string]string{"WITNESS": "slow"}})
	type counted struct{ Count int }
	for range 2 { // the second call has an instance of its own
		if got := decode[counted](t, s.Invoke(t, "slow", `{"do":"count"}`)); got.Count != 1 {
			t.Errorf("an instance whose extension is at work has taken call %d", got.Count)
		}
	}
	text := awaitLog(t, s, "slow", "witness: INVOKE", "Task timed out after 1.00 seconds", "END RequestId: ", "\tStatus: timeout", "witness: SHUTDOWN timeout", "witness: at rest")
	for _, ms := range reports(text, "Duration") {
		if ms < 500 || ms > 1000 {
			t.Errorf("a second is %v ms:\n%s", ms, text)
		}
	}
}

// TestExtensionInImage has extensions in images, which come as a whole or file by file.
func TestExtensionInImage(t *testing.T) {
	program, err := providedProgram()
	if err != nil {
		t.Fatal(err)
	}
	bootstrap, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	registry := imagetest.Start(t)
	s := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"registries:\n  - host: %s\n    username: %s\n    password: %s\n", registry.Host, imagetest.User, imagetest.Password)})
	config := v1.Config{Entrypoint: []string{"/app/main"}, WorkingDir: "/app"}
	app, extension := [2]string{"app/main!", string(bootstrap)}, [2]string{"opt/extensions/witness!", witness(t)}
	deploy := func(name string, img v1.Image, override *types.ImageConfig) {
		t.Helper()
		reference := registry.Push(t, "team/"+name+":1", img)
		c := s.Lambda()
		if _, err := c.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
			FunctionName: &name, PackageType: types.PackageTypeImage, Role: aws.String(harness.Role), Timeout: aws.Int32(10), MemorySize: aws.Int32(256),
			Code: &types.FunctionCode{ImageUri: &reference}, ImageConfig: override,
		}); err != nil {
			t.Fatalf("%v\n%s", err, s.Stderr())
		}
		active := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
			o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
		})
		if err := active.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute); err != nil {
			t.Fatalf("%v\n%s", err, s.Stderr())
		}
	}
	witnessed := func(name string) {
		t.Helper()
		if out := s.Invoke(t, name, `{"do":"echo","value":1}`); string(out.Payload) != "1" {
			t.Fatalf("%s\n%s", out.Payload, logText(t, s, name))
		}
		change(t, s, name)
		awaitLog(t, s, name, "witness: registered for", "witness: INVOKE", "witness: SHUTDOWN spindown")
	}

	deploy("plain", imagetest.Image(t, runtime.GOARCH, config, imagetest.Layer(t, app, extension)), nil)
	witnessed("plain")

	// What an override starts has them, too, and a link leads within the image only.
	extension[0] = "srv/all/witness!"
	linked := imagetest.Layer(t, app, extension, [2]string{"opt/extensions", "->/srv/all"}, [2]string{"srv/all/folder/file", ""}, [2]string{"app/other", "->main"})
	deploy("linked", imagetest.Image(t, runtime.GOARCH, config, linked), &types.ImageConfig{EntryPoint: []string{"/app/other"}})
	witnessed("linked")
	outside := imagetest.Layer(t, app, [2]string{"opt/extensions", "->../../../../usr/bin"})
	deploy("outside", imagetest.Image(t, runtime.GOARCH, config, outside), nil)
	if out := s.Invoke(t, "outside", `{"do":"echo","value":1}`); string(out.Payload) != "1" {
		t.Errorf("a link to what the host has: %s", out.Payload)
	}
	// One that is taken away by a layer above is none.
	gone := imagetest.Layer(t, [2]string{"opt/extensions/.wh.witness", ""})
	extension[0] = "opt/extensions/witness!"
	deploy("gone", imagetest.Image(t, runtime.GOARCH, config, imagetest.Layer(t, app, extension), gone), nil)
	if out := s.Invoke(t, "gone", `{"do":"echo","value":1}`); string(out.Payload) != "1" || strings.Contains(logText(t, s, "gone"), "witness") {
		t.Errorf("without its extension: %s", out.Payload)
	}

	t.Run("coming", func(t *testing.T) {
		if _, err := os.Stat("/dev/fuse"); err != nil {
			t.Skip(err)
		}
		dir := t.TempDir()
		imagetest.Archive(t, filepath.Join(dir, "tar"), 64<<20, 1<<20, app, extension)
		layer, digest := imagetest.Indexed(t, filepath.Join(dir, "tar"), filepath.Join(dir, "layer"))
		registry.Files = map[string]string{digest: filepath.Join(dir, "layer")}
		whole := make(chan struct{}) // closed when all of the layer may be had at once
		t.Cleanup(func() { close(whole) })
		registry.Change = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, digest) && r.Header.Get("Range") == "" {
				<-whole
			}
			return false
		}
		deploy("coming", imagetest.Image(t, runtime.GOARCH, config, layer), nil)
		witnessed("coming")
	})
}
