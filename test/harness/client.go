package harness

import (
	"bytes"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// patient sends requests for the AWS SDK, from memory. The SDK closes a request's body
// as soon as its answer begins. Where net/http has not noticed yet that the body was
// over, it takes that for an error and closes the connection in the middle of the answer
// (https://github.com/aws/aws-sdk-go-v2/issues/2737). The SDK's remedy is to try again,
// which tests do not let it do, and which a stream does not get.
type patient struct{ aws.HTTPClient }

func (p patient) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return p.HTTPClient.Do(r)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	own := r.WithContext(r.Context())
	own.Body = io.NopCloser(bytes.NewReader(b)) // net/http knows that it does not have to wait for it
	return p.HTTPClient.Do(own)
}
