package wasm

// maxGap is how many zero bytes are worth less than a segment of their own.
const maxGap = 512

// data joins segments that are close to each other. Go's linker leaves out every
// run of zeros and so makes thousands of them, which cost two thirds of a cold
// start. It only touches modules that name no segment in their code: without a
// count of segments they cannot. What it does not understand it leaves alone, for
// the engine to judge.
func (m *meter) data(r *reader) []byte {
	if r.b == nil {
		return nil
	}
	in := r.b
	n := r.most(maxSegments, "segments")
	r.at = len(in)
	if m.s[secDataCount] != nil || r.err != nil {
		return in
	}
	type segment struct {
		at    uint64
		bytes []byte
	}
	var all []segment
	scan := &reader{b: in}
	scan.u32()
	for range n {
		at, ok := scan.plainSegment()
		bytes := scan.bytes(scan.u32())
		if !ok || scan.err != nil {
			return in
		}
		if n := len(all); n > 0 {
			last := &all[n-1]
			end := last.at + uint64(len(last.bytes))
			if at >= end && at-end <= maxGap {
				last.bytes = append(last.bytes, make([]byte, at-end)...)
				last.bytes = append(last.bytes, bytes...)
				continue
			}
		}
		all = append(all, segment{at, append([]byte(nil), bytes...)})
	}
	if scan.more() || scan.err != nil {
		return in
	}
	out := appendU32(make([]byte, 0, len(in)), uint32(len(all)))
	for _, s := range all {
		out = appendS32(append(out, 0, opI32Const), int32(uint32(s.at)))
		out = append(appendU32(append(out, opEnd), uint32(len(s.bytes))), s.bytes...)
	}
	return out
}

// plainSegment reads the head of a segment that goes to a fixed place, below 2
// GiB, in the only memory.
func (r *reader) plainSegment() (at uint64, ok bool) {
	if r.u32() != 0 || r.byte() != opI32Const {
		return 0, false
	}
	from := r.at
	v := r.leb(5)
	last := r.at - from - 1
	if r.err != nil || r.b[r.at-1]&0x40 != 0 || last == 4 || v > 1<<31-1 {
		return 0, false // negative, or not certain
	}
	return v, r.byte() == opEnd
}
