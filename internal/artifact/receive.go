package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"

	"lambent.dev/lambent"
)

// receive takes the code in and computes its digest. What comes over the network
// goes to a file at once, hashed on its way.
func (s *Store) receive(ctx context.Context, src Source) (*upload, error) {
	switch {
	case src.Zip != nil && (src.S3Bucket != "" || src.S3Key != ""):
		return nil, lambent.Errorf(lambent.CodeInvalid,
			"Please do not provide other FunctionCode parameters when providing a ZipFile.").WithReason(ReasonNoSource)
	case src.Zip != nil:
		return fromMemory(src.Zip)
	case src.S3Bucket != "" && src.S3Key != "":
		return s.fromS3(ctx, src)
	}
	return nil, noSource()
}

func fromMemory(data []byte) (*upload, error) {
	if len(data) > lambent.MaxZipUpload {
		return nil, uploadTooLarge()
	}
	sum := sha256.Sum256(data)
	return &upload{
		data:   bytes.NewReader(data),
		size:   int64(len(data)),
		digest: lambent.Digest(hex.EncodeToString(sum[:])),
	}, nil
}

func (s *Store) fromS3(ctx context.Context, src Source) (*upload, error) {
	f, err := os.CreateTemp(s.disk.temp, "blob-")
	if err != nil {
		return nil, err
	}
	u := &upload{data: f, file: f}
	h := sha256.New()
	err = s.remote.fetch(ctx, src, io.MultiWriter(f, h))
	if err == nil {
		u.size, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		u.discard()
		return nil, err
	}
	u.digest = lambent.Digest(hex.EncodeToString(h.Sum(nil)))
	return u, nil
}
