package compat

import (
	"path/filepath"
	"testing"

	"lambent.dev/lambent/test/harness"
)

const flow = `
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 203, headers: { 'content-type': 'text/plain' } });
  stream.write('first\n');
  await new Promise((r) => setTimeout(r, 1000));
  stream.write('second\n');
  stream.end();
});
`

func flowing(t *testing.T) *harness.Server {
	s := harness.Start(t, harness.Options{})
	s.Create(t, harness.Function{Name: "flow", Runtime: "nodejs20.x", Handler: "index.handler", Zip: harness.Zip(t, map[string]string{"index.js": flow})})
	return s
}

func TestBoto3Stream(t *testing.T) {
	venv := python(t)
	walk(t, flowing(t), ".", filepath.Join(venv, "bin", "python"), "clients/boto3/stream.py")
}

func TestJavaScriptStream(t *testing.T) {
	dir, program := javascript(t, "stream.mjs")
	walk(t, flowing(t), dir, "node", program)
}
