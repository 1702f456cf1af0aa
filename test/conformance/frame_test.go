package conformance

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strings"
)

// Opcodes of frames (RFC 6455, section 5.2).
const (
	opContinue = 0
	opText     = 1
	opBinary   = 2
	opClose    = 8
	opPing     = 9
	opPong     = 10
)

// maxFrame bounds what is read, in bytes.
const maxFrame = 64 << 20

// frame is one of them, which may be wrong.
type frame struct {
	op      byte
	more    bool // FIN is not set
	rsv     byte // 0 to 7
	payload string
}

// bytes is the frame as a client sends it, masked.
func (f frame) bytes() []byte {
	b := []byte{f.op | f.rsv<<4}
	if !f.more {
		b[0] |= 0x80
	}
	switch n := len(f.payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := []byte{0x12, 0x34, 0xab, 0xcd}
	b = append(b, mask...)
	begin := len(b)
	b = append(b, f.payload...)
	for i := range b[begin:] {
		b[begin+i] ^= mask[i%4]
	}
	return b
}

// closing is the payload of a close frame.
func closing(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

// hear reads what comes until the connection ends, as one line for each message or
// control frame. Frames of a message count as one: where they are cut is not told.
// closed is called for each close frame.
func hear(in *bufio.Reader, closed func()) (heard []string) {
	var op byte
	size, sum := 0, crc32.NewIEEE()
	for {
		f, err := readFrame(in)
		if err != nil {
			return append(heard, "end")
		}
		switch f.op {
		case opContinue, opText, opBinary:
			if f.op != opContinue {
				op, size = f.op, 0
				sum.Reset()
			}
			size += len(f.payload)
			_, _ = io.WriteString(sum, f.payload) // never fails
			if !f.more {
				heard = append(heard, heardMessage(op, size, sum.Sum32()))
			}
		case opClose:
			code := "no code"
			if len(f.payload) >= 2 {
				code = fmt.Sprint(binary.BigEndian.Uint16([]byte(f.payload)))
			}
			heard = append(heard, "close "+code)
			closed()
		default:
			heard = append(heard, fmt.Sprintf("%s of %d", kinds[f.op], len(f.payload)))
		}
	}
}

func heardMessage(op byte, size int, sum uint32) string {
	return fmt.Sprintf("%s of %d, %08x", kinds[op], size, sum)
}

var kinds = map[byte]string{opText: "text", opBinary: "binary", opPing: "ping", opPong: "pong"}

func readFrame(in *bufio.Reader) (f frame, err error) {
	var head [2]byte
	if _, err = io.ReadFull(in, head[:]); err != nil {
		return f, err
	}
	f.op, f.more, f.rsv = head[0]&15, head[0]&0x80 == 0, head[0]>>4&7
	n := uint64(head[1] & 127)
	var long [8]byte
	switch n {
	case 126:
		_, err = io.ReadFull(in, long[6:])
		n = binary.BigEndian.Uint64(long[:])
	case 127:
		_, err = io.ReadFull(in, long[:])
		n = binary.BigEndian.Uint64(long[:])
	}
	if err != nil || n > maxFrame {
		return f, fmt.Errorf("frame of %d bytes: %w", n, err)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	f.payload = string(b)
	return f, err
}

// open shakes hands (RFC 6455, section 4.1).
func open(c net.Conn) (*bufio.Reader, error) {
	if _, err := io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: ws.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
		return nil, err
	}
	in := bufio.NewReader(c)
	status, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		return nil, fmt.Errorf("answer %q: %w", status, err)
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line == "\r\n" {
			return in, nil
		}
	}
}
