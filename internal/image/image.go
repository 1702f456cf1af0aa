// Package image brings container images in: it finds the one for this host that a
// reference names, in any registry of the OCI distribution protocol, reads its
// configuration, and has its layers put into the artifact store, each once. It
// owns credentials for registries and what may be reached on the way to one, and
// refuses images for other machines, and larger ones than AWS takes. It runs
// nothing and keeps nothing: the catalog, which asks it, keeps what an image is,
// and the artifact store keeps the layers.
package image

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// Limits of images. Size is AWS's ("Lambda quotas", container image code package
// size), layers are what an overlay and the common builders can do.
const (
	maxSize   = 10 << 30 // bytes, unpacked
	maxLayers = 127
	maxConfig = 4 << 20 // bytes of the configuration, and of a manifest
	maxArgs   = 1500    // entries of entry point, command and environment (AWS: ImageConfig)
)

// Reasons of refusals, in [lambent.Error.Reason].
const (
	ReasonInvalid = "InvalidImage"
	ReasonMissing = "ImageMissing"
	ReasonAccess  = "ImageAccessDenied"
)

// Layers is where layers go. [artifact.Store] is one.
type Layers interface {
	HasLayer(d lambent.Digest) bool
	PutLayer(ctx context.Context, l artifact.Layer, r io.Reader) (unpacked int64, err error)
}

// Options of a [Room]. Layers is required.
type Options struct {
	Layers     Layers
	Registries []Registry
	// Lazy, if set, is where layers go that have an index: a function of theirs is
	// ready when that is read.
	Lazy Lazy
	Log  *slog.Logger
	// Quiet is how long nothing of a layer must have been read before its rest is
	// fetched; zero is 10 seconds.
	Quiet time.Duration
	// Resolve and Idle bound the time for finding an image, and without a byte of
	// a layer; zero is 30 seconds.
	Resolve, Idle time.Duration
}

// Room brings images in. It is safe for concurrent use.
type Room struct {
	o    Options
	wake chan struct{} // holds a token when Run has something new to look at
}

// New makes a room.
func New(o Options) *Room {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Resolve == 0 {
		o.Resolve = 30 * time.Second
	}
	if o.Idle == 0 {
		o.Idle = 30 * time.Second
	}
	if o.Quiet == 0 {
		o.Quiet = quiet
	}
	return &Room{o: o, wake: make(chan struct{}, 1)}
}

// Resolve finds the image for an architecture, as functions name it, and reads
// what it is; of its layers it reads nothing. Errors are CodeInvalid where AWS
// has it, in AWS's words where these say enough.
func (r *Room) Resolve(ctx context.Context, reference, arch string) (*lambent.Image, error) {
	ref, err := parse(reference)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Resolve)
	defer cancel()
	s := r.session(ref.Context().RegistryStr())
	defer s.close()
	img, err := s.get(ctx, ref, platform(arch))
	if err != nil {
		return nil, r.failed(ctx, reference, err)
	}
	found, err := describe(reference, img, arch)
	if err != nil {
		return nil, r.failed(ctx, reference, err)
	}
	return found, nil
}

// Pull makes the layers of an image be in the artifact store.
func (r *Room) Pull(ctx context.Context, i *lambent.Image) error {
	ref, err := parse(i.Reference)
	if err != nil {
		return err
	}
	var missing []lambent.Digest
	for _, d := range i.Layers {
		if !r.o.Layers.HasLayer(d) {
			missing = append(missing, d)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	s := r.session(ref.Context().RegistryStr())
	defer s.close()
	found, cancel := context.WithTimeout(ctx, r.o.Resolve)
	defer cancel()
	img, err := s.get(found, ref.Context().Digest(i.Digest), v1.Platform{})
	if err != nil {
		return r.failed(found, i.Reference, err)
	}
	if err := r.store(ctx, s, img, ref.Context()); err != nil {
		return r.failed(ctx, i.Reference, err)
	}
	return nil
}

// store puts the layers that are missing into the artifact store, one after the
// other: each is hashed and unpacked, which is what takes the time.
func (r *Room) store(ctx context.Context, s *session, img v1.Image, repo name.Repository) error {
	m, config, err := read(img)
	if err != nil {
		return err
	}
	left := int64(maxSize)
	for n, desc := range m.Layers {
		d := lambent.Digest(desc.Digest.Hex)
		if r.o.Layers.HasLayer(d) {
			continue
		}
		l := artifact.Layer{Digest: d, DiffID: lambent.Digest(config.RootFS.DiffIDs[n].Hex), Size: desc.Size, Limit: left}
		if r.begin(ctx, repo, desc, l) {
			continue
		}
		began := time.Now()
		unpacked, err := r.storeLayer(ctx, s, repo.Digest(desc.Digest.String()), l)
		if err != nil {
			return err
		}
		left -= unpacked
		r.o.Log.Info("stored a layer", "repository", repo.Name(), "digest", string(d), "bytes", desc.Size, "unpacked", unpacked, "took", time.Since(began))
	}
	return nil
}

func (r *Room) storeLayer(ctx context.Context, s *session, ref name.Digest, l artifact.Layer) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The hash is compared where the layer is stored.
	layer, err := remote.Layer(ref, s.options(ctx)...)
	if err != nil {
		return 0, err
	}
	body, err := layer.Compressed()
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }() // only read
	w := watch(body, r.o.Idle, func() { cancel(errStalled) })
	defer w.stop()
	n, err := r.o.Layers.PutLayer(ctx, l, w)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		return 0, cause
	}
	return n, err
}

var errStalled = errors.New("the registry sends nothing any more")

// get finds an image; of an index, the one for the platform.
func (s *session) get(ctx context.Context, ref name.Reference, p v1.Platform) (v1.Image, error) {
	options := s.options(ctx)
	if p.OS != "" {
		options = append(options, remote.WithPlatform(p))
	}
	desc, err := remote.Get(ref, options...)
	if err != nil {
		return nil, err
	}
	switch {
	case desc.MediaType.IsSchema1():
		return nil, lambent.Errorf(lambent.CodeInvalid, "The image manifest or layer media type for the source image %s is not supported.", ref).WithReason(ReasonInvalid)
	case desc.MediaType.IsIndex() && p.OS != "":
		index, err := desc.ImageIndex()
		if err != nil {
			return nil, err
		}
		return fromIndex(ref.String(), index, p)
	}
	return desc.Image()
}

// parse reads a reference; what has neither tag nor digest means latest.
func parse(reference string) (name.Reference, error) {
	if len(reference) > 1024 {
		return nil, notValid(reference[:100] + "...")
	}
	ref, err := name.ParseReference(reference, name.WithDefaultRegistry(name.DefaultRegistry))
	if err != nil {
		return nil, notValid(reference)
	}
	return ref, nil
}

func notValid(reference string) *lambent.Error {
	return lambent.Errorf(lambent.CodeInvalid, "Source image %s is not valid. Provide a valid source image.", reference).WithReason(ReasonInvalid)
}

// failed words why an image cannot be had. What a registry says goes to the log
// only: it may be anything, and may come from a place that the caller should not
// see.
func (r *Room) failed(ctx context.Context, reference string, err error) error {
	var ours *lambent.Error
	var answer *transport.Error
	var slow net.Error
	e := &lambent.Error{Code: lambent.CodeInvalid, Reason: ReasonInvalid, Cause: err}
	registry := registryOf(reference)
	lost := unreachable(registry, err)
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, errStalled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		e.Code, e.Reason, e.Message = lambent.CodeTimeout, "", capital(registry)+" did not answer in time, when it was asked for the source image "+reference+"."
		if strings.Contains(lost, "(DNS)") {
			e.Message = lost
		}
	case errors.Is(ctx.Err(), context.Canceled):
		e.Code, e.Reason, e.Message = lambent.CodeCanceled, "", "The image "+reference+" was not pulled to its end."
	case errors.Is(err, errPrivate), strings.Contains(err.Error(), "SSRF protection"): // which the library has for itself, without a type
		e.Message = "The registry of the source image " + reference + " leads to a private address, which is not configured: name it in registries."
	case errors.Is(err, errPlain):
		e.Message = "The registry of the source image " + reference + " does not speak TLS: a registry that is not on this host must, unless it is configured as insecure in registries."
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		e.Code, e.Reason = lambent.CodeDenied, ReasonAccess
		e.Message = "The server does not have permission to access the image " + reference + ". Check the user and password in registries."
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		e.Reason, e.Message = ReasonMissing, "Source image "+reference+" does not exist. Provide a valid source image."
	case errors.As(err, &answer):
		e.Message = "The registry of the source image " + reference + " answers " + http.StatusText(answer.StatusCode) + "."
	case lost != "":
		e.Message = "The source image " + reference + " cannot be read. " + lost
	default:
		e.Message = "The source image " + reference + " cannot be read from its registry."
	}
	r.o.Log.Warn("an image cannot be had", "image", reference, "err", err)
	return e
}

// registryOf is how the registry that a reference names is called.
func registryOf(reference string) string {
	ref, err := parse(reference)
	if err != nil {
		return "the registry"
	}
	return "the registry " + ref.Context().RegistryStr()
}

// platform is what an image's index calls the architecture of a function.
func platform(arch string) v1.Platform {
	p := v1.Platform{OS: "linux", Architecture: "amd64"}
	if arch == "arm64" {
		p.Architecture = "arm64"
	}
	return p
}
