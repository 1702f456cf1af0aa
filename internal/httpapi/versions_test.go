package httpapi

import (
	"slices"
	"strconv"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

func TestVersions(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	if _, err := r.Publish(ctx, "hello", client.Publish{}); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("a version of nothing: %v", err)
	}
	if _, err := r.Versions(ctx, "hello"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("versions of nothing: %v", err)
	}
	want := []string{"$LATEST"}
	for i := range defaultPage + 1 { // more than a page
		if _, err := r.Deploy(ctx, "hello", client.Deploy{Zip: code(t, strconv.Itoa(i)), Runtime: p("python3.12"), Handler: p("app.handler")}); err != nil {
			t.Fatal(err)
		}
		v, err := r.Publish(ctx, "hello", client.Publish{Description: p("number " + strconv.Itoa(i))})
		if err != nil || v.Description != "number "+strconv.Itoa(i) {
			t.Fatalf("published %+v, %v", v, err)
		}
		want = append(want, v.Version)
	}
	if again, err := r.Publish(ctx, "hello", client.Publish{}); err != nil || again.Version != want[len(want)-1] {
		t.Errorf("the same again is version %s, want %s (%v)", again.Version, want[len(want)-1], err)
	}
	if got := r.numbers(t); !slices.Equal(got, want) {
		t.Errorf("versions %q, want %q", got, want)
	}
	if err := r.DeleteVersion(ctx, "hello", "3"); err != nil {
		t.Fatal(err)
	}
	if got := r.numbers(t); slices.Contains(got, "3") || len(got) != len(want)-1 {
		t.Errorf("after the end of version 3: %q", got)
	}
	if err := r.DeleteVersion(ctx, "hello", "$LATEST"); lambent.CodeOf(err) != lambent.CodeInvalid {
		t.Errorf("the end of $LATEST alone: %v", err)
	}
}

// numbers are the versions that hello has.
func (r *rig) numbers(t *testing.T) (numbers []string) {
	t.Helper()
	all, err := r.Versions(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		numbers = append(numbers, v.Version)
	}
	return numbers
}
