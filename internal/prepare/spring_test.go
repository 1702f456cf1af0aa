package prepare_test

import (
	"encoding/json"
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

// springboot builds the web application with its dependencies from the Maven
// repositories.
func (b *bed) springboot() string {
	b.t.Helper()
	if _, err := exec.LookPath("mvn"); err != nil {
		b.t.Skip("needs Maven")
	}
	dir := filepath.Join(b.dir, "springboot")
	if err := os.CopyFS(dir, os.DirFS("../../test/runtimes/testdata/springboot")); err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("mvn", "-q", "-B", "package")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("mvn package: %v\n%s", err, out)
	}
	return filepath.Join(dir, "target", "classes")
}

const springEvent = `{"resource":"/{proxy+}","path":"/items/pen","httpMethod":"GET",
	"headers":{"Accept":"application/json","Host":"x"},
	"multiValueHeaders":{"Accept":["application/json"],"Host":["x"]},
	"requestContext":{"accountId":"1","stage":"prod","requestId":"q","identity":{"sourceIp":"127.0.0.1"},
	"httpMethod":"GET","path":"/items/pen","protocol":"HTTP/1.1"},"body":null,"isBase64Encoded":false}`

// A Spring Boot web application answers however it is started, and sooner with
// what was prepared.
func TestSpringBoot(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a web application")
	}
	b := newBed(t)
	v := b.put(b.springboot(), "shop.StreamLambdaHandler")
	v.MemoryMB = 2048
	own := *v
	own.Env = map[string]string{"LC_TIME": "C"} // what a blank cannot be given
	fresh := b.best("from nothing", nil, &own, lambent.OriginStart)
	r := b.room()
	b.wait(r, v)
	archive := b.best("with its archive", r, &own, lambent.OriginStart)
	b.start(r, v, springEvent) // the reserve learns of it
	blank := b.best("from a blank of its own", r, v, lambent.OriginBlank)
	// By how much is for the log, and so is the time that passes: the machine may be
	// busy.
	if archive >= fresh || blank >= fresh {
		t.Errorf("from nothing %v, with its archive %v, from a blank %v", fresh, archive, blank)
	}
}

// reserved waits until a blank of a version's own is ready.
func (b *bed) reserved() {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all := b.driver.(sandbox.Reserver).Reserves()
		if slices.ContainsFunc(all, func(r sandbox.Reserve) bool { return r.Ready > 0 && strings.Contains(r.Key, "+java-") }) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("no blank of its own comes up: %+v", all)
		}
	}
}

// best starts v twice, checks what it answers, and returns the least processor
// time that one took.
func (b *bed) best(name string, r *prepare.Room, v *lambent.Version, origin lambent.Origin) time.Duration {
	b.t.Helper()
	var all []time.Duration
	for range 2 {
		if origin == lambent.OriginBlank {
			b.reserved()
		}
		got := b.start(r, v, springEvent)
		var answer struct {
			StatusCode int
			Body       string
		}
		if err := json.Unmarshal([]byte(got.answer), &answer); err != nil {
			b.t.Fatalf("%s: %v in %s", name, err, got.answer)
		}
		if answer.StatusCode != http.StatusOK || answer.Body != `{"name":"pen","price":2,"tags":["blue"]}` {
			b.t.Fatalf("%s: answer %s", name, got.answer)
		}
		if got.origin != origin {
			b.t.Errorf("%s: the instance came by %s, want %s", name, got.origin, origin)
		}
		b.t.Logf("%s: %v, of which init %v; %v of the processor", name,
			got.total.Round(time.Millisecond), got.init.Round(time.Millisecond), got.cpu.Round(time.Millisecond))
		all = append(all, got.cpu)
	}
	return slices.Min(all)
}
