package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"lambent.dev/lambent/internal/store"
)

// Writers race to add one to the same counters with compare-and-set: what they
// were told and what is there must agree.
func testHammer(t *testing.T, open Open) {
	const writers, rounds, counters = 8, 20, 3
	s := open(t)
	ctx := testContextOf(t)
	var all sync.WaitGroup
	faults := make(chan error, writers)
	for range writers {
		all.Go(func() {
			for i := range rounds {
				if err := increment(t, s, fmt.Sprintf("counter/%d", i%counters)); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(faults)
	for err := range faults {
		t.Fatal(err)
	}
	sum := 0
	for r, err := range s.Scan(ctx, "counter/") {
		n, bad := strconv.Atoi(string(r.Value))
		if err != nil || bad != nil {
			t.Fatalf("counter %q is %q, %v", r.Key, r.Value, err)
		}
		sum += n
	}
	if sum != writers*rounds {
		t.Errorf("the counters add up to %d, want %d", sum, writers*rounds)
	}
}

func increment(t *testing.T, s store.Records, key string) error {
	for {
		r, err := s.Get(testContextOf(t), key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n := 0
		if err == nil {
			if n, err = strconv.Atoi(string(r.Value)); err != nil {
				return err
			}
		}
		_, err = s.Commit(testContextOf(t), ifRevision(put(key, strconv.Itoa(n+1)), r.Revision))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// A batch writes the same value to several keys; no scan may see two values.
func testAtomic(t *testing.T, open Open) {
	const writers, rounds = 4, 25
	s := open(t)
	ctx := testContextOf(t)
	var all sync.WaitGroup
	faults := make(chan error, writers+1)
	for w := range writers {
		all.Go(func() {
			for i := range rounds {
				value := fmt.Sprintf("%d of %d", i, w)
				if _, err := s.Commit(ctx, put("pair/a", value), put("pair/b", value), put("pair/c", value)); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	all.Go(func() {
		for range writers * rounds {
			got, err := take(s.Scan(ctx, "pair/"), -1)
			if err == nil && len(got) != 0 && (len(got) != 3 || string(got[0].Value) != string(got[2].Value) ||
				got[0].Revision != got[1].Revision || got[1].Revision != got[2].Revision) {
				err = fmt.Errorf("half a batch: %v", got)
			}
			if err != nil {
				faults <- err
				return
			}
		}
	})
	all.Wait()
	close(faults)
	for err := range faults {
		t.Fatal(err)
	}
}
