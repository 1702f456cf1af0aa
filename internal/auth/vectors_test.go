package auth

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// The examples of the Amazon S3 API reference ("Authenticating requests") and of
// AWS General Reference ("Create a signed AWS API request"), all with these keys.
const (
	docAccess = "AKIAIOSFODNN7EXAMPLE"
	docSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

func docKeys(access, secret string) *Keys {
	return &Keys{own: Key{Access: access, Secret: secret, Account: DefaultAccount, ARN: "arn:aws:iam::000000000000:root"}}
}

func wire(t *testing.T, method, target, host, headers, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+host+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI = target
	for line := range strings.Lines(headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != "" {
			r.Header.Add(name, strings.TrimSpace(value))
		}
	}
	return r
}

func docGate(at string, access, secret string) *gate {
	now, _ := time.Parse(basicISO, at)
	g := docKeys(access, secret).Middleware(nil, MiddlewareOptions{
		Now: func() time.Time { return now },
	})
	return g.(*gate)
}

func TestDocumentedSignatures(t *testing.T) {
	const scope = "/20130524/us-east-1/s3/aws4_request"
	tests := map[string]struct {
		method, target, host, headers, body string
		at, access, secret                  string
	}{
		"general reference, IAM ListUsers": {
			method: "GET", target: "/?Action=ListUsers&Version=2010-05-08", host: "iam.amazonaws.com",
			headers: "Content-Type: application/x-www-form-urlencoded; charset=utf-8\nX-Amz-Date: 20150830T123600Z\n" +
				"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
			at: "20150830T123600Z", access: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
		},
		"S3 GET object with a range": {
			method: "GET", target: "/test.txt", host: "examplebucket.s3.amazonaws.com",
			headers: "Range: bytes=0-9\nX-Amz-Content-Sha256: " + emptySHA256 + "\nX-Amz-Date: 20130524T000000Z\n" +
				"Authorization: AWS4-HMAC-SHA256 Credential=" + docAccess + scope + ",SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
			at: "20130524T000000Z",
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			if c.access == "" {
				c.access, c.secret = docAccess, docSecret
			}
			r := wire(t, c.method, c.target, c.host, c.headers, c.body)
			id, refusal := docGate(c.at, c.access, c.secret).admit(r)
			if refusal != nil {
				t.Fatalf("refused: %v", refusal)
			}
			if id.AccessKey != c.access || id.AccountID != DefaultAccount {
				t.Errorf("identity = %+v", id)
			}
			// The same request with one character of the secret changed.
			if _, refusal := docGate(c.at, c.access, c.secret[1:]+"x").admit(wire(t, c.method, c.target, c.host, c.headers, c.body)); refusal == nil {
				t.Error("accepted with another secret")
			}
		})
	}
}

// TestDocumentedPresignedURL is the example of "Using query parameters" in the Amazon S3
// API reference, whose payload is not signed.
func TestDocumentedPresignedURL(t *testing.T) {
	r := wire(t, "GET", "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="+docAccess+
		"%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
		"examplebucket.s3.amazonaws.com", "", "")
	c, refusal := parseClaim(r)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if !c.presigned || !c.matches(r, newSigner(docSecret, &c), payloadUnsigned) || c.matches(r, newSigner(docSecret[1:]+"x", &c), payloadUnsigned) {
		t.Errorf("claim %+v", c)
	}
}

// chunkedExample is "Example: PUT Object" of "Transferring payload in multiple
// chunks": 66,560 times "a", in chunks of 64 KiB and 1 KiB.
func chunkedExample(t *testing.T) *http.Request {
	body := "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
	r := wire(t, "PUT", "/examplebucket/chunkObject.txt", "s3.amazonaws.com",
		"X-Amz-Date: 20130524T000000Z\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: "+payloadChunks+
			"\nContent-Encoding: aws-chunked\nX-Amz-Decoded-Content-Length: 66560\nContent-Length: 66824\n"+
			"Authorization: AWS4-HMAC-SHA256 Credential="+docAccess+"/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", body)
	return r
}

func TestDocumentedChunks(t *testing.T) {
	r := chunkedExample(t)
	if r.ContentLength != 66824 {
		t.Fatalf("the example has %d bytes, want 66824", r.ContentLength)
	}
	if _, refusal := docGate("20130524T000000Z", docAccess, docSecret).admit(r); refusal != nil {
		t.Fatal(refusal)
	}
	got, err := Body(r)
	if err != nil || !bytes.Equal(got, bytes.Repeat([]byte("a"), 66560)) {
		t.Fatalf("body has %d bytes, error %v", len(got), err)
	}
	if r.ContentLength != 66560 || r.Header.Get("Content-Encoding") != "" {
		t.Errorf("length %d, encoding %q", r.ContentLength, r.Header.Get("Content-Encoding"))
	}
}

func TestChunkDamage(t *testing.T) {
	damage := map[string]func(string) string{
		"changed byte":       func(b string) string { return strings.Replace(b, "aaaa", "aaba", 1) },
		"changed last chunk": func(b string) string { return strings.Replace(b, "0;chunk-signature=b6", "0;chunk-signature=b7", 1) },
		"cut off":            func(b string) string { return b[:70000%len(b)] },
		"last chunk missing": func(b string) string { return b[:strings.LastIndex(b, "0;chunk")] },
		"chunk left out": func(b string) string {
			i := strings.Index(b, "400;")
			return b[:i] + b[strings.LastIndex(b, "0;chunk"):]
		},
		"chunks swapped":       func(b string) string { i := strings.Index(b, "400;"); return b[i:] },
		"size too large":       func(b string) string { return "ffffffffffff" + b[5:] },
		"size is no number":    func(b string) string { return "zz" + b[5:] },
		"no signature":         func(b string) string { return strings.Replace(b, ";chunk-signature=", ";", 1) },
		"longer than declared": func(b string) string { return strings.Replace(b, "aa\r\n", "aaa\r\n", 1) },
		"endless line":         func(b string) string { return strings.Repeat("1", 10000) + b },
	}
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			r := chunkedExample(t)
			whole, _ := io.ReadAll(r.Body)
			changed := change(string(whole))
			if changed == string(whole) {
				t.Fatal("the damage changes nothing")
			}
			r.Body = io.NopCloser(strings.NewReader(changed))
			if _, refusal := docGate("20130524T000000Z", docAccess, docSecret).admit(r); refusal != nil {
				t.Fatal(refusal)
			}
			if _, err := Body(r); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// The trailer example of "Including trailing headers (chunked upload)".
func TestChecksumNames(t *testing.T) {
	want := map[string]string{ // of "123456789": the check values of the CRC catalogue, and FIPS 180-4
		"x-amz-checksum-crc32":     "cbf43926",
		"x-amz-checksum-crc32c":    "e3069283",
		"x-amz-checksum-crc64nvme": "ae8b14860a799888",
		"x-amz-checksum-sha1":      "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		"x-amz-checksum-sha256":    "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	}
	for name, sum := range want {
		checks, refusal := announced([]string{name})
		if refusal != nil {
			t.Fatal(refusal)
		}
		h := checks[name]
		h.Write([]byte("123456789"))
		if got := hex.EncodeToString(h.Sum(nil)); got != sum {
			t.Errorf("%s = %s, want %s", name, got, sum)
		}
	}
	if _, refusal := announced([]string{"x-amz-checksum-md4"}); refusal == nil {
		t.Error("an unknown checksum was accepted")
	}
}

// TestCollapsedPaths is about clients that sign a path without its empty segments and
// those of one dot, and send it with them: the addresses of function URLs end with a
// slash, and who adds a path puts another one in front.
func TestCollapsedPaths(t *testing.T) {
	const stamp, empty = "20130524T000000Z", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	at, _ := time.Parse(basicISO, stamp)
	for name, c := range map[string]struct {
		signed, sent, service string
		want                  bool
	}{
		"as it is":      {"/a//b", "/a//b", "lambda", true},
		"doubled":       {"/a/b", "//a//b", "lambda", true},
		"alone":         {"/", "//", "lambda", true},
		"dots":          {"/a/b/", "/a/./b/./", "lambda", true},
		"with query":    {"/a?x=2&x=1", "//a?x=2&x=1", "lambda", true},
		"escaped":       {"/a%20b", "//a%20b", "lambda", true},
		"another":       {"/a/b", "/a/c", "lambda", false},
		"no slash":      {"/a/b", "/a//b/", "lambda", false},
		"upwards":       {"/a", "/b/../a", "lambda", false},
		"upwards twice": {"/a", "//b/../a", "lambda", false},
		"objects":       {"/a/b", "/a//b", "s3", false},
	} {
		r := wire(t, http.MethodGet, c.signed, "h", "", "")
		credentials := aws.Credentials{AccessKeyID: docAccess, SecretAccessKey: docSecret}
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, empty, c.service, "us-east-1", at); err != nil {
			t.Fatal(err)
		}
		sent := wire(t, http.MethodGet, c.sent, "h", "", "")
		sent.Header = r.Header
		if _, refusal := docGate(stamp, docAccess, docSecret).admit(sent); (refusal == nil) != c.want {
			t.Errorf("%s: %v", name, refusal)
		}
	}
}
