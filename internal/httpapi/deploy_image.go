package httpapi

import (
	"context"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
)

// image is the reference that is to be deployed, or "".
func (d *deployment) image() string {
	if d.want.Image == nil {
		return ""
	}
	return *d.want.Image
}

// packageType is that of the function that the deploy makes.
func (d *deployment) packageType() string {
	if d.image() != "" {
		return catalog.PackageImage
	}
	return "Zip"
}

// checkKind refuses what does not go together: code of two kinds, or of another
// kind than the function has.
func (d *deployment) checkKind(v *lambent.Version) error {
	zip, image := len(d.want.Zip) > 0, d.image() != ""
	switch {
	case zip && image:
		return lambent.Errorf(lambent.CodeInvalid, "send a zip or the name of an image, not both")
	case v != nil && (zip && v.PackageType == catalog.PackageImage || image && v.PackageType != catalog.PackageImage):
		return lambent.Errorf(lambent.CodeConflict, "function %s is of the package type %s, which cannot change: delete it first", d.name, v.PackageType)
	}
	return nil
}

// imageDiffers tells whether the reference leads to another image than the
// function has: a tag may have been moved.
func (d *deployment) imageDiffers(ctx context.Context, v *lambent.Version) (bool, error) {
	probe, err := d.api.o.Catalog.UpdateCode(ctx, catalog.UpdateCode{Namespace: d.ns, Function: d.name, Image: d.image(), DryRun: true})
	if err != nil {
		return false, err
	}
	return probe.Code.Digest != v.Code.Digest || v.State == lambent.StateFailed || v.UpdateStatus == lambent.UpdateFailed, nil
}
