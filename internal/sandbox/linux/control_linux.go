package linux

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Variables by which a runtime learns of the control socket, and that it has no
// function yet but where the Runtime API will be (runtimes/README.md).
const (
	controlVariable = "LAMBENT_CONTROL=3"
	blankVariable   = "LAMBENT_BLANK=" + runtimeAPIAddress
)

// Bounds of what goes over the control socket, in bytes. A function's process can
// write to its end: nothing it says is trusted.
const (
	maxEnvironment = 256 << 10
	maxModuleList  = 16 << 10
	maxComplaint   = 1 << 10
	maxModules     = 512
)

// control is the server's end of the control socket of one runtime. One goroutine
// at a time uses it, and reads no more than the words: what comes after them may be for
// the Runtime API.
type control struct{ sock net.Conn }

// newControl makes the socket; the second result is the runtime's end.
func newControl() (*control, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	far := pair[1]
	if far == controlFD { // where dup3 would have nothing to do, and say so
		far, err = unix.FcntlInt(uintptr(pair[1]), unix.F_DUPFD_CLOEXEC, controlFD+1)
		_ = unix.Close(pair[1])
	}
	if err != nil {
		_ = unix.Close(pair[0])
		return nil, nil, os.NewSyscallError("prepare the control socket", err)
	}
	near := os.NewFile(uintptr(pair[0]), "control")
	defer func() { _ = near.Close() }() // FileConn has a copy
	sock, err := net.FileConn(near)
	if err != nil {
		_ = unix.Close(far)
		return nil, nil, err
	}
	return &control{sock: sock}, os.NewFile(uintptr(far), "control"), nil
}

func (c *control) close() { _ = c.sock.Close() }

// Kinds of what a runtime says.
const (
	saidBlank   = 'B' // a blank is up
	saidCode    = 'C' // the function's module, compiled; before saidTurn, if asked for
	saidTurn    = 'L' // it turns to the function's code
	saidTurnAt  = 'T' // it did, at a time by the host's clock; read as saidTurn
	saidTurnOn  = 'W' // it did, at a time by the wall clock; read as saidTurn
	saidModules = 'M' // what the function has imported
	saidError   = 'E' // a step between fork and the blank failed
)

// word is one thing that the runtime says.
type word struct {
	kind    byte
	at      time.Time // of saidTurn; now, if it does not say
	modules []string
	code    []byte
	text    string // of an error
}

var errControl = errors.New("the runtime does not keep to the control protocol")

// next reads one word. After an error there is nothing more to read.
func (c *control) next() (word, error) {
	var kind [1]byte
	if _, err := io.ReadFull(c.sock, kind[:]); err != nil {
		return word{}, err
	}
	var err error
	w := word{kind: kind[0], at: time.Now()}
	switch w.kind {
	case saidBlank, saidTurn:
		return w, nil
	case saidTurnAt:
		var stamp [8]byte
		if _, err := io.ReadFull(c.sock, stamp[:]); err != nil {
			return word{}, err
		}
		return word{kind: saidTurn, at: timeOf(binary.BigEndian.Uint64(stamp[:]))}, nil
	case saidTurnOn:
		var digits [16]byte // microseconds
		if _, err := io.ReadFull(c.sock, digits[:]); err != nil {
			return word{}, err
		}
		us, err := strconv.ParseUint(string(digits[:]), 10, 63)
		if ago := w.at.Sub(time.UnixMicro(int64(us))); ago > 0 && ago < time.Minute { // else it was set meanwhile
			w.at = w.at.Add(-ago)
		}
		return word{kind: saidTurn, at: w.at}, err
	case saidCode:
		w.code, err = c.body(maxCode)
		return w, err
	case saidModules:
		b, err := c.body(maxModuleList)
		if err == nil {
			w.modules, err = moduleList(b)
		}
		return w, err
	case saidError:
		b, err := c.body(maxComplaint)
		w.text = string(b)
		return w, err
	}
	return word{}, errControl
}

// timeOf is when the host's monotonic clock was at ns. A time that is yet to come is now.
func timeOf(ns uint64) time.Time {
	var ts unix.Timespec
	now := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil || ns > uint64(ts.Nano()) {
		return now
	}
	return now.Add(-time.Duration(uint64(ts.Nano()) - ns))
}

// body reads a length and as many bytes.
func (c *control) body(most int) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(c.sock, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > uint32(most) {
		return nil, errControl
	}
	b := make([]byte, n)
	_, err := io.ReadFull(c.sock, b)
	return b, err
}

var validModule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

func moduleList(b []byte) ([]string, error) {
	var list []string
	if err := json.Unmarshal(b, &list); err != nil || len(list) > maxModules {
		return nil, errControl
	}
	for _, m := range list {
		if !validModule.MatchString(m) {
			return nil, errControl
		}
	}
	return list, nil
}

// await reads one word, which must be of one of these kinds, until the deadline.
func (c *control) await(deadline time.Time, kinds ...byte) (w word, err error) {
	if err := c.sock.SetReadDeadline(deadline); err != nil {
		return w, err
	}
	w, err = c.next()
	switch {
	case errors.Is(err, io.EOF):
		return w, errors.New("the runtime has ended")
	case err != nil:
		return w, err
	case w.kind == saidError:
		return w, fmt.Errorf("the runtime could not start: %s", w.text)
	case !slices.Contains(kinds, w.kind):
		return w, errControl
	}
	return w, c.sock.SetReadDeadline(time.Time{})
}

// turn waits until the runtime turns to the function's code, and gives when that was, and
// what it has said before if it was asked.
func (c *control) turn(asked bool, deadline time.Time) (at time.Time, code []byte, err error) {
	kinds := []byte{saidTurn}
	if asked {
		kinds = append(kinds, saidCode)
	}
	w, err := c.await(deadline, kinds...)
	if err == nil && w.kind == saidCode {
		code = w.code
		w, err = c.await(deadline, saidTurn)
	}
	return w.at, code, err
}

// told is what a blank is told of its function, apart from its environment.
type told struct {
	fits   bool     // none of the function's files is in place of what the blank has loaded
	brief  bool     // what it imports is known
	serves bool     // the Runtime API is at this socket when all is said
	asks   bool     // it is to say what the function's module is, compiled
	code   []byte   // the same, if somebody has said it
	had    []string // its environment so far, if it can do with what differs from that; nil if not
}

// send gives a blank its environment.
func (c *control) send(env []string, t told, deadline time.Time) error {
	message, err := environmentMessage(env, t)
	if err != nil {
		return err
	}
	if err := c.sock.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if _, err = c.sock.Write(message); err != nil {
		return err
	}
	return c.sock.SetWriteDeadline(time.Time{})
}

// appendQuoted appends a JSON string. Nearly all that is in an environment needs no
// more than quotes.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // text always can be
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendGone appends which of the variables that a blank had its function has not.
func appendGone(b []byte, had, env []string) []byte {
	b = append(b, `"gone":[`...)
	for _, v := range had {
		if position(env, v) < 0 {
			name, _, _ := strings.Cut(v, "=")
			b = append(appendQuoted(b, name), ',')
		}
	}
	return append(bytes.TrimSuffix(b, []byte(",")), "],"...)
}

func environmentMessage(env []string, t told) ([]byte, error) {
	// Written by hand to keep the order, in which a fresh start has them too.
	b := append(make([]byte, 4, 4<<10), '{')
	if t.fits {
		b = append(b, `"fits":true,`...)
	}
	if t.brief {
		b = append(b, `"brief":true,`...)
	}
	if t.serves {
		b = append(b, `"serves":true,`...)
	}
	if t.asks {
		b = append(b, `"asks":true,`...)
	}
	if len(t.code) > 0 {
		b = append(strconv.AppendInt(append(b, `"code":`...), int64(len(t.code)), 10), ',')
	}
	if t.had != nil {
		b = appendGone(b, t.had, env)
	}
	b = append(b, `"env":{`...)
	for _, v := range env {
		if !utf8.ValidString(v) {
			return nil, errors.New("a variable is not text, which a blank cannot be told")
		}
		if slices.Contains(t.had, v) {
			continue
		}
		name, value, _ := strings.Cut(v, "=")
		b = append(appendQuoted(append(appendQuoted(b, name), ':'), value), ',')
	}
	b = append(bytes.TrimSuffix(b, []byte(",")), "}}"...)
	if len(b)-4 > maxEnvironment {
		return nil, fmt.Errorf("an environment of %d bytes is too large for a blank", len(b)-4)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return append(b, t.code...), nil
}
