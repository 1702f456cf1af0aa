package wasm

import (
	"bytes"
	"testing"
)

// A mapping that a guest has written to is empty for the next one, and no more are kept
// than is said.
func TestMappings(t *testing.T) {
	m := &mappings{}
	defer m.close()
	const size = 4 * pageSize
	var all []*memory
	for n := range keptMappings + 2 {
		mem, err := m.memory(size + int64(n)) // less than a page does not count
		if err != nil {
			t.Fatal(err)
		}
		if b := mem.Reallocate(size); len(b) != size {
			t.Fatalf("%d bytes", len(b))
		} else {
			copy(b, "secret")
			b[size-1] = 1
		}
		all = append(all, mem)
	}
	for _, mem := range all {
		mem.Free()
		mem.Free()
	}
	if len(m.idle) != keptMappings {
		t.Errorf("%d are kept", len(m.idle))
	}
	kept := &m.idle[0][0]
	again, err := m.memory(size)
	if err != nil {
		t.Fatal(err)
	}
	if b := again.Reallocate(size); &b[0] != kept || !bytes.Equal(b, make([]byte, size)) {
		t.Errorf("the next guest finds %.10q", b)
	}
	if other, err := m.memory(2 * size); err != nil || len(other.all) != 2*size {
		t.Errorf("another size: %d, %v", len(other.all), err)
	} else {
		other.Free()
	}
	m.close()
	again.Free()
	if len(m.idle) != 0 {
		t.Error("something is kept for nobody")
	}
}
