package wasm

import (
	"errors"
	"fmt"
	"math"
)

// Instructions that the meter cares about (core specification 2.0, section 5.4).
const (
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opLocalGet     = 0x20
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opI32Const     = 0x41
	opI32LtS       = 0x48
	opI32Sub       = 0x6b
	opI32ShrU      = 0x76
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd
	noBlockType    = 0x40
	typeI32        = 0x7f
	typeFunc       = 0x60
)

// instruction is one decoded instruction. Its bytes are those between from and
// to of the reader.
type instruction struct {
	op       byte
	from, to int
	index    uint32 // of a function, global or type, where it names one
	typed    bool   // index is of the type of what it calls or begins
	targets  int    // that it may branch to
	bulk     bool   // it touches as much memory as its last operand says
}

// next reads an instruction. What is not in version 2.0 of the core
// specification is refused: the meter would not know where it ends. Where
// decoders are known to read an encoding differently, only the shortest is taken.
func (r *reader) next() (instruction, error) {
	i := instruction{from: r.at}
	i.op = r.byte()
	switch op := i.op; {
	case op == opReturn:
		i.targets = 1
	case op <= 0x01, op == opElse, op == opEnd, op == 0x1a, op == 0x1b, op == 0xd1, op >= 0x45 && op <= 0xc4:
	case op == opBlock, op == opLoop, op == opIf:
		i.index, i.typed = r.blockType()
	case op == opBr, op == opBrIf:
		i.targets = 1
		r.u32()
	case op >= 0x20 && op <= 0x26, op == opCall, op == opRefFunc:
		i.index = r.u32()
	case op == opBrTable:
		i.targets = r.count() + 1
		for range i.targets {
			r.u32()
		}
	case op == opCallIndirect:
		i.index, i.typed = r.u32(), true
		r.u32()
	case op == 0x1c:
		r.want(1)
		r.valueType()
	case op >= 0x28 && op <= 0x3e:
		r.memory()
	case op == 0x3f, op == 0x40:
		r.want(0)
	case op == opI32Const:
		r.leb(5)
	case op == 0x42:
		r.leb(10)
	case op == 0x43:
		r.bytes(4)
	case op == 0x44:
		r.bytes(8)
	case op == 0xd0:
		r.valueType()
	case op == opMisc:
		i.bulk = r.misc()
	case op == opVector:
		r.vector()
	default:
		r.fail(unknown(uint32(op)))
	}
	i.to = r.at
	return i, r.err
}

// branches tells whether the instruction makes blocks of code, itself or by what
// the meter puts beside it.
func (i instruction) branches() bool {
	switch i.op {
	case opBlock, opLoop, opIf, opElse, opBrIf:
		return true
	}
	return i.bulk
}

func unknown(op uint32) error {
	return fmt.Errorf("instruction %#02x is not in WebAssembly 2.0", op)
}

// want reads a byte that can have one value only.
func (r *reader) want(v byte) {
	if r.byte() != v {
		r.fail(errors.New("an instruction has more operands than WebAssembly 2.0 knows"))
	}
}

func (r *reader) valueType() {
	switch c := r.byte(); c {
	case 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f:
	default:
		r.fail(fmt.Errorf("type %#02x is not in WebAssembly 2.0", c))
	}
}

// blockType reads a type, none, or the index of a function type.
func (r *reader) blockType() (index uint32, ok bool) {
	if r.at < len(r.b) && r.b[r.at] == noBlockType {
		r.at++
		return 0, false
	}
	if r.at < len(r.b) && r.b[r.at] < 0x80 && r.b[r.at] > noBlockType {
		r.valueType()
		return 0, false
	}
	v := r.leb(5)
	if r.err == nil && (r.b[r.at-1]&0x40 != 0 || v > math.MaxUint32) {
		r.fail(errors.New("a block has a negative type"))
	}
	return uint32(v), true
}

// memory reads the operands of a load or store.
func (r *reader) memory() {
	if align := r.u32(); align >= 0x40 {
		r.fail(errors.New("a second memory is not in WebAssembly 2.0"))
	}
	r.u32()
}

// misc reads the rest of an instruction with prefix 0xfc.
func (r *reader) misc() (bulk bool) {
	switch op := r.u32(); {
	case op <= 7:
	case op == 8: // memory.init
		r.u32()
		r.want(0)
		return true
	case op == 10: // memory.copy
		r.want(0)
		r.want(0)
		return true
	case op == 11: // memory.fill
		r.want(0)
		return true
	case op == 12, op == 14: // table.init, table.copy
		r.u32()
		r.u32()
		return true
	case op == 17: // table.fill
		r.u32()
		return true
	case op == 9, op == 13, op == 15, op == 16:
		r.u32()
	default:
		r.fail(unknown(opMisc<<8 | op))
	}
	return false
}

// vector reads the rest of an instruction with prefix 0xfd.
func (r *reader) vector() {
	op := r.byte()
	if op >= 0x80 {
		// The second byte of the number: only one encoding is the shortest.
		r.want(1)
	}
	switch {
	case op <= 11:
		r.memory()
	case op == 12, op == 13:
		r.bytes(16)
	case op >= 21 && op <= 34:
		r.byte()
	case op >= 84 && op <= 91:
		r.memory()
		r.byte()
	case op == 92, op == 93:
		r.memory()
	}
}
