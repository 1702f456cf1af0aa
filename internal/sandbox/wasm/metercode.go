package wasm

import (
	"errors"
	"fmt"
)

func (m *meter) code(r *reader) []byte {
	if r.b == nil {
		return nil
	}
	n := r.count()
	if n != len(m.functions) {
		r.fail(errors.New("there are not as many bodies as functions"))
		return nil
	}
	out := appendU32(make([]byte, 0, len(r.b)*3/2), uint32(n))
	for f := range n {
		size := r.u32()
		if size > maxBody {
			r.fail(fmt.Errorf("function %d has more than %d MB", f, maxBody>>20))
		}
		body, err := m.body(r.bytes(size), m.types[m.functions[f]])
		if err != nil {
			r.fail(fmt.Errorf("function %d: %w", f, err))
		}
		if r.err != nil {
			return nil
		}
		out = append(appendU32(out, uint32(len(body))), body...)
	}
	return out
}

// shape is what one look at a function's body tells.
type shape struct {
	loops  []int // bytes of each loop, in the order of their heads
	values int   // that calls, blocks and branches take and give
	calls  bool
	bulk   bool
}

// look decodes a body once and finds where each loop ends.
func (m *meter) look(code []byte, own funcType) (shape, error) {
	type block struct{ from, loop int }
	var s shape
	r := &reader{b: code}
	open := []block{{0, -1}}
	blocks, widest := 0, max(own.results, 1)
	for len(open) > 0 {
		i, err := r.next()
		if err != nil {
			return s, err
		}
		switch i.op {
		case opBlock, opIf:
			open = append(open, block{i.from, -1})
		case opLoop:
			open = append(open, block{i.from, len(s.loops)})
			s.loops = append(s.loops, 0)
		case opEnd:
			last := open[len(open)-1]
			open = open[:len(open)-1]
			if last.loop >= 0 {
				s.loops[last.loop] = i.to - last.from
			}
		case opCall, opCallIndirect:
			s.calls = true
		}
		s.bulk = s.bulk || i.bulk
		if i.branches() {
			blocks++
		}
		t := m.typeOf(i)
		if i.op != opCall && i.op != opCallIndirect {
			widest = max(widest, t.params, t.results)
		}
		s.values += t.params + t.results + i.targets*widest
		switch {
		case s.values > maxBody:
			return s, fmt.Errorf("its calls and blocks take and give more than %d values", maxBody)
		case len(open) > maxNesting:
			return s, errors.New("its blocks are too deep in each other")
		case blocks > maxBlocks:
			return s, fmt.Errorf("it has more than %d blocks", maxBlocks)
		case len(s.loops) > maxLoops:
			return s, fmt.Errorf("it has more than %d loops", maxLoops)
		}
	}
	if r.at != len(code) {
		return s, errors.New("there is something behind its end")
	}
	return s, nil
}

// typeOf is what an instruction takes and gives by a type that it names: as many
// values in a few bytes as the type has. What does not exist is for the engine to judge.
func (m *meter) typeOf(i instruction) funcType {
	index := i.index
	switch imported := uint32(len(m.imports)); {
	case i.op == opCall && index < imported:
		index = m.imports[index]
	case i.op == opCall && index-imported < uint32(len(m.functions)):
		index = m.functions[index-imported]
	case !i.typed:
		return funcType{}
	}
	if index >= uint32(len(m.types)) {
		return funcType{}
	}
	return m.types[index]
}

// body is a function's locals and code with the meter's instructions.
func (m *meter) body(b []byte, own funcType) ([]byte, error) {
	r := &reader{b: b}
	groups, locals := r.count(), uint64(own.params)
	from := r.at
	for range groups {
		locals += uint64(r.u32())
		r.valueType()
		if locals > maxLocals {
			r.fail(fmt.Errorf("more than %d variables", maxLocals))
		}
		if r.err != nil {
			return nil, r.err
		}
	}
	if m.locals += locals; m.locals > allLocals {
		r.fail(fmt.Errorf("more than %d variables in all", allLocals))
	}
	if r.err != nil {
		return nil, r.err
	}
	decls, code := b[from:r.at], b[r.at:]
	s, err := m.look(code, own)
	if err != nil {
		return nil, err
	}
	if m.values += s.values; m.values > maxModule {
		return nil, fmt.Errorf("calls and blocks take and give more than %d values in all", maxModule)
	}
	out := make([]byte, 0, len(b)+len(b)/2+32)
	if s.bulk {
		// One more variable, for the size of what a bulk instruction does.
		out = append(append(appendU32(out, uint32(groups)+1), decls...), 1, typeI32)
	} else {
		out = append(appendU32(out, uint32(groups)), decls...)
	}
	if s.calls || s.bulk || len(s.loops) > 0 || len(code) > freeLeaf {
		out = m.pay(out, len(code))
	}
	c := &reader{b: code}
	for c.more() {
		i, err := c.next()
		if err != nil {
			return nil, err
		}
		if i.bulk {
			out = m.payBulk(out, uint32(locals))
		}
		out = m.copied(c, out, i)
		if i.op == opLoop {
			out = m.pay(out, s.loops[0])
			s.loops = s.loops[1:]
		}
	}
	return out, c.err
}

// pay takes the price of size bytes of code from the counter.
func (m *meter) pay(out []byte, size int) []byte {
	out = append(m.counter(out, opGlobalGet), opI32Const)
	out = appendS32(out, int32(1+size/bytesPerUnit))
	return m.settle(out)
}

// payBulk takes the price of the bulk instruction whose size is on the stack;
// local is free to keep it.
func (m *meter) payBulk(out []byte, local uint32) []byte {
	out = appendU32(append(out, opLocalTee), local)
	out = m.counter(out, opGlobalGet)
	out = appendU32(append(out, opLocalGet), local)
	out = append(out, opI32Const, bulkShift, opI32ShrU)
	return m.settle(out)
}

// settle subtracts, and calls the host when the counter is below zero.
func (m *meter) settle(out []byte) []byte {
	out = m.counter(append(out, opI32Sub), opGlobalSet)
	out = append(m.counter(out, opGlobalGet), opI32Const, 0, opI32LtS, opIf, noBlockType)
	out = appendU32(append(out, opCall), uint32(len(m.imports)))
	out = m.counter(out, opGlobalSet)
	return append(out, opEnd)
}

func (m *meter) counter(out []byte, op byte) []byte { return appendU32(append(out, op), m.globals) }
