package wasm

import "slices"

// parts of a module that is written by hand. Function and type indices are the
// reader's business; memory is exported as "memory".
type parts struct {
	types   []string // "\x60\x00\x00"
	imports []string // "\x03env\x03foo\x00\x00"
	funcs   []byte   // types of the bodies
	tables  []string
	memory  string // limits; "" is one page
	exports []string
	start   string
	code    []string // locals and instructions, with the end
}

const (
	typeNone   = "\x60\x00\x00"
	typeAlloc  = "\x60\x01\x7f\x01\x7f"
	typeHandle = "\x60\x02\x7f\x7f\x01\x7e"
	typeFour   = "\x60\x04\x7f\x7f\x7f\x7f\x00"
	typeTwo    = "\x60\x02\x7f\x7f\x01\x7f"
)

func (p parts) binary() []byte {
	out := slices.Clone(header)
	section := func(id byte, body []byte) {
		out = append(appendU32(append(out, id), uint32(len(body))), body...)
	}
	vector := func(id byte, items []string) {
		if len(items) == 0 {
			return
		}
		body := appendU32(nil, uint32(len(items)))
		for _, i := range items {
			body = append(body, i...)
		}
		section(id, body)
	}
	vector(secType, p.types)
	vector(secImport, p.imports)
	section(secFunction, append(appendU32(nil, uint32(len(p.funcs))), p.funcs...))
	vector(secTable, p.tables)
	if p.memory == "" {
		p.memory = "\x00\x01"
	}
	vector(secMemory, []string{p.memory})
	vector(secExport, append([]string{"\x06memory\x02\x00"}, p.exports...))
	if p.start != "" {
		section(secStart, []byte(p.start))
	}
	var code []string
	for _, c := range p.code {
		code = append(code, string(append(appendU32(nil, uint32(len(c))), c...)))
	}
	vector(secCode, code)
	return out
}

// command is a module whose _start is code.
func command(code string) []byte {
	return parts{types: []string{typeNone}, funcs: []byte{0}, exports: []string{"\x06_start\x00\x00"}, code: []string{code}}.binary()
}

// staying is a module whose lambent_alloc and lambent_handle give numbers.
func staying(alloc, handle string) []byte {
	return parts{types: []string{typeAlloc, typeHandle}, funcs: []byte{0, 1},
		exports: []string{"\x0dlambent_alloc\x00\x00", "\x0elambent_handle\x00\x01"},
		code:    []string{"\x00" + alloc + "\x0b", "\x00" + handle + "\x0b"}}.binary()
}

// dataSection is one of so many empty segments.
func dataSection(n int) []byte {
	body := appendU32(nil, uint32(n))
	for range n {
		body = append(body, 0, opI32Const, 0, opEnd, 0)
	}
	return append(appendU32([]byte{secData}, uint32(len(body))), body...)
}
