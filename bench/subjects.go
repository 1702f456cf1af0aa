package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// subject is a function whose cold start is measured, and the same handler
// started without lambent: its interpreter, one event through a pipe, no sandbox.
type subject struct {
	name             string
	runtime, handler string
	memory           int32
	bar              float64 // cold over raw; 0 is none
	barMillis        float64 // of the cold start itself; 0 is none
	// make writes the function's files and what the raw start needs into dir, and
	// returns the former by name, and the raw command or nil.
	make func(ctx context.Context, b *bed, dir string) (files map[string][]byte, raw *rawStart, err error)
}

// rawStart is a command that answers one event from its standard input.
type rawStart struct {
	args []string
	env  []string
}

// errAbsent tells that this host lacks what a subject needs.
var errAbsent = errors.New("not on this host")

var subjects = []subject{
	{name: "Python, json and http", runtime: "python3.11", handler: "app.handler", memory: 512, bar: .35, make: pythonSubject},
	{name: "Node", runtime: "nodejs20.x", handler: "index.handler", memory: 512, bar: .35, make: nodeSubject},
	{name: "Java, plain handler", runtime: "java17", handler: "bench.Echo", memory: 512, bar: .35, make: javaSubject},
	{name: "Go on provided.al2023", runtime: "provided.al2023", handler: "bootstrap", memory: 512, bar: 2.5, make: goSubject},
	{name: "Wasm, Rust", runtime: "wasm", handler: "echo.wasm", memory: 128, barMillis: 1, make: rustSubject},
	{name: "Wasm, Go", runtime: "wasm", handler: "echo.wasm", memory: 128, make: goWasmSubject},
}

// The handler sleeps when asked to, so that many calls need as many instances.
const pythonHandler = `import json
import http.client
import time


def handler(event, context):
    if "sleep" in event:
        time.sleep(event["sleep"])
    return json.loads(json.dumps(event))
`

const pythonRaw = `import sys
sys.path.insert(0, sys.argv[1])
import json, app
sys.stdout.write(json.dumps(app.handler(json.loads(sys.stdin.readline()), None)) + "\n")
sys.stdout.flush()
`

func pythonSubject(_ context.Context, b *bed, dir string) (map[string][]byte, *rawStart, error) {
	python, err := b.interpreter("python3.11")
	if err != nil {
		return nil, nil, err
	}
	files := map[string][]byte{"app.py": []byte(pythonHandler)}
	return files, &rawStart{args: []string{python, "-c", pythonRaw, dir}}, writeFiles(dir, files)
}

const nodeHandler = `const http = require("http");
exports.handler = async (event) => event;
`

const nodeRaw = `const {handler} = require(process.argv[1] + "/index.js");
let text = "";
process.stdin.on("data", (d) => {
  text += d;
  if (!text.endsWith("\n")) return;
  handler(JSON.parse(text)).then((a) => process.stdout.write(JSON.stringify(a) + "\n"));
});
`

func nodeSubject(_ context.Context, b *bed, dir string) (map[string][]byte, *rawStart, error) {
	node, err := b.interpreter("nodejs20.x")
	if err != nil {
		return nil, nil, err
	}
	files := map[string][]byte{"index.js": []byte(nodeHandler)}
	return files, &rawStart{args: []string{node, "-e", nodeRaw, dir}}, writeFiles(dir, files)
}

const javaHandler = `package bench;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

public class Echo implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) { return event; }
}
`

// The raw Java start reads the event by hand: a JSON library would be part of what
// is measured, and favour lambent.
const javaRaw = `package bench;

import java.io.*;
import java.util.*;

public class Raw {
    public static void main(String[] args) throws IOException {
        String line = new BufferedReader(new InputStreamReader(System.in)).readLine();
        Map<String, Object> event = new LinkedHashMap<>();
        event.put("event", line);
        System.out.println(new Echo().handleRequest(event, null));
        System.out.flush();
    }
}
`

func javaSubject(ctx context.Context, b *bed, dir string) (map[string][]byte, *rawStart, error) {
	java, err := b.interpreter("java17")
	if err != nil {
		return nil, nil, err
	}
	javac := filepath.Join(filepath.Dir(java), "javac")
	if _, err := os.Stat(javac); err != nil {
		return nil, nil, fmt.Errorf("javac: %w", errAbsent)
	}
	core := filepath.Join(b.root, "runtimes", "java", "bootstrap.jar") // has Lambda's interfaces
	sources := map[string][]byte{"src/Echo.java": []byte(javaHandler), "src/Raw.java": []byte(javaRaw)}
	if err := writeFiles(dir, sources); err != nil {
		return nil, nil, err
	}
	classes := filepath.Join(dir, "classes")
	if err := runIn(ctx, dir, javac, "-cp", core, "-d", classes, "src/Echo.java", "src/Raw.java"); err != nil {
		return nil, nil, err
	}
	class, err := os.ReadFile(filepath.Join(classes, "bench", "Echo.class"))
	raw := &rawStart{args: []string{java, "-cp", classes + ":" + core, "bench.Raw"}}
	return map[string][]byte{"bench/Echo.class": class}, raw, err
}

func goSubject(ctx context.Context, b *bed, _ string) (map[string][]byte, *rawStart, error) {
	binary, err := b.echo(ctx)
	if err != nil {
		return nil, nil, err
	}
	code, err := os.ReadFile(binary)
	return map[string][]byte{"bootstrap": code}, &rawStart{args: []string{binary}, env: []string{"RAW=1"}}, err
}

const rustHandler = `use std::io::{Read, Write};

fn main() {
    let mut event = Vec::new();
    std::io::stdin().read_to_end(&mut event).unwrap();
    std::io::stdout().write_all(&event).unwrap();
}
`

func rustSubject(ctx context.Context, _ *bed, dir string) (map[string][]byte, *rawStart, error) {
	if err := writeFiles(dir, map[string][]byte{"echo.rs": []byte(rustHandler)}); err != nil {
		return nil, nil, err
	}
	for _, target := range []string{"wasm32-wasip1", "wasm32-wasi"} {
		if runIn(ctx, dir, "rustc", "--target", target, "-O", "-o", "echo.wasm", "echo.rs") == nil {
			code, err := os.ReadFile(filepath.Join(dir, "echo.wasm"))
			return map[string][]byte{"echo.wasm": code}, nil, err
		}
	}
	return nil, nil, fmt.Errorf("rustc with a WASI target: %w", errAbsent)
}

const goWasmHandler = `package main

import (
	"io"
	"os"
)

func main() { _, _ = io.Copy(os.Stdout, os.Stdin) }
`

func goWasmSubject(ctx context.Context, _ *bed, dir string) (map[string][]byte, *rawStart, error) {
	err := writeFiles(dir, map[string][]byte{"main.go": []byte(goWasmHandler), "go.mod": []byte("module echo\n\ngo 1.24\n")})
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", "echo.wasm", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("go build for wasip1: %w: %s", err, out)
	}
	code, err := os.ReadFile(filepath.Join(dir, "echo.wasm"))
	return map[string][]byte{"echo.wasm": code}, nil, err
}

// interpreter is the one that lambent uses for a runtime.
func (b *bed) interpreter(runtime string) (string, error) {
	out, err := exec.Command(filepath.Join(b.root, "bin", "lambent"), "--data", b.data, "runtime", "list", "--json").Output()
	if err != nil {
		return "", fmt.Errorf("list runtimes: %w", err)
	}
	var list []struct{ Name, Path string }
	if err := json.Unmarshal(out, &list); err != nil {
		return "", err
	}
	for _, r := range list {
		if r.Name == runtime && r.Path != "" {
			return r.Path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", runtime, errAbsent)
}

// once starts the command, hands it the event and waits for the line that answers
// it: that is the time. The process's end is not part of it.
func (r *rawStart) once(ctx context.Context) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, r.args[0], r.args[1:]...)
	cmd.Env = append(os.Environ(), r.env...)
	cmd.Stdin = bytes.NewReader(append(bytes.Clone(event), '\n'))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(begin)
	_, _ = io.Copy(io.Discard, out)
	if wait := cmd.Wait(); err != nil || wait != nil || strings.TrimSpace(line) == "" {
		return 0, fmt.Errorf("%s answered %q: %w: %s", r.args[0], line, errors.Join(err, wait, errNoAnswer), complaint.Bytes())
	}
	return took, nil
}

func runIn(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func writeFiles(dir string, files map[string][]byte) error {
	for name, body := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, body, 0o755); err != nil {
			return err
		}
	}
	return nil
}
