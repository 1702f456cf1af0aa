package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent"
)

// answerTimeout bounds the wait for the first byte from an S3 endpoint; the
// caller's context bounds the rest.
const answerTimeout = 30 * time.Second

// Names of buckets as the S3 user guide ("General purpose bucket naming rules")
// has them. With virtual hosts they become part of a host name, so that nothing
// else may pass.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// remote fetches code from S3-compatible endpoints.
type remote struct {
	endpoints []S3Endpoint
	clients   []*s3.Client // one for each of endpoints
}

func newRemote(endpoints []S3Endpoint) *remote {
	r := &remote{endpoints: endpoints}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = answerTimeout
	client := &http.Client{Transport: transport}
	for _, e := range endpoints {
		r.clients = append(r.clients, s3.New(s3.Options{
			BaseEndpoint: aws.String(e.Endpoint),
			Region:       e.Region,
			UsePathStyle: e.PathStyle,
			Credentials:  credentials.NewStaticCredentialsProvider(e.AccessKey, e.SecretKey, ""),
			HTTPClient:   client,
			// Not every compatible service sends the newer checksums; the digest is
			// computed here anyway.
			ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		}))
	}
	return r
}

// fetch writes the object to w and refuses what is larger than any zip may be.
func (r *remote) fetch(ctx context.Context, src Source, w io.Writer) error {
	client, err := r.choose(src.S3Bucket)
	if err != nil {
		return err
	}
	in := &s3.GetObjectInput{Bucket: &src.S3Bucket, Key: &src.S3Key}
	if src.S3ObjectVersion != "" {
		in.VersionId = &src.S3ObjectVersion
	}
	out, err := client.GetObject(ctx, in)
	if err != nil {
		return fetchFailed(ctx, src, err)
	}
	defer func() { _ = out.Body.Close() }() // read to its end, or given up
	source := &faulty{r: io.LimitReader(out.Body, lambent.MaxUnzipped+1)}
	n, err := io.Copy(w, source)
	switch {
	case source.err != nil:
		return fetchFailed(ctx, src, source.err)
	case err != nil:
		return err
	case n > lambent.MaxUnzipped:
		return unpackedTooLarge()
	}
	return nil
}

// choose finds the endpoint for a bucket: the first that names it or names none.
func (r *remote) choose(bucket string) (*s3.Client, error) {
	if len(r.endpoints) == 0 {
		return nil, s3Refused("NoSuchBucket", "The specified bucket does not exist: "+
			"this server has no S3 endpoint in its configuration", nil)
	}
	if bucketName.MatchString(bucket) {
		for i, e := range r.endpoints {
			if e.Bucket == "" || e.Bucket == bucket {
				return r.clients[i], nil
			}
		}
	}
	return nil, s3Refused("NoSuchBucket", s3Messages["NoSuchBucket"], nil)
}

// What AWS says, whatever a compatible service's own words are.
var s3Messages = map[string]string{
	"NoSuchBucket":  "The specified bucket does not exist",
	"NoSuchKey":     "The specified key does not exist.",
	"NoSuchVersion": "The specified version does not exist.",
}

// fetchFailed turns an error of S3 into AWS Lambda's answer for it.
func fetchFailed(ctx context.Context, src Source, err error) error {
	if ctx.Err() != nil {
		return canceled("fetch code from S3", ctx.Err())
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return &lambent.Error{
			Code: lambent.CodeUnavailable, Reason: ReasonS3, Cause: err,
			Message: fmt.Sprintf("The S3 endpoint for bucket %s could not be reached. Try again later.", src.S3Bucket),
		}
	}
	code, message := api.ErrorCode(), api.ErrorMessage()
	if known, ok := s3Messages[code]; ok {
		return s3Refused(code, known, err)
	}
	if code == "AccessDenied" {
		return &lambent.Error{
			Code: lambent.CodeDenied, Reason: ReasonS3, Cause: err,
			Message: fmt.Sprintf("Your access has been denied by S3, please make sure your request credentials have permission "+
				"to GetObject for %s/%s. S3 Error Code: AccessDenied. S3 Error Message: Access Denied", src.S3Bucket, src.S3Key),
		}
	}
	return s3Refused(code, message, err)
}

func s3Refused(code, message string, cause error) error {
	return &lambent.Error{
		Code: lambent.CodeInvalid, Reason: ReasonS3, Cause: cause,
		Message: fmt.Sprintf("Error occurred while GetObject. S3 Error Code: %s. S3 Error Message: %s", code, message),
	}
}
