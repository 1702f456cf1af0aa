package wasm

import (
	"errors"
	"fmt"
	"math"
)

// errShort is a module that ends too early.
var errShort = errors.New("it ends in the middle of something")

// reader reads the binary format of WebAssembly (core specification 2.0,
// chapter 5). The first error sticks; values read after it are zero.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) more() bool { return r.err == nil && r.at < len(r.b) }

func (r *reader) byte() byte {
	if r.err != nil || r.at >= len(r.b) {
		r.fail(errShort)
		return 0
	}
	c := r.b[r.at]
	r.at++
	return c
}

func (r *reader) bytes(n uint32) []byte {
	if r.err != nil || uint64(n) > uint64(len(r.b)-r.at) {
		r.fail(errShort)
		return nil
	}
	p := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return p
}

// u32 reads an unsigned LEB128 number.
func (r *reader) u32() uint32 {
	v := r.leb(5)
	if v > math.MaxUint32 {
		r.fail(errors.New("a number is too large"))
		return 0
	}
	return uint32(v)
}

// leb reads a LEB128 number of at most n bytes. Signed numbers are only skipped.
func (r *reader) leb(n int) uint64 {
	var v uint64
	for i := range n {
		c := r.byte()
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v
		}
	}
	r.fail(errors.New("a number is too long"))
	return 0
}

// count reads the length of a vector whose elements take a byte at least.
func (r *reader) count() int {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)-r.at) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

func (r *reader) name() string { return string(r.bytes(r.u32())) }

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// appendS32 appends a signed LEB128 number, the form of i32.const.
func appendS32(b []byte, v int32) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendName(b []byte, s string) []byte {
	return append(appendU32(b, uint32(len(s))), s...)
}

// Section ids of the binary format.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	sections
)

// order is the order of sections in a module.
var order = [...]int{secType, secImport, secFunction, secTable, secMemory, secGlobal, secExport, secStart,
	secElement, secDataCount, secCode, secData}

var header = []byte("\x00asm\x01\x00\x00\x00")

// split finds the sections of a module. Of the custom ones only the names are
// kept, in place of section 0.
func split(b []byte) (s [sections][]byte, err error) {
	if len(b) < len(header) || string(b[:len(header)]) != string(header) {
		return s, errors.New("it is not a WebAssembly module of version 1")
	}
	r := reader{b: b, at: len(header)}
	last := -1
	for r.more() {
		id := int(r.byte())
		body := r.bytes(r.u32())
		if id == secCustom {
			c := reader{b: body}
			if c.name() == "name" && c.err == nil {
				s[secCustom] = body[c.at:]
			}
			continue
		}
		place := -1
		for i, o := range order {
			if o == id {
				place = i
			}
		}
		if place <= last {
			return s, fmt.Errorf("section %d is unknown, or not in its place", id)
		}
		last = place
		s[id] = body
		if s[id] == nil {
			s[id] = []byte{}
		}
	}
	return s, r.err
}
