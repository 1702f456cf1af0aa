package runtimeapi

import (
	"net/http"
	"strings"
	"testing"
)

func TestProgressRoute(t *testing.T) {
	for path, want := range map[string]struct {
		op operation
		id string
	}{
		"/lambent/v1/invocation/a-b/progress":  {opProgress, "a-b"},
		"/lambent/v1/invocation//progress":     {opUnknown, ""},
		"/lambent/v1/invocation/a":             {opUnknown, ""},
		"/lambent/v1/invocation/a/progress/b":  {opUnknown, ""},
		"/lambent/v1/invocation/../x/progress": {opUnknown, ""},
	} {
		if op, id := route(http.MethodPut, path); op != want.op || id != want.id {
			t.Errorf("PUT %s: operation %d of %q, want %d of %q", path, op, id, want.op, want.id)
		}
	}
	if op, _ := route(http.MethodGet, "/lambent/v1/invocation/a/progress"); op != opWrongMethod {
		t.Errorf("GET is operation %d", op)
	}
}

func TestDepth(t *testing.T) {
	for text, want := range map[string]int{
		`1`: 0, `"[[["`: 0, `[]`: 1, `[[], {"a": [1, "]"]}]`: 3, strings.Repeat("[", 10000) + strings.Repeat("]", 10000): 10000,
	} {
		if got := depth([]byte(text)); got != want {
			t.Errorf("%.40s: %d, want %d", text, got, want)
		}
	}
}
