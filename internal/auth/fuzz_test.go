package auth

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

// FuzzAuthorization holds that no header or query panics, is accepted without
// the secret, or is repeated at length in an answer.
func FuzzAuthorization(f *testing.F) {
	valid := call{body: "x"}.signed(f)
	f.Add(valid.Header.Get("Authorization"), "", "20260101T001500Z")
	f.Add("Bearer x", "a=b", "")
	f.Add("AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/lambda/aws4_request,,SignedHeaders=;host;,Signature="+strings.Repeat("0", 64), "%zz&&=&", "20260101T001500Z")
	f.Add("", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="+docAccess+"%2F20260101%2Fus-east-1%2Flambda%2Faws4_request&X-Amz-Date=20260101T001500Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature="+strings.Repeat("a", 64), "")
	h := handler()
	f.Fuzz(func(t *testing.T, auth, query, date string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/a", RawQuery: query}, Host: "h", Header: http.Header{}, Body: http.NoBody}
		if auth != "" {
			r.Header["Authorization"] = []string{auth}
		}
		if date != "" {
			r.Header["X-Amz-Date"] = []string{date}
		}
		w := serve(h, r)
		if w.Code < 400 {
			t.Errorf("accepted %q %q %q", auth, query, date)
		}
		if w.Body.Len() > 2000 {
			t.Errorf("an answer of %d bytes", w.Body.Len())
		}
		c, refusal := parseClaim(r)
		if refusal == nil && (len(c.stamp) != len(basicISO) || c.access+c.region == "" && c.signed == "") {
			t.Errorf("claim %+v", c)
		}
	})
}

// FuzzCanonical holds that canonical requests are of printable lines whose
// number is fixed, and that encoding is stable under a second parse.
func FuzzCanonical(f *testing.F) {
	f.Add("/2015-03-31/functions/a%3Ab/", "a=1&b=%20&a", "x", "  a  b ")
	f.Add("//%zz/..", "&&==&%", "content-length", "")
	f.Add("/\xff", "\xff=\n", "host", "\t")
	f.Fuzz(func(t *testing.T, path, query, name, value string) {
		r := &http.Request{Method: http.MethodGet, RequestURI: path, URL: &url.URL{Path: path, RawQuery: query}, Host: "h", Header: http.Header{}}
		r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		c := claim{service: "lambda", signed: "host"}
		for _, order := range []queryOrder{byEncoded, byDecoded} {
			got, ok := c.appendCanonical(nil, r, emptySHA256, spelling{order: order, collapsed: collapses(path)})
			if !ok || bytes.Count(got, []byte("\n")) != 6 {
				t.Fatalf("canonical request %q", got)
			}
			again := appendQuery(nil, query, false, order)
			if twice := appendQuery(nil, string(again), false, order); !bytes.Equal(again, twice) {
				t.Errorf("query %q is canonically %q and then %q", query, again, twice)
			}
		}
		_, _ = appendHeader(nil, r, strings.ToLower(name))
	})
}

// FuzzChunks holds that no body makes the decoder panic, hand out more than was
// declared, or end without io.EOF or an error of ours.
func FuzzChunks(f *testing.F) {
	c := claim{date: "20260101"}
	signer := newSigner("s", &c)
	reader := func(body []byte, mode string) (*chunkReader, *lambent.Error) {
		r := &http.Request{Header: http.Header{
			"X-Amz-Decoded-Content-Length": {"5"}, "X-Amz-Trailer": {"x-amz-checksum-crc32"},
		}, Body: io.NopCloser(bytes.NewReader(body))}
		return newChunkReader(r, &c, signer, mode)
	}
	cr, refusal := reader(nil, payloadChunksTrailer)
	if refusal != nil {
		f.Fatal(refusal)
	}
	var valid []byte
	for _, part := range []string{"hello", ""} {
		cr.previous = cr.sign("AWS4-HMAC-SHA256-PAYLOAD", emptySHA256+"\n", []byte(part))
		valid = fmt.Appendf(valid, "%x;chunk-signature=%s\r\n%s", len(part), cr.previous, part)
		if part != "" {
			valid = append(valid, "\r\n"...)
		}
	}
	f.Add(append(slices.Clone(valid), "\r\n"...), false)
	const checksum = "x-amz-checksum-crc32:NhCmhg=="
	f.Add(fmt.Appendf(slices.Clone(valid), "%s\r\n\r\n%s:%s\r\n\r\n", checksum, trailerSig, cr.sign("AWS4-HMAC-SHA256-TRAILER", "", []byte(checksum+"\n"))), true)
	f.Add([]byte("5;chunk-signature=00\r\nhello\r\n"), true)
	f.Add([]byte("0\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, body []byte, trailer bool) {
		mode := payloadChunks
		if trailer {
			mode = payloadChunksTrailer
		}
		cr, refusal := reader(body, mode)
		if refusal != nil {
			t.Fatal(refusal)
		}
		got, err := io.ReadAll(cr)
		if len(got) > 5 || err == nil && len(got) != 5 {
			t.Errorf("%d bytes, error %v", len(got), err)
		}
		if err != nil && lambent.CodeOf(err) == lambent.CodeInternal {
			t.Errorf("error %v", err)
		}
	})
}
