package cli

import (
	"reflect"
	"testing"

	"lambent.dev/lambent/internal/client"
)

func TestReservesOfOneRuntimeAreOneRow(t *testing.T) {
	got := byRuntime([]client.Reserve{
		{Runtime: "any", Ready: 1},
		{Runtime: "java25", Key: "a", Ready: 1, Wanted: 2, MemoryBytes: 10, Hits: 3, Nodes: []client.ReserveNode{{Ready: 1}}},
		{Runtime: "java25", Key: "b", Ready: 4, Wanted: 4, MemoryBytes: 5, Misses: 2, Died: 1, Nodes: []client.ReserveNode{{Ready: 4}}},
	})
	want := []client.Reserve{
		{Runtime: "any", Ready: 1},
		{Runtime: "java25", Key: "a", Ready: 5, Wanted: 6, MemoryBytes: 15, Hits: 3, Misses: 2, Died: 1, Nodes: []client.ReserveNode{{Ready: 1}, {Ready: 4}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
