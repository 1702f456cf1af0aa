package auth

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkInvoke verifies what aws-sdk-go-v2 sends to invoke a function with a
// small event.
func BenchmarkInvoke(b *testing.B) {
	body := []byte(`{"name":"lambent","n":1}`)
	r := call{body: string(body), header: map[string]string{
		"Content-Type": "application/octet-stream", "Amz-Sdk-Invocation-Id": "6c9a5a52-8d43-4a29-8a4a-7a3c7a5f6b1e",
		"Amz-Sdk-Request": "attempt=1; max=3", "X-Amz-Invocation-Type": "RequestResponse",
	}}.signed(b)
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got, err := Body(r); err != nil || !bytes.Equal(got, body) {
			b.Errorf("body %q, error %v", got, err)
		}
	})
	h := handler()
	h.(*gate).next = next
	w := httptest.NewRecorder()
	reader := bytes.NewReader(body)
	closer := io.NopCloser(reader)
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		r.Body = closer
		r.ContentLength = int64(len(body))
		h.ServeHTTP(w, r)
	}
	if w.Code != http.StatusOK {
		b.Fatalf("%d %s", w.Code, w.Body)
	}
}
