// Package eventstream frames messages as AWS's streaming operations send them
// (Amazon event stream encoding). It owns the bytes of one message; what a message
// says, and who gets it, is for the doors above.
package eventstream

import (
	"encoding/binary"
	"hash/crc32"
)

// ContentType is that of an answer which consists of messages.
const ContentType = "application/vnd.amazon.eventstream"

// Append appends an event of a kind to b: lengths and their checksum, headers whose
// values are strings, the payload, and a checksum of it all.
func Append(b []byte, kind, contentType string, payload []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, 12)...)
	for _, h := range [][2]string{{":event-type", kind}, {":content-type", contentType}, {":message-type", "event"}} {
		b = append(append(b, byte(len(h[0]))), h[0]...)
		b = append(b, 7) // a string
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(h[1]))), h[1]...)
	}
	headers := len(b) - start - 12
	b = append(b, payload...)
	head := b[start:]
	binary.BigEndian.PutUint32(head, uint32(len(head)+4))
	binary.BigEndian.PutUint32(head[4:], uint32(headers))
	binary.BigEndian.PutUint32(head[8:], crc32.ChecksumIEEE(head[:8]))
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(head))
}
