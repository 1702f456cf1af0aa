package artifact_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// file is one entry of a test's archive. The raw fields, when set, go into the
// headers as they are, however wrong.
type file struct {
	name, body string
	mode       fs.FileMode // 0 is 0644
	when       time.Time
	flags      uint16
	method     uint16 // 0 is stored
	claim      uint64 // declared size, when it is not the body's
	badSum     bool
}

func build(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range files {
		if f.mode == 0 {
			f.mode = 0o644
		}
		if f.when.IsZero() {
			f.when = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		h := &zip.FileHeader{
			Name: f.name, Method: f.method, Flags: f.flags, Modified: f.when, CRC32: crc32.ChecksumIEEE([]byte(f.body)),
			CompressedSize64: uint64(len(f.body)), UncompressedSize64: uint64(len(f.body)),
		}
		h.SetMode(f.mode)
		if strings.HasSuffix(f.name, "/") && f.mode == 0o644 {
			h.SetMode(fs.ModeDir | 0o755)
		}
		if f.when.Year() >= 1970 { // the extended timestamp of Info-ZIP
			h.Extra = binary.LittleEndian.AppendUint32([]byte{0x55, 0x54, 5, 0, 1}, uint32(f.when.Unix()))
		}
		if f.claim != 0 {
			h.UncompressedSize64 = f.claim
		}
		if f.badSum {
			h.CRC32++
		}
		to, err := w.CreateRaw(h)
		if err == nil {
			_, err = to.Write([]byte(f.body))
		}
		if err != nil {
			t.Fatalf("write entry %q: %v", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// deflated makes an archive of one honest, compressed file of n equal bytes.
func deflated(t testing.TB, name string, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	to, err := w.Create(name)
	chunk := bytes.Repeat([]byte("a"), 1<<20)
	for ; err == nil && n > 0; n -= len(chunk) {
		_, err = to.Write(chunk[:min(n, len(chunk))])
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func link(name, target string) file {
	return file{name: name, body: target, mode: fs.ModeSymlink | 0o777}
}

const (
	cannotUnzip = "Could not unzip uploaded file. Please check your file, then try to upload again."
	tooLarge    = "Unzipped size must be smaller than 262144000 bytes"
	nonEmpty    = "Uploaded file must be a non-empty zip"
)

func TestUnsafeZipsAreRefused(t *testing.T) {
	sound := build(t, file{name: "a", body: "some text"})
	long := strings.Repeat("n", 256)
	for name, c := range map[string]struct {
		code []byte
		want string
	}{
		"no bytes":              {[]byte{}, nonEmpty},
		"no entries":            {build(t), nonEmpty},
		"not a zip":             {[]byte("hello, this is not a zip"), cannotUnzip},
		"a gzip":                {[]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"), cannotUnzip},
		"cut short":             {sound[:len(sound)-10], cannotUnzip},
		"cut at the front":      {sound[20:], cannotUnzip},
		"parent":                {build(t, file{name: "../x"}), cannotUnzip},
		"parent below":          {build(t, file{name: "a/../../x"}), cannotUnzip},
		"parent within":         {build(t, file{name: "a/../x"}), cannotUnzip},
		"parent directory":      {build(t, file{name: "../"}), cannotUnzip},
		"absolute":              {build(t, file{name: "/etc/passwd"}), cannotUnzip},
		"root":                  {build(t, file{name: "/"}), cannotUnzip},
		"dot within":            {build(t, file{name: "a/./x"}), cannotUnzip},
		"double slash":          {build(t, file{name: "a//x"}), cannotUnzip},
		"no name":               {build(t, file{name: ""}), cannotUnzip},
		"dot as a file":         {build(t, file{name: "."}), cannotUnzip},
		"backslash":             {build(t, file{name: `..\x`}), cannotUnzip},
		"drive":                 {build(t, file{name: `C:\x`}), cannotUnzip},
		"NUL":                   {build(t, file{name: "a\x00b"}), cannotUnzip},
		"not UTF-8":             {build(t, file{name: "caf\xe9"}), cannotUnzip},
		"long component":        {build(t, file{name: long}), cannotUnzip},
		"long name":             {build(t, file{name: strings.Repeat("abcdefghi/", 210) + "x"}), cannotUnzip},
		"deep":                  {build(t, file{name: strings.Repeat("a/", 101) + "x"}), cannotUnzip},
		"device":                {build(t, file{name: "d", mode: fs.ModeDevice | 0o666}), cannotUnzip},
		"character device":      {build(t, file{name: "d", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}), cannotUnzip},
		"named pipe":            {build(t, file{name: "d", mode: fs.ModeNamedPipe | 0o666}), cannotUnzip},
		"socket":                {build(t, file{name: "d", mode: fs.ModeSocket | 0o666}), cannotUnzip},
		"twice":                 {build(t, file{name: "a", body: "1"}, file{name: "a", body: "2"}), cannotUnzip},
		"twice by dot":          {build(t, file{name: "a"}, file{name: "./a"}), cannotUnzip},
		"file, then directory":  {build(t, file{name: "a"}, file{name: "a/"}), cannotUnzip},
		"directory, then file":  {build(t, file{name: "a/"}, file{name: "a"}), cannotUnzip},
		"file below a file":     {build(t, file{name: "a"}, file{name: "a/b"}), cannotUnzip},
		"file above a file":     {build(t, file{name: "a/b"}, file{name: "a"}), cannotUnzip},
		"file below a link":     {build(t, link("a", "b"), file{name: "b/"}, file{name: "a/c"}), cannotUnzip},
		"file over a link":      {build(t, link("a", "b"), file{name: "a"}), cannotUnzip},
		"link over a file":      {build(t, file{name: "a"}, link("a", "b")), cannotUnzip},
		"link to root":          {build(t, link("a", "/")), cannotUnzip},
		"link to a host file":   {build(t, link("a", "/etc/shadow")), cannotUnzip},
		"link up":               {build(t, link("a", "..")), cannotUnzip},
		"link up below":         {build(t, link("b/a", "../../x")), cannotUnzip},
		"link up and back":      {build(t, link("a", "../task/x")), cannotUnzip},
		"link up through link":  {build(t, link("here", "."), link("d/y", "../here/../x")), cannotUnzip},
		"link through deep":     {build(t, file{name: "p/q/r/f"}, link("up", "p/q/.."), link("p/z", "../up/../..")), cannotUnzip},
		"links in a circle":     {build(t, link("a", "b"), link("b", "a")), cannotUnzip},
		"link to itself":        {build(t, link("a", "a/x")), cannotUnzip},
		"link without target":   {build(t, link("a", "")), cannotUnzip},
		"link with a NUL":       {build(t, link("a", "b\x00c")), cannotUnzip},
		"long link":             {build(t, link("a", strings.Repeat("x/", 2100))), cannotUnzip},
		"directory with body":   {build(t, file{name: "d", body: "x", mode: fs.ModeDir | 0o755}), cannotUnzip},
		"encrypted":             {build(t, file{name: "a", body: "x", flags: 1}), cannotUnzip},
		"unknown method":        {build(t, file{name: "a", body: "x", method: 12}), cannotUnzip},
		"not deflate":           {build(t, file{name: "a", body: "\xff\xff\xff", method: zip.Deflate}), cannotUnzip},
		"wrong checksum":        {build(t, file{name: "a", body: "x", badSum: true}), cannotUnzip},
		"less than declared":    {build(t, file{name: "a", body: "xyz", claim: 4}), cannotUnzip},
		"more than declared":    {build(t, file{name: "a", body: "xyz", claim: 2}), cannotUnzip},
		"impossible ratio":      {build(t, file{name: "a", body: "xyz", claim: 100_000, method: zip.Deflate}), cannotUnzip},
		"declares too much":     {build(t, file{name: "a", body: "xyz", claim: 1 << 40, method: zip.Deflate}), tooLarge},
		"declares 2^64-1":       {build(t, file{name: "a", body: "xyz", claim: 1<<64 - 1, method: zip.Deflate}), tooLarge},
		"one byte too much":     {deflated(t, "a", lambent.MaxUnzipped+1), tooLarge},
		"more than it declares": {lie(t, deflated(t, "a", 1<<20), 1<<10), cannotUnzip},
		"overlapping":           {overlapping(t, 2000), cannotUnzip},
		"too many entries":      {many(100_001), cannotUnzip},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "artifacts")
			s := open(t, artifact.Options{Dir: dir})
			_, err := s.Put(testContext(t), artifact.Source{Zip: c.code})
			if lambent.CodeOf(err) != lambent.CodeInvalid || err.Error() != c.want || lambent.ReasonOf(err) == "" {
				t.Errorf("put: %s %q, want %q", lambent.CodeOf(err), err, c.want)
			}
			t.Logf("cause: %v", errors.Unwrap(err))
			wantClean(t, dir)
			if left := tree(t, parent); len(left) != 7 { // the store's own folders
				t.Errorf("%q is on the disk", left)
			}
		})
	}
}

// lie changes the declared size in the central directory of a one-file archive.
func lie(t testing.TB, code []byte, size uint32) []byte {
	t.Helper()
	at := bytes.LastIndex(code, []byte("PK\x01\x02"))
	if at < 0 {
		t.Fatal("no directory in the archive")
	}
	binary.LittleEndian.PutUint32(code[at+24:], size)
	return code
}

// overlapping makes many entries of one file's bytes.
func overlapping(t testing.TB, n int) []byte {
	t.Helper()
	one := build(t, file{name: "0000", body: strings.Repeat("x", 4096)})
	at := bytes.LastIndex(one, []byte("PK\x01\x02"))
	end := bytes.LastIndex(one, []byte("PK\x05\x06"))
	header, tail := one[at:end], bytes.Clone(one[end:])
	out := bytes.Clone(one[:at])
	for i := range n {
		h := bytes.Clone(header)
		copy(h[46:], fmt.Sprintf("%04d", i))
		out = append(out, h...)
	}
	binary.LittleEndian.PutUint16(tail[8:], uint16(n))
	binary.LittleEndian.PutUint16(tail[10:], uint16(n))
	binary.LittleEndian.PutUint32(tail[12:], uint32(n*len(header)))
	return append(out, tail...)
}

// many makes an archive of n empty files, of which only the directory is real.
func many(n int) []byte {
	var out []byte
	le := binary.LittleEndian
	for i := range n {
		name := fmt.Sprintf("%06d", i)
		h := make([]byte, 46, 52)
		copy(h, "PK\x01\x02")
		le.PutUint16(h[28:], uint16(len(name)))
		out = append(out, append(h, name...)...)
	}
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	le.PutUint16(end[8:], uint16(n))
	le.PutUint16(end[10:], uint16(n))
	le.PutUint32(end[12:], uint32(len(out)))
	return append(out, end...)
}

func TestSoundZipsArePassed(t *testing.T) {
	for name, code := range map[string][]byte{
		"listed root":          build(t, file{name: "./"}, file{name: "./a", body: "x"}),
		"directory twice":      build(t, file{name: "d/"}, file{name: "d/"}, file{name: "d/a"}),
		"directory after file": build(t, file{name: "d/a"}, file{name: "d/"}),
		"link within":          build(t, link("l", "d/../d/a"), file{name: "d/a"}),
		"dangling link":        build(t, link("l", "nowhere/x")),
		"link to the root":     build(t, link("d/l", "..")),
		"chain of links":       build(t, link("a", "b"), link("b", "c"), file{name: "c", body: "x"}),
		"only a directory":     build(t, file{name: "d/"}),
		"two dots in a name":   build(t, file{name: "a..b"}, file{name: "..."}),
		"bytes before":         append([]byte("#!/usr/bin/env python3\n"), build(t, file{name: "a", body: "x"})...),
		"UTF-8":                build(t, file{name: "café/日本", body: "x"}),
		"no time":              build(t, file{name: "a", when: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}),
		"as deep as can be":    build(t, file{name: strings.Repeat("a/", 99) + "x"}),
		"streamed":             streamed(t),
		"zip64":                zip64(t),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, artifact.Options{})
			_, release := mustUse(t, s, mustPut(t, s, code).Digest)
			release()
		})
	}
}

// streamed has its sizes behind the contents, as writers to a pipe do it.
func streamed(t testing.TB) []byte {
	return deflated(t, "a", 100)
}

// zip64 has its sizes in the 64-bit extra field (APPNOTE.TXT 4.5.3), which
// writers of streams use for small files, too.
func zip64(t testing.TB) []byte {
	t.Helper()
	body, name := "hello", "a"
	le := binary.LittleEndian
	extra := make([]byte, 20)
	le.PutUint16(extra, 1)
	le.PutUint16(extra[2:], 16)
	le.PutUint64(extra[4:], uint64(len(body)))
	le.PutUint64(extra[12:], uint64(len(body)))
	local := make([]byte, 30)
	copy(local, "PK\x03\x04")
	le.PutUint16(local[4:], 45)
	le.PutUint32(local[14:], crc32.ChecksumIEEE([]byte(body)))
	le.PutUint32(local[18:], 0xffffffff)
	le.PutUint32(local[22:], 0xffffffff)
	le.PutUint16(local[26:], uint16(len(name)))
	le.PutUint16(local[28:], uint16(len(extra)))
	out := append(append(append(local, name...), extra...), body...)
	start := len(out)
	central := make([]byte, 46)
	copy(central, "PK\x01\x02")
	copy(central[6:], local[4:30]) // the fields that both headers share
	out = append(append(append(out, central...), name...), extra...)
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	le.PutUint16(end[8:], 1)
	le.PutUint16(end[10:], 1)
	le.PutUint32(end[12:], uint32(len(out)-start))
	le.PutUint32(end[16:], uint32(start))
	return append(out, end...)
}

func TestUnpackedSizeIsSharedWithOthers(t *testing.T) {
	s := open(t, artifact.Options{})
	code := build(t, file{name: "a", body: "12345"})
	for others, want := range map[int64]string{0: "", lambent.MaxUnzipped - 5: "", lambent.MaxUnzipped - 4: tooLarge} {
		_, err := s.Put(testContext(t), artifact.Source{Zip: code, Others: others})
		if (err == nil) != (want == "") || (err != nil && err.Error() != want) {
			t.Errorf("with %d bytes of others: %v, want %q", others, err, want)
		}
	}
}

func TestUploadsAreBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: dir})
	_, err := s.Put(testContext(t), artifact.Source{Zip: make([]byte, lambent.MaxZipUpload+1)})
	if lambent.CodeOf(err) != lambent.CodeTooLarge || err.Error() != "Zipped size must be smaller than 52428800 bytes" {
		t.Errorf("put: %v", err)
	}
	wantClean(t, dir)
}
