package prepare_test

import (
	"testing"
	"time"

	"lambent.dev/lambent"
)

// A plain handler comes out of the reserve, prepared or not.
func TestJavaBlank(t *testing.T) {
	b := newBed(t)
	v := b.put(b.compile(), "fn.Main")
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(300 * time.Millisecond) {
		got := b.start(nil, v, `{"a":1}`)
		t.Logf("%s: %v, of which init %v", got.origin, got.total.Round(100*time.Microsecond), got.init.Round(100*time.Microsecond))
		if got.answer != `{"a":1}` {
			t.Fatalf("answer %s", got.answer)
		}
		if got.origin == lambent.OriginBlank {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no blank comes up")
		}
	}
}
