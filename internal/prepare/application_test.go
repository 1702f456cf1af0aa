package prepare_test

import (
	"archive/zip"
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/prepare"
	"lambent.dev/lambent/internal/sandbox"
)

// shop builds the web application and unpacks its jar, as the artifact store does.
func (b *bed) shop() string {
	b.t.Helper()
	if _, err := exec.LookPath("mvn"); err != nil {
		b.t.Skip("needs Maven")
	}
	dir := filepath.Join(b.dir, "shop")
	if err := os.CopyFS(dir, os.DirFS("../../bench/spring")); err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("mvn", "-q", "-B", "package")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Skipf("mvn package: %v\n%s", err, out)
	}
	jar, err := zip.OpenReader(filepath.Join(dir, "target", "shop-1.jar"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = jar.Close() }() // read only
	tree := filepath.Join(dir, "tree")
	if err := os.CopyFS(tree, jar); err != nil {
		b.t.Fatal(err)
	}
	return tree
}

// A Spring Boot application is prepared by one start of it, and starts with its
// own class and an archive of its classes from then on.
func TestSpringApplication(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a web application")
	}
	b := newBed(t)
	v := b.put(b.shop(), "")
	v.Network, v.MemoryMB = lambent.NetworkLoopback, 2048 // more than a processor: it is quick
	v.App = &lambent.App{Port: 8080, StartTimeout: time.Minute, Concurrency: 1, Command: []string{"/bin/sh", "-c",
		"exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:MaxRAM=${AWS_LAMBDA_FUNCTION_MEMORY_SIZE}m -XX:MaxRAMPercentage=60 -XX:InitialRAMPercentage=25 -Dshop.name=two -cp /var/task org.springframework.boot.loader.launch.JarLauncher --server.port=$PORT"}}
	fresh, said := b.ask(nil, v)
	if !slices.ContainsFunc(said, func(l string) bool { return strings.Contains(l, "Starting Application v1 ") }) {
		t.Errorf("the application does not tell its version: %q", said)
	}
	r := b.room()
	b.wait(r, v)
	soon, said := b.ask(r, v)
	if !slices.ContainsFunc(said, func(l string) bool { return strings.Contains(l, "Starting Application v1 ") }) {
		t.Errorf("the prepared application does not tell its version: %q", said)
	}
	if soon > fresh*9/10 { // it is about 0.6
		t.Errorf("it takes %v of processor time with its archive, %v without", soon, fresh)
	}
	if err := os.WriteFile(b.find("app.jsa"), make([]byte, size(t, b.find("app.jsa"))), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, said := b.ask(r, v); slices.ContainsFunc(said, func(l string) bool { return strings.Contains(l, "[warning]") }) {
		t.Errorf("a damaged archive is talked about: %q", said)
	}
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// ask starts the application, asks it for an item, and returns what processor time
// that took and what it said.
func (b *bed) ask(r *prepare.Room, v *lambent.Version) (time.Duration, []string) {
	b.t.Helper()
	begin, out := time.Now(), &lines{}
	inst, stop := b.boot(r, v, out)
	defer stop()
	if init, err := inst.Init(b.t.Context()); err != nil || init.Failure != nil {
		b.t.Fatalf("init: %v %+v\n%s", err, init.Failure, out)
	}
	c, err := inst.(sandbox.Dialer).Dial(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // the answer has been read
	if _, err := io.WriteString(c, "GET /items/pen HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	took, used := time.Since(begin), inst.Usage().CPU
	if err != nil || string(body) != `{"name":"pen","price":2,"tags":["blue"]}` {
		b.t.Fatalf("answer %s: %v", body, err)
	}
	b.t.Logf("started and answered in %v, with %v of processor time", took.Round(time.Millisecond), used.Round(time.Millisecond))
	return used, out.all()
}
