package runtimes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent/test/harness"
)

// publish makes a layer of some files and returns its version's ARN.
func publish(t *testing.T, s *harness.Server, name string, files map[string]string) string {
	t.Helper()
	out, err := s.Lambda().PublishLayerVersion(context.Background(), &lambda.PublishLayerVersionInput{
		LayerName: &name, Content: &types.LayerVersionContentInput{ZipFile: harness.Zip(t, files)},
	})
	if err != nil {
		t.Fatalf("publish layer %s: %v", name, err)
	}
	return *out.LayerVersionArn
}

// layered is a function that prints what its language finds in layers.
type layered struct{ prefix, handler, file, source, module, content string }

var layeredFunctions = []layered{
	{"python", "f.handler", "f.py", "import mine\n\ndef handler(event, context):\n    return mine.VALUE\n", "python/mine.py", "VALUE = %q\n"},
	{"nodejs", "f.handler", "f.js", "exports.handler = async () => require('mine');\n", "nodejs/node_modules/mine/index.js", "module.exports = %q;\n"},
}

func TestLayers(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, l := range layeredFunctions {
		for _, runtime := range some(ready(t, s, l.prefix)) {
			t.Run(runtime, func(t *testing.T) { testLayers(t, s, l, runtime) })
		}
	}
	for _, runtime := range some(ready(t, s, "nodejs")) {
		t.Run(runtime+" module", func(t *testing.T) { testModuleLayer(t, s, runtime) })
	}
	t.Run("java", func(t *testing.T) { testJavaLayer(t, s) })
	t.Run("at most five", func(t *testing.T) {
		var arns []string
		for n := range 6 {
			arns = append(arns, publish(t, s, fmt.Sprintf("layer-%d", n), map[string]string{"n": fmt.Sprint(n)}))
		}
		wantRefused(t, s, harness.Function{Name: "six", Runtime: "provided.al2023", Layers: arns}, "InvalidParameterValueException", "Cannot reference more than 5 layers.")
	})
}

// testModuleLayer has an ES module import what layers have, as it may on AWS from
// Node.js 18 on. Packages of the release's own folder go first, and find the others.
func testModuleLayer(t *testing.T, s *harness.Server, runtime string) {
	release := strings.TrimSuffix(runtime, ".x")
	layer := publish(t, s, "module-"+release, map[string]string{
		"nodejs/node_modules/common/index.js":                           "module.exports = 'common';",
		"nodejs/node_modules/both/index.js":                             "module.exports = 'of all releases';",
		"nodejs/node" + release[6:] + "/node_modules/both/index.mjs":    "import common from 'common';\nexport default 'of this one, with ' + common;",
		"nodejs/node" + release[6:] + "/node_modules/both/package.json": `{"name": "both", "exports": "./index.mjs"}`,
	})
	s.Create(t, harness.Function{Name: "module-" + release, Runtime: runtime, Handler: "f.handler", Layers: []string{layer},
		Zip: harness.Zip(t, map[string]string{"f.mjs": `
import both from 'both';
export const handler = async () => [both, (await import('common')).default];
`})})
	wantPayload(t, s.Invoke(t, "module-"+release, `{}`), `["of this one, with common","common"]`)
}

func testLayers(t *testing.T, s *harness.Server, l layered, runtime string) {
	name := strings.ReplaceAll(runtime, ".", "-")
	var arns []string
	for n := range 5 {
		arns = append(arns, publish(t, s, fmt.Sprintf("%s-%d", name, n), map[string]string{
			l.module: fmt.Sprintf(l.content, fmt.Sprintf("layer %d", n)), fmt.Sprintf("only-%d", n): "x",
		}))
	}
	deploy := func(suffix string, layers []string) *lambda.InvokeOutput {
		f := name + suffix
		s.Create(t, harness.Function{Name: f, Runtime: runtime, Handler: l.handler, Layers: layers,
			Zip: harness.Zip(t, map[string]string{l.file: l.source})})
		return s.Invoke(t, f, `{}`)
	}
	wantPayload(t, deploy("-five", arns), `"layer 4"`)
	wantPayload(t, deploy("-reversed", []string{arns[4], arns[0]}), `"layer 0"`)
	if f := failureOf(t, deploy("-none", nil)); f.Type != "Runtime.ImportModuleError" && f.Type != "Error" {
		t.Errorf("without its layer: %+v", f)
	}
}

func testJavaLayer(t *testing.T, s *harness.Server) {
	javas := some(ready(t, s, "java"))
	if len(javas) == 0 {
		t.Skip("this host has no Java")
	}
	classes := code(t, "java")
	jar := publish(t, s, "jar", map[string]string{"java/lib/function.jar": string(harness.ZipDir(t, classes))})
	for _, runtime := range javas {
		name := "layered-" + strings.ReplaceAll(runtime, ".", "-")
		s.Create(t, harness.Function{Name: name, Runtime: runtime, Handler: "fn.Main", Layers: []string{jar}, Memory: 512,
			Zip: harness.Zip(t, map[string]string{"empty": ""})})
		wantPayload(t, s.Invoke(t, name, `[1]`), `[1]`)
	}
}

// The bootstrap of a provided runtime may come from a layer; the function's own
// comes first.
func TestProvidedBootstrap(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	dir := code(t, "provided")
	layer, err := s.Lambda().PublishLayerVersion(context.Background(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String("bootstrap"), Content: &types.LayerVersionContentInput{ZipFile: harness.ZipDir(t, dir)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, runtime := range []string{"provided.al2023", "provided.al2"} {
		t.Run(runtime, func(t *testing.T) {
			name := strings.ReplaceAll(runtime, ".", "-")
			deploy := func(suffix string, files map[string]string, layers ...string) *lambda.InvokeOutput {
				s.Create(t, harness.Function{Name: name + suffix, Runtime: runtime, Handler: "any", Zip: harness.Zip(t, files), Layers: layers})
				return s.Invoke(t, name+suffix, `{"do":"echo","value":"from the layer"}`)
			}
			wantPayload(t, deploy("-layer", map[string]string{"data": "x"}, *layer.LayerVersionArn), `"from the layer"`)
			own := "#!/bin/sh\nexit 5\n"
			wantFailure(t, deploy("-own", map[string]string{"bootstrap!": own}, *layer.LayerVersionArn),
				"Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 5")
			for suffix, files := range map[string]map[string]string{
				"-none":           {"data": "x"},
				"-not-executable": {"bootstrap": own},
				"-not-a-program":  {"bootstrap!": "\x00\x01"},
			} {
				wantFailure(t, deploy(suffix, files), "Runtime.InvalidEntrypoint", invalidEntrypoint[suffix])
			}
		})
	}
}

// invalidEntrypoint are the messages of the Runtime Interface Emulator.
var invalidEntrypoint = map[string]string{
	"-none":           "RequestId: ID Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]",
	"-not-executable": "RequestId: ID Error: fork/exec /var/task/bootstrap: permission denied",
	"-not-a-program":  "RequestId: ID Error: fork/exec /var/task/bootstrap: exec format error",
}

// wantRefused makes sure that CreateFunction refuses f and says why.
func wantRefused(t *testing.T, s *harness.Server, f harness.Function, code string, words ...string) {
	t.Helper()
	if f.Zip == nil {
		f.Zip = harness.Zip(t, map[string]string{"f": "x"})
	}
	_, err := s.Lambda().CreateFunction(context.Background(), &lambda.CreateFunctionInput{
		FunctionName: &f.Name, Runtime: types.Runtime(f.Runtime), Handler: aws.String("f.handler"), Role: aws.String(harness.Role),
		Code: &types.FunctionCode{ZipFile: f.Zip}, Layers: f.Layers,
	})
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Errorf("create %s with %s: %v, want a refusal", f.Name, f.Runtime, err)
		return
	}
	if api.ErrorCode() != code {
		t.Errorf("%s: code %s, want %s", f.Runtime, api.ErrorCode(), code)
	}
	for _, w := range words {
		if !strings.Contains(api.ErrorMessage(), w) {
			t.Errorf("%s: message %q lacks %q", f.Runtime, api.ErrorMessage(), w)
		}
	}
}
