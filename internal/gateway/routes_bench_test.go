package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"lambent.dev/lambent"
)

// BenchmarkRoute is a request by a route, from the gateway's handler to its answer,
// among few routes and among many.
func BenchmarkRoute(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b)
			r.runs(answering(`{"statusCode":200,"body":"ok"}`))
			routes := make([]lambent.Route, n)
			for i := range routes {
				routes[i] = lambent.Route{Host: fmt.Sprintf("h%d.test", i%100), Method: "GET", Path: fmt.Sprintf("/r%d/{id}", i), Function: "hello", Access: lambent.AccessPublic}
			}
			if _, err := r.catalog.PutRoutes(b.Context(), account, routes); err != nil {
				b.Fatal(err)
			}
			target := fmt.Sprintf("/r%d/42", n-1)
			req := httptest.NewRequestWithContext(b.Context(), http.MethodGet, target, nil)
			req.Host = fmt.Sprintf("h%d.test", (n-1)%100)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if r.handler.ServeHTTP(w, req); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
