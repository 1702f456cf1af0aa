package wasm

import (
	"errors"
	"fmt"
)

// The names of the meter's import.
const (
	meterModule = "lambent_meter"
	meterName   = "tick"
)

// Prices, in units of about a nanosecond's work.
const (
	// fuel is what a guest may use up before it has to come back to the host for
	// more: some ten microseconds. The host then looks at the deadline, and the
	// garbage collector gets its chance.
	fuel = 16 << 10
	// bytesPerUnit of code, and pages of 4 KiB that a bulk instruction touches.
	bytesPerUnit = 16
	bulkShift    = 12
	// freeLeaf is how long a function without calls and loops may be, in bytes, and
	// cost nothing of its own: its caller pays for it.
	freeLeaf = 256
)

// Bounds of a module, from the limits that browsers have agreed on (WebAssembly
// JavaScript interface, "Implementation-defined limits") and tighter where
// compiling takes more than linear time or the host's memory is at stake.
const (
	maxModule    = 128 << 20 // bytes
	maxTypes     = 10_000
	maxValues    = 1_000 // that a type takes, and that it gives
	maxImports   = 10_000
	maxExports   = 100_000
	maxFunctions = 200_000
	maxBody      = 4 << 20   // bytes of one function
	maxLocals    = 50_000    // of one function
	allLocals    = 16 << 20  // of all of them: the engine keeps a byte for each
	maxElements  = 1_000_000 // of all tables, and of all segments
	maxTables    = 16
	maxGlobals   = 100_000
	maxSegments  = 100_000 // of elements, and of data
	maxNesting   = 10_000  // blocks in blocks
	// What the engine takes most time for, which grows with the square, are blocks:
	// functions at these bounds compile within half a minute. The largest function
	// of Go's own compiler has 14,000 blocks and few loops.
	maxBlocks = 16_000 // of one function, conditional branches too
	maxLoops  = 2_000  // of one function
)

// meter rewrites a module so that it asks the host for leave every few
// microseconds: at the head of every loop, at the start of every function and
// before every bulk instruction it pays from a counter, and when that is used up
// it calls lambent_meter.tick, which gives more or ends it. Without that a module
// that never ends would never stop, nor let the host collect its garbage. The
// engine's own check costs a call at every turn of a loop, and does not see
// recursion.
//
// The counter is a global after all others and the import a function after all
// other imports, so that the functions of the module itself move up by one.
type meter struct {
	s         [sections][]byte
	types     []funcType
	imports   []uint32 // types of the imported functions
	functions []uint32 // and of the module's own
	globals   uint32
	locals    uint64 // of all functions so far
	values    int    // and what they take and give
	pointers  int    // in tables, to begin with, and in segments of elements
}

// funcType is how many values a function or a block takes and gives.
type funcType struct{ params, results int }

// metered is the module with a meter, or why it cannot run. pointers are those that each
// of its guests has, beside its memory.
func metered(module []byte) (out []byte, pointers int, err error) {
	if len(module) > maxModule {
		return nil, 0, fmt.Errorf("it has more than %d MB", maxModule>>20)
	}
	s, err := split(module)
	if err != nil {
		return nil, 0, err
	}
	m := &meter{s: s}
	for _, step := range []struct {
		id   int
		name string
		do   func(*reader) []byte
	}{
		{secType, "types", m.ownTypes}, {secImport, "imports", m.ownImports}, {secFunction, "functions", m.ownFunctions},
		{secTable, "tables", m.ownTables}, {secGlobal, "globals", m.ownGlobals}, {secExport, "exports", m.exports},
		{secStart, "start", m.start}, {secElement, "elements", m.elements}, {secCode, "code", m.code}, {secData, "data", m.data},
	} {
		r := &reader{b: m.s[step.id]}
		out := step.do(r)
		if r.more() {
			r.fail(errors.New("there is something behind the end"))
		}
		if r.err != nil {
			return nil, 0, fmt.Errorf("section of %s: %w", step.name, r.err)
		}
		m.s[step.id] = out
	}
	return m.join(len(module)), m.pointers, nil
}

func (m *meter) join(size int) []byte {
	out := append(make([]byte, 0, size+size/2), header...)
	for _, id := range order {
		if m.s[id] != nil {
			out = append(out, byte(id))
			out = append(appendU32(out, uint32(len(m.s[id]))), m.s[id]...)
		}
	}
	if names := m.functionNames(); len(names) > 0 {
		body := append(appendName(nil, "name"), names...)
		out = append(appendU32(append(out, secCustom), uint32(len(body))), body...)
	}
	return out
}

// most reads the length of a vector, of which there may be so many.
func (r *reader) most(n int, what string) int {
	have := r.count()
	if have > n {
		r.fail(fmt.Errorf("more than %d %s", n, what))
		return 0
	}
	return have
}

// ownTypes learns how many values each type has, and adds the meter's own.
func (m *meter) ownTypes(r *reader) []byte {
	n := 0
	if len(r.b) > 0 {
		n = r.most(maxTypes, "types")
	}
	body := r.at
	for range n {
		if r.byte() != typeFunc {
			r.fail(errors.New("a type is not a function's"))
		}
		var t funcType
		t.params = r.most(maxValues, "parameters")
		r.bytes(uint32(t.params))
		t.results = r.most(maxValues, "results")
		r.bytes(uint32(t.results))
		if r.err != nil {
			return nil
		}
		m.types = append(m.types, t)
	}
	out := appendU32(nil, uint32(n)+1)
	out = append(out, r.b[body:r.at]...)
	return append(out, typeFunc, 0, 1, typeI32)
}

// ownImports adds the meter's behind the module's. Only functions can be imported:
// the host has nothing else to give.
func (m *meter) ownImports(r *reader) []byte {
	n := 0
	if len(r.b) > 0 {
		n = r.most(maxImports, "imports")
	}
	body := r.at
	for range n {
		module, name := r.name(), r.name()
		if kind := r.byte(); kind != 0 && r.err == nil {
			r.fail(fmt.Errorf("import %s.%s is not a function", module, name))
		}
		if module == meterModule {
			r.fail(fmt.Errorf("nothing may be imported from %s", meterModule))
		}
		m.imports = append(m.imports, r.u32())
		if r.err != nil {
			return nil
		}
	}
	out := appendU32(nil, uint32(n)+1)
	out = append(out, r.b[body:r.at]...)
	out = appendName(appendName(out, meterModule), meterName)
	return appendU32(append(out, 0), uint32(len(m.types)))
}

func (m *meter) ownFunctions(r *reader) []byte {
	if r.b == nil {
		return nil
	}
	for range r.most(maxFunctions, "functions") {
		t := r.u32()
		if t >= uint32(len(m.types)) {
			r.fail(errors.New("a function's type does not exist"))
			return nil
		}
		m.functions = append(m.functions, t)
	}
	return r.b
}

// ownTables gives every table a bound, since what it takes is the host's memory: as much
// as it starts with, or its part of what all may have.
func (m *meter) ownTables(r *reader) []byte {
	if r.b == nil {
		return nil
	}
	n := r.most(maxTables, "tables")
	out := appendU32(nil, uint32(n))
	for range n {
		at := r.at
		r.valueType()
		out = append(out, r.b[at:r.at]...)
		flags, least, most := r.byte(), r.u32(), uint32(maxElements/n)
		if flags > 1 {
			r.fail(errors.New("a table's limits are not in WebAssembly 2.0"))
		}
		if flags == 1 {
			most = min(r.u32(), most)
		}
		if m.pointers += int(least); m.pointers > maxElements {
			r.fail(fmt.Errorf("its tables have more than %d elements", maxElements))
		}
		if r.err != nil {
			return nil
		}
		out = appendU32(appendU32(append(out, 1), least), max(least, most))
	}
	return out
}

// ownGlobals adds the counter.
func (m *meter) ownGlobals(r *reader) []byte {
	n := 0
	if r.b != nil {
		n = r.most(maxGlobals, "globals")
	}
	m.globals = uint32(n)
	out := appendU32(nil, uint32(n)+1)
	for range n {
		at := r.at
		r.valueType()
		r.byte() // mutable or not
		out = append(out, r.b[at:r.at]...)
		out = m.expression(r, out)
		if r.err != nil {
			return nil
		}
	}
	return append(out, typeI32, 1, opI32Const, 0, opEnd)
}

// expression copies a constant expression, which ends with the first end.
func (m *meter) expression(r *reader, out []byte) []byte {
	for r.err == nil {
		i, err := r.next()
		if err != nil {
			break
		}
		out = m.copied(r, out, i)
		if i.op == opEnd {
			break
		}
	}
	return out
}

// moved is the new index of a function.
func (m *meter) moved(r *reader, index uint32) uint32 {
	imported := uint32(len(m.imports))
	switch {
	case index < imported:
		return index
	case index-imported >= uint32(len(m.functions)):
		r.fail(fmt.Errorf("function %d does not exist", index))
	}
	return index + 1
}

// copied appends an instruction, with the index that is right now.
func (m *meter) copied(r *reader, out []byte, i instruction) []byte {
	switch i.op {
	case opCall, opRefFunc:
		return appendU32(append(out, i.op), m.moved(r, i.index))
	case opGlobalGet, opGlobalSet:
		if i.index >= m.globals { // the counter is out of bounds
			r.fail(fmt.Errorf("global %d does not exist", i.index))
		}
	}
	if r.err != nil {
		return out
	}
	return append(out, r.b[i.from:i.to]...)
}

func (m *meter) exports(r *reader) []byte {
	if r.b == nil {
		return nil
	}
	n := r.most(maxExports, "exports")
	out := appendU32(nil, uint32(n))
	for range n {
		out = appendName(out, r.name())
		kind, index := r.byte(), r.u32()
		switch {
		case kind == 0:
			index = m.moved(r, index)
		case kind == 3 && index >= m.globals:
			r.fail(fmt.Errorf("global %d does not exist", index))
		}
		if r.err != nil {
			return nil
		}
		out = appendU32(append(out, kind), index)
	}
	return out
}

func (m *meter) start(r *reader) []byte {
	if r.b == nil {
		return nil
	}
	return appendU32(nil, m.moved(r, r.u32()))
}

// elements moves the functions that segments name. The kinds of segments are in
// section 5.5.12 of the specification.
func (m *meter) elements(r *reader) []byte {
	if r.b == nil {
		return nil
	}
	n, all := r.most(maxSegments, "segments"), 0
	out := appendU32(nil, uint32(n))
	for range n {
		kind := r.u32()
		if kind > 7 {
			r.fail(errors.New("a segment is of an unknown kind"))
			return nil
		}
		out = appendU32(out, kind)
		active, indexed, exprs := kind&1 == 0, kind&2 != 0, kind&4 != 0
		if active && indexed {
			out = appendU32(out, r.u32())
		}
		if active {
			out = m.expression(r, out)
		}
		if !active || indexed {
			out = append(out, r.byte())
		}
		count := r.most(maxElements-all, "elements of segments")
		all, m.pointers = all+count, m.pointers+count
		out = appendU32(out, uint32(count))
		for range count {
			if exprs {
				out = m.expression(r, out)
			} else {
				out = appendU32(out, m.moved(r, r.u32()))
			}
			if r.err != nil {
				return nil
			}
		}
		if r.err != nil {
			return nil
		}
	}
	return out
}

// functionNames moves the names of functions, which traps are reported with. A
// section that cannot be read is left out: it is for people.
func (m *meter) functionNames() []byte {
	r := &reader{b: m.s[secCustom]}
	for r.more() {
		id, body := r.byte(), r.bytes(r.u32())
		if id != 1 {
			continue
		}
		names := &reader{b: body}
		n := names.count()
		out := appendU32(nil, uint32(n))
		last := -1
		for range n {
			index, name := m.moved(names, names.u32()), names.name()
			if names.err != nil || int(index) <= last {
				return nil
			}
			last = int(index)
			out = appendName(appendU32(out, index), name)
		}
		return append(appendU32([]byte{1}, uint32(len(out))), out...)
	}
	return nil
}
