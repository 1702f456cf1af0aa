package linux

import "testing"

// Functions of many sizes do not fill the memory, and the usual size stays at hand.
func TestTemplatesAreBounded(t *testing.T) {
	needRoot(t)
	s := &scratch{dir: t.TempDir(), templates: map[int]*template{}}
	usually, err := s.template(usual.tmpMB)
	if err != nil {
		t.Skip(err)
	}
	for mb := range 2 * maxTemplates {
		if _, err := s.template(mb + 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.templates); n != maxTemplates {
		t.Errorf("%d sizes are kept, want %d", n, maxTemplates)
	}
	if s.templates[usual.tmpMB] != usually {
		t.Error("the usual size is formatted again")
	}
	v, err := s.mount(1) // one that has made room, most likely
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}
