package auth

import (
	"net/http"
	"strings"
	"testing"
)

// trailerExample is the example of "Including trailing headers (chunked upload)"
// in the Amazon S3 API reference.
func trailerExample(t *testing.T, edit func(string) string) *http.Request {
	body := "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\n\r\n" +
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	return wire(t, "PUT", "/examplebucket/chunkObject.txt", "s3.amazonaws.com",
		"X-Amz-Date: 20130524T000000Z\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: "+payloadChunksTrailer+
			"\nContent-Encoding: aws-chunked\nX-Amz-Decoded-Content-Length: 66560\nX-Amz-Trailer: x-amz-checksum-crc32c\n"+
			"Authorization: AWS4-HMAC-SHA256 Credential="+docAccess+"/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e", edit(body))
}

func TestSignedTrailer(t *testing.T) {
	replace := func(from, to string) func(string) string {
		return func(b string) string { return strings.Replace(b, from, to, 1) }
	}
	tests := map[string]struct {
		edit func(string) string
		ok   bool
	}{
		"as documented":         {func(b string) string { return b }, true},
		"lines end once":        {replace("sOO8/Q==\n\r\n", "sOO8/Q==\r\n"), true},
		"wrong checksum":        {replace("sOO8/Q==", "sOO8/A=="), false},
		"no checksum":           {replace("x-amz-checksum-crc32c:sOO8/Q==\n\r\n", ""), false},
		"wrong signature":       {replace("d81f", "d81e"), false},
		"no signature":          {func(b string) string { return b[:strings.Index(b, "x-amz-trailer-sig")] + "\r\n" }, false},
		"header not announced":  {replace("x-amz-checksum-crc32c:", "x-amz-meta-a:b\r\nx-amz-checksum-crc32c:"), false},
		"endless trailer":       {replace("x-amz-checksum-crc32c:", strings.Repeat("\r\n", 100)+"x-amz-checksum-crc32c:"), false},
		"changed byte":          {replace("aaaa", "aaab"), false},
		"no end of line":        {replace("\r\n400;", "xx\r\n400;"), false},
		"no signature of chunk": {replace(";chunk-signature=1c13", ";signature=1c13"), false},
		"cut off":               {func(b string) string { return b[:60000] }, false},
		"nothing":               {func(string) string { return "" }, false},
		"too long":              {replace("10000;", "20000;"), false},
		"too short": {func(b string) string {
			return b[:strings.Index(b, "400;")] + b[strings.Index(b, "0;chunk-signature=2ca"):]
		}, false},
		"ends with the content": {func(b string) string { return b[:strings.Index(b, "x-amz-checksum")] }, false},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			r := trailerExample(t, c.edit)
			if _, refusal := docGate("20130524T000000Z", docAccess, docSecret).admit(r); refusal != nil {
				t.Fatal(refusal)
			}
			body, err := Body(r)
			if (err == nil) != c.ok {
				t.Fatalf("error %v", err)
			}
			if c.ok && len(body) != 66560 {
				t.Errorf("%d bytes", len(body))
			}
		})
	}
}

func TestDecodedLength(t *testing.T) {
	for name, length := range map[string]string{"missing": "", "negative": "-1", "no number": "x", "over the limit": "70167212"} {
		r := call{
			method: "PUT", target: "/b/k", service: "s3", payload: payloadChunks,
			header: map[string]string{"X-Amz-Content-Sha256": payloadChunks, "X-Amz-Decoded-Content-Length": length},
		}.signed(t)
		if w := serve(handler(), r); w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
