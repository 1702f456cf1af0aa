package auth

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // a checksum that clients choose, not a signature
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"

	"lambent.dev/lambent"
)

// Values of X-Amz-Content-Sha256 that are not a hash (Amazon S3 API reference,
// "Authenticating requests: using the Authorization header").
const (
	payloadUnsigned        = "UNSIGNED-PAYLOAD"
	payloadChunks          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	payloadChunksTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	payloadUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

const (
	// maxChunk bounds a signed chunk, which is held until its signature is known
	// to be right.
	maxChunk = 16 << 20
	// maxChunkLine bounds a chunk's header and a trailer line.
	maxChunkLine = 4096
	maxTrailers  = 16
	emptySHA256  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	trailerSig   = "x-amz-trailer-signature"
)

// chunkReader decodes an aws-chunked body. Chunks are handed out when their signature
// has been verified.
type chunkReader struct {
	src    *bufio.Reader
	body   io.Closer
	signer *signer
	// prefix is what the string to sign has between its first line and the
	// previous signature: date and scope.
	prefix   string
	previous []byte // signature before this chunk, hex
	buf      []byte // backing store of data
	data     []byte // verified and not handed out yet
	left     int64  // bytes left of X-Amz-Decoded-Content-Length
	trailers bool
	checks   map[string]hash.Hash // announced checksums by trailer name
	err      error
}

// newChunkReader prepares the body of r, whose seed signature has been verified.
func newChunkReader(r *http.Request, c *claim, s *signer, mode string) (*chunkReader, *lambent.Error) {
	length, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || length < 0 {
		return nil, badBody("X-Amz-Decoded-Content-Length is required with a streaming payload and must be a length in bytes.")
	}
	cr := &chunkReader{
		src: bufio.NewReaderSize(r.Body, maxChunkLine), body: r.Body, signer: s,
		prefix:   "\n" + c.stamp + "\n" + string(c.appendScope(nil)) + "\n",
		previous: hex.AppendEncode(nil, c.signature[:]),
		left:     length, trailers: mode != payloadChunks,
	}
	if cr.trailers {
		var refusal *lambent.Error
		if cr.checks, refusal = announced(r.Header.Values("X-Amz-Trailer")); refusal != nil {
			return nil, refusal
		}
	}
	return cr, nil
}

// announced makes a hash for each checksum that X-Amz-Trailer names.
func announced(names []string) (map[string]hash.Hash, *lambent.Error) {
	checks := make(map[string]hash.Hash)
	for name := range strings.SplitSeq(strings.Join(names, ","), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		switch name {
		case "":
		case "x-amz-checksum-crc32":
			checks[name] = crc32.NewIEEE()
		case "x-amz-checksum-crc32c":
			checks[name] = crc32.New(crc32.MakeTable(crc32.Castagnoli))
		case "x-amz-checksum-crc64nvme":
			checks[name] = crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) // NVMe polynomial, reflected
		case "x-amz-checksum-sha1":
			checks[name] = sha1.New() //nolint:gosec // see the import
		case "x-amz-checksum-sha256":
			checks[name] = sha256.New()
		default:
			return nil, badBody("The trailing header '" + clip(name) + "' is not supported.")
		}
	}
	return checks, nil
}

// Read implements io.Reader.
func (cr *chunkReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(cr.data) == 0 {
		if cr.err != nil {
			return 0, cr.err
		}
		cr.err = cr.next()
	}
	n := copy(p, cr.data)
	cr.data = cr.data[n:]
	for _, h := range cr.checks {
		h.Write(p[:n])
	}
	return n, nil
}

// Close implements io.Closer.
func (cr *chunkReader) Close() error { return cr.body.Close() }

// next reads a chunk. It returns io.EOF after the last one and the trailer.
func (cr *chunkReader) next() error {
	size, signature, err := cr.header()
	switch {
	case err != nil:
		return err
	case size > cr.left:
		return badBody("The body is longer than X-Amz-Decoded-Content-Length says.")
	case size == 0:
		return cr.finish(signature)
	}
	cr.left -= size
	if size > maxChunk {
		return badBody("A signed chunk may have at most " + strconv.Itoa(maxChunk) + " bytes.")
	}
	// The buffer grows with what arrives, not with what is announced.
	into := bytes.NewBuffer(cr.buf[:0])
	if _, err := io.CopyN(into, cr.src, size); err != nil {
		return cut(err)
	}
	cr.buf = into.Bytes()
	if err := cr.lineEnd(); err != nil {
		return err
	}
	if err := cr.verify("AWS4-HMAC-SHA256-PAYLOAD", emptySHA256+"\n", cr.buf, signature); err != nil {
		return err
	}
	cr.data = cr.buf
	return nil
}

// header reads "<size in hex>;chunk-signature=<hex>".
func (cr *chunkReader) header() (size int64, signature string, err error) {
	line, err := cr.line()
	if err != nil {
		return 0, "", err
	}
	number, extension, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(number, 16, 48)
	if err != nil {
		return 0, "", badBody("The size of a chunk is malformed.")
	}
	signature, signed := strings.CutPrefix(extension, "chunk-signature=")
	if !signed {
		return 0, "", badBody("A chunk's signature is missing.")
	}
	return int64(n), signature, nil
}

// line reads up to the next line feed, which a carriage return may precede.
func (cr *chunkReader) line() (string, error) {
	line, err := cr.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", badBody("A line between chunks is too long.")
	}
	if err != nil {
		return "", cut(err)
	}
	return string(bytes.TrimRight(line, "\r\n")), nil
}

// lineEnd reads the empty rest of the line after a chunk's data.
func (cr *chunkReader) lineEnd() error {
	rest, err := cr.line()
	if err == nil && rest != "" {
		err = badBody("A chunk is longer than its size says.")
	}
	return err
}

// verify holds a chunk, or the trailer, against its signature.
func (cr *chunkReader) verify(kind, middle string, data []byte, signature string) error {
	want := cr.sign(kind, middle, data)
	if subtle.ConstantTimeCompare(want, []byte(signature)) != 1 {
		return mismatch()
	}
	cr.previous = want
	return nil
}

// sign is the signature in hex of a chunk, or the trailer, after the previous one.
func (cr *chunkReader) sign(kind, middle string, data []byte) []byte {
	sum := sha256.Sum256(data)
	text := append([]byte(kind), cr.prefix...)
	text = append(append(text, cr.previous...), '\n')
	text = append(text, middle...)
	text = hex.AppendEncode(text, sum[:])
	return hex.AppendEncode(nil, cr.signer.sign(nil, text))
}

// finish reads what follows the chunk of size zero, and tells io.EOF if
// everything was right.
func (cr *chunkReader) finish(signature string) error {
	if cr.left != 0 {
		return badBody("The body is shorter than X-Amz-Decoded-Content-Length says.")
	}
	if err := cr.verify("AWS4-HMAC-SHA256-PAYLOAD", emptySHA256+"\n", nil, signature); err != nil {
		return err
	}
	if !cr.trailers {
		if err := cr.lineEnd(); err != nil {
			return err
		}
		return io.EOF
	}
	return cr.readTrailer()
}

// readTrailer reads "name:value" lines up to an empty one, and checks the
// announced checksums and the trailer's own signature. An empty line may stand
// before the signature, as S3's examples have it.
func (cr *chunkReader) readTrailer() error {
	var canonical []byte
	var signature string
	seen := 0
	for range maxTrailers {
		line, err := cr.line()
		if err != nil {
			return err
		}
		if line == "" {
			if signature != "" {
				return cr.endTrailer(canonical, signature, seen)
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == trailerSig {
			signature = value
			continue
		}
		h := cr.checks[name]
		if h == nil {
			return badBody("The trailing header '" + clip(name) + "' was not announced.")
		}
		if value != base64.StdEncoding.EncodeToString(h.Sum(nil)) {
			return badBody("Value for " + name + " trailing header is invalid.").WithReason("BadDigest")
		}
		seen++
		canonical = append(canonical, name+":"+value+"\n"...)
	}
	return badBody("The trailer has too many lines.")
}

func (cr *chunkReader) endTrailer(canonical []byte, signature string, seen int) error {
	if seen != len(cr.checks) {
		return badBody("An announced trailing header is missing or repeated.")
	}
	if err := cr.verify("AWS4-HMAC-SHA256-TRAILER", "", canonical, signature); err != nil {
		return err
	}
	return io.EOF
}

// cut tells of a body that ended or broke before its last chunk.
func cut(err error) error {
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return tooLarge(big.Limit)
	}
	e := badBody("The body ended before its last chunk.")
	e.Cause = err
	return e
}

func badBody(message string) *lambent.Error {
	return &lambent.Error{Code: lambent.CodeInvalid, Reason: reasonBody, Message: message}
}

func tooLarge(most int64) *lambent.Error {
	return &lambent.Error{
		Code: lambent.CodeTooLarge, Reason: reasonTooLarge,
		Message: "Request must be smaller than " + strconv.FormatInt(most, 10) + " bytes",
	}
}
