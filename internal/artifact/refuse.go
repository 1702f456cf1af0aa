package artifact

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"lambent.dev/lambent"
)

// Reasons of refusals, in [lambent.Error.Reason].
const (
	ReasonNoSource   = "NoCodeSource"          // neither a zip nor an S3 reference
	ReasonBadZip     = "InvalidZip"            // not a zip, damaged, or unsafe
	ReasonEmptyZip   = "EmptyZip"              // no bytes, or no entries
	ReasonUnpacked   = "UnzippedTooLarge"      // more than lambent.MaxUnzipped with its layers
	ReasonUpload     = "RequestEntityTooLarge" // more than lambent.MaxZipUpload in the request
	ReasonS3         = "S3"                    // the S3 reference cannot be read
	ReasonDiskFull   = "DiskFull"              // no room for the code
	ReasonReadOnly   = "ReadOnly"              // the data directory cannot be written
	ReasonNoArtifact = "NoSuchArtifact"        // no code with this digest
	ReasonDamaged    = "DamagedArtifact"       // it is not what was put
)

// The messages are what AWS Lambda answers, word for word: programs look for
// them. What exactly is wrong is in the cause, for the log.

func badZip(format string, args ...any) error {
	return &lambent.Error{
		Code:    lambent.CodeInvalid,
		Reason:  ReasonBadZip,
		Message: "Could not unzip uploaded file. Please check your file, then try to upload again.",
		Cause:   fmt.Errorf(format, args...),
	}
}

func emptyZip() error {
	return lambent.Errorf(lambent.CodeInvalid, "Uploaded file must be a non-empty zip").WithReason(ReasonEmptyZip)
}

func unpackedTooLarge() error {
	return lambent.Errorf(lambent.CodeInvalid, "Unzipped size must be smaller than %d bytes", lambent.MaxUnzipped).
		WithReason(ReasonUnpacked)
}

func uploadTooLarge() error {
	return lambent.Errorf(lambent.CodeTooLarge, "Zipped size must be smaller than %d bytes", lambent.MaxZipUpload).
		WithReason(ReasonUpload)
}

func noSource() error {
	return lambent.Errorf(lambent.CodeInvalid, "Please provide a source for function code.").WithReason(ReasonNoSource)
}

func noArtifact(d lambent.Digest) error {
	return lambent.Errorf(lambent.CodeNotFound, "no code is stored under the digest %.64q", string(d)).
		WithReason(ReasonNoArtifact)
}

// fault words a fault of the disk. An error of this room, a refusal above all,
// passes alone.
func fault(doing string, err error) error {
	var ours *lambent.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return &lambent.Error{Code: lambent.CodeUnavailable, Reason: ReasonDiskFull,
			Message: doing + ": the disk is full; free some space", Cause: err}
	case errors.Is(err, syscall.EROFS) || errors.Is(err, os.ErrPermission):
		return &lambent.Error{Code: lambent.CodeUnavailable, Reason: ReasonReadOnly,
			Message: doing + ": the data directory cannot be written", Cause: err}
	}
	return lambent.Errorf(lambent.CodeInternal, "%s: %w", doing, err)
}

func canceled(doing string, err error) error {
	return lambent.Errorf(lambent.CodeCanceled, "%s: %w", doing, err)
}
