// Package artifact keeps code and layers by content: it takes a zip, refuses
// what is unsafe, stores the bytes under their hash, unpacks them once into the
// node's cache, and hands out directories that sandboxes mount. It owns the
// artifacts folder of the data directory; it knows nothing of functions. The
// catalog tells it which digests are alive when it collects garbage.
package artifact

import (
	"context"
	"io"
	"log/slog"
	"time"

	"lambent.dev/lambent"
)

// Options of a [Store].
type Options struct {
	Dir string       // the artifacts folder; made when it is missing
	S3  []S3Endpoint // where S3 references may point, first match wins
	Log *slog.Logger
	// Point, if set, is called with the name of a moment at which a crash is
	// worth testing: "artifact.after-temp", "artifact.before-rename",
	// "artifact.after-rename", "artifact.before-unpack-rename". Nil in production.
	Point func(name string)
}

// S3Endpoint is an S3-compatible service that code may come from.
type S3Endpoint struct {
	Bucket               string // "" is any
	Endpoint             string // URL
	Region               string
	AccessKey, SecretKey string
	PathStyle            bool
}

// Source is where code comes from: Zip, or an object in S3.
type Source struct {
	Zip             []byte
	S3Bucket, S3Key string
	S3ObjectVersion string
	// Others is the unpacked size in bytes of what shares the limit of
	// [lambent.MaxUnzipped] with this code: the layers of a function.
	Others int64
}

// Info describes stored code.
type Info struct {
	Digest   lambent.Digest
	Size     int64 // bytes as uploaded
	Unpacked int64 // sum of the files' sizes in bytes
}

// Store is the content-addressed store of one node.
type Store struct {
	o Options
}

// Open makes or opens the store and sweeps what a crash left half written.
func Open(o Options) (*Store, error) { return &Store{o: o}, nil }

// Put verifies the code, stores it durably and unpacks it into the cache. Code
// that is there already is not stored again.
func (s *Store) Put(ctx context.Context, src Source) (Info, error) {
	return Info{}, lambent.Errorf(lambent.CodeUnsupported, "put artifact")
}

// Use returns the directory with the unpacked code and pins it until release is
// called.
func (s *Store) Use(ctx context.Context, d lambent.Digest) (dir string, release func(), err error) {
	return "", nil, lambent.Errorf(lambent.CodeUnsupported, "use artifact")
}

// Blob opens the code as it was uploaded and tells its size in bytes.
func (s *Store) Blob(d lambent.Digest) (io.ReadSeekCloser, int64, error) {
	return nil, 0, lambent.Errorf(lambent.CodeUnsupported, "open artifact")
}

// Collect removes what is not alive, not pinned and older than olderThan, and
// returns the bytes that were freed.
func (s *Store) Collect(ctx context.Context, alive map[lambent.Digest]bool, olderThan time.Duration) (freed int64, err error) {
	return 0, nil
}
