package lambdaapi

import (
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// newSource is where the code of a new function comes from: an archive, or the
// image that a reference names.
func newSource(in *wire.CreateFunctionRequest) (src artifact.Source, image string, err error) {
	image = deref(in.Code.ImageUri)
	zipped := in.Code.ZipFile != nil || in.Code.S3Bucket != nil || in.Code.S3Key != nil
	switch isImage := deref(in.PackageType) == catalog.PackageImage; {
	case isImage && zipped:
		return src, "", invalid("Please don't provide ZipFile or S3 when the intended function PackageType is Image.")
	case isImage && image == "":
		return src, "", invalid("Please provide ImageUri when creating a function with packageType Image.")
	case isImage:
		return src, image, nil
	case image != "":
		return src, "", invalid("Please don't provide ImageUri when creating a function with packageType Zip.")
	}
	src, err = source(in.Code)
	return src, "", err
}

// otherSource is where new code for a function comes from; it is of the kind that
// the function has.
func otherSource(v *lambent.Version, in *wire.UpdateFunctionCodeRequest) (artifact.Source, error) {
	switch isImage := v.PackageType == catalog.PackageImage; {
	case isImage && in.ImageUri == nil:
		return artifact.Source{}, invalid("Please provide ImageUri when updating a function with packageType Image.")
	case isImage && (in.ZipFile != nil || in.S3Bucket != nil || in.S3Key != nil):
		return artifact.Source{}, invalid("Please don't provide ZipFile or S3 when updating a function with packageType Image.")
	case isImage:
		return artifact.Source{}, nil
	case in.ImageUri != nil:
		return artifact.Source{}, invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
	}
	return source(&wire.FunctionCode{ZipFile: in.ZipFile, S3Bucket: in.S3Bucket, S3Key: in.S3Key, S3ObjectVersion: in.S3ObjectVersion})
}

// codeLocation tells where a version's code is: an archive to fetch, or an image.
func (h *handler) codeLocation(c caller, v *lambent.Version) *wire.FunctionCodeLocation {
	if v.Image == nil {
		return &wire.FunctionCodeLocation{RepositoryType: new("S3"), Location: new(h.codeLink(c, v.Code.Digest))}
	}
	return &wire.FunctionCodeLocation{RepositoryType: new("ECR"), ImageUri: &v.Image.Reference,
		ResolvedImageUri: new(repository(v.Image.Reference) + "@" + v.Image.Digest)}
}

// repository is a reference without its tag and digest.
func repository(reference string) string {
	repo, _, _ := strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(repo, ':'); colon > strings.LastIndexByte(repo, '/') {
		repo = repo[:colon]
	}
	return repo
}

// setImageConfig replaces what a function says in place of its image's
// configuration, as a whole.
func setImageConfig(v *lambent.Version, in *wire.ImageConfig) {
	if in != nil {
		v.ImageConfig = lambent.ImageConfig{EntryPoint: in.EntryPoint, Command: in.Command, Directory: deref(in.WorkingDirectory)}
	}
}

func imageConfig(v *lambent.Version) *wire.ImageConfigResponse {
	c := v.ImageConfig
	if c.EntryPoint == nil && c.Command == nil && c.Directory == "" {
		return nil
	}
	return &wire.ImageConfigResponse{ImageConfig: &wire.ImageConfig{EntryPoint: c.EntryPoint, Command: c.Command, WorkingDirectory: some(c.Directory)}}
}
