package image

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Sources of images on disk, as skopeo and podman call them.
const (
	sourceLayout  = "oci:"
	sourceArchive = "oci-archive:"
	sourceDocker  = "docker-archive:"
)

// OnDisk tells whether an image is named by its place on disk, not by a reference.
func OnDisk(source string) bool {
	return strings.HasPrefix(source, sourceLayout) || strings.HasPrefix(source, sourceArchive) || strings.HasPrefix(source, sourceDocker)
}

// Offer makes a registry on this host's loopback that has one image, which is on
// disk, for a server on this host to pull from: "oci:DIR" is an OCI layout,
// "oci-archive:FILE" one in a tar archive, "docker-archive:FILE" what `docker save`
// writes. Each may end in ":TAG", which picks one of several images. Nobody can put
// anything into it. It is there until done is called.
func Offer(ctx context.Context, source, arch string) (reference string, done func() error, err error) {
	img, clean, err := open(source, arch)
	if err != nil {
		return "", nil, fmt.Errorf("read the image %s: %w", source, err)
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("read the image %s: %w", source, err), clean())
	}
	digest, err := img.Digest()
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("read the image %s: %w", source, err), clean())
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("offer the image %s: %w", source, err), clean())
	}
	srv := &http.Server{Handler: offered{img, manifest}, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // until it is closed
	}()
	_, path, _ := place(source)
	repository := strings.ToLower(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	return l.Addr().String() + "/" + repositoryName(repository) + "@" + digest.String(), func() error {
		err := srv.Close()
		<-ended
		return errors.Join(err, clean())
	}, nil
}

// repositoryName is a name that a repository may have (OCI distribution
// specification, "Pulling manifests").
func repositoryName(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "image"
	}
	return b.String()
}

// place takes a source apart: "oci-archive:DIR/FILE:1.0" is of the kind "oci-archive:",
// and has the tag 1.0, unless there is a file with all of that name.
func place(source string) (kind, path, tag string) {
	n := strings.IndexByte(source, ':') + 1
	kind, path = source[:n], source[n:]
	for at := len(path); at > 0; at = strings.LastIndexByte(path[:at], ':') {
		if _, err := os.Lstat(path[:at]); err == nil {
			return kind, path[:at], strings.TrimPrefix(path[at:], ":")
		}
	}
	return kind, path, ""
}

// open reads an image on disk; clean removes what that took.
func open(source, arch string) (img v1.Image, clean func() error, err error) {
	clean = func() error { return nil }
	kind, path, tag := place(source)
	switch kind {
	case sourceDocker:
		img, err = fromDocker(path, tag)
		return img, clean, err
	case sourceArchive:
		dir, err := os.MkdirTemp("", "lambent-image-")
		if err != nil {
			return nil, nil, err
		}
		clean = func() error { return os.RemoveAll(dir) }
		if err = untar(path, dir); err == nil {
			img, err = fromLayout(dir, tag, arch)
		}
		if err != nil {
			return nil, nil, errors.Join(err, clean())
		}
		return img, clean, nil
	default:
		img, err = fromLayout(path, tag, arch)
		return img, clean, err
	}
}

// openArchive opens an archive, which `docker save | gzip` has compressed.
func openArchive(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(f)
	if head, _ := in.Peek(2); string(head) != "\x1f\x8b" { // RFC 1952; what is too short is no archive either
		return archive{in, f}, nil
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return archive{z, f}, nil
}

// archive is a file and what is read of it.
type archive struct {
	io.Reader
	io.Closer
}

func fromDocker(path, tag string) (v1.Image, error) {
	opener := func() (io.ReadCloser, error) { return openArchive(path) }
	if tag == "" {
		return tarball.Image(opener, nil)
	}
	t, err := name.NewTag(tag)
	if err != nil {
		return nil, fmt.Errorf("%q is no tag", tag)
	}
	return tarball.Image(opener, &t)
}

// refName is the annotation by which a layout's index names its images (OCI image
// specification, "Image Layout").
const refName = "org.opencontainers.image.ref.name"

// fromLayout finds the image with a tag, or the only one. There may be one for every
// platform.
func fromLayout(dir, tag, arch string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	all, err := tagged(m.Manifests, tag)
	switch {
	case err != nil:
		return nil, err
	case len(all) == 1 && all[0].MediaType.IsIndex():
		if index, err = index.ImageIndex(all[0].Digest); err != nil {
			return nil, err
		}
	case len(all) == 1:
		return index.Image(all[0].Digest)
	default:
		index = mutate.RemoveManifests(index, func(d v1.Descriptor) bool { return d.Annotations[refName] != all[0].Annotations[refName] })
	}
	return fromIndex(dir, index, platform(arch))
}

// tagged are the entries of a layout's index with a tag, or all, if they have no more
// than one.
func tagged(all []v1.Descriptor, tag string) ([]v1.Descriptor, error) {
	var tags []string
	for _, d := range all {
		tags = append(tags, d.Annotations[refName])
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if tag == "" && len(tags) == 1 {
		return all, nil
	}
	with := slices.DeleteFunc(slices.Clone(all), func(d v1.Descriptor) bool { return tag == "" || d.Annotations[refName] != tag })
	if len(with) == 0 {
		return nil, fmt.Errorf("it has the images %s: choose one by :TAG", strings.Trim(strings.Join(tags, ", "), ", "))
	}
	return with, nil
}

// untar unpacks the files of a layout.
func untar(path, dir string) (err error) {
	f, err := openArchive(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := filepath.Clean(h.Name)
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		to, err := root.Create(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, t)
		if err = errors.Join(err, to.Close()); err != nil {
			return err
		}
	}
}

// offered answers what a client asks that pulls one image by its digest.
type offered struct {
	img      v1.Image
	manifest []byte
}

func (o offered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/") // "", "v2", repository, kind, name
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.URL.Path == "/v2/":
	case len(parts) == 5 && parts[3] == "manifests":
		mediaType, err := o.img.MediaType()
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", string(mediaType))
		w.Header().Set("Content-Length", strconv.Itoa(len(o.manifest)))
		_, _ = w.Write(o.manifest) // the client may be gone
	case len(parts) == 5 && parts[3] == "blobs":
		o.blob(w, parts[4])
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// blob gives a blob whole, whatever range is asked for: the registry is there for as
// long as one pull, and nothing may be left to come afterwards.
func (o offered) blob(w http.ResponseWriter, digest string) {
	var body io.ReadCloser
	hash, err := v1.NewHash(digest)
	if config, cerr := o.img.ConfigName(); err == nil && cerr == nil && hash == config {
		raw, err := o.img.RawConfigFile()
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(raw) // the client may be gone
		return
	}
	if err == nil {
		var l v1.Layer
		if l, err = o.img.LayerByDigest(hash); err == nil {
			body, err = l.Compressed()
		}
	}
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	defer func() { _ = body.Close() }() // only read
	_, _ = io.Copy(w, body)             // the client may be gone
}
