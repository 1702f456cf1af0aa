package artifact

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"lambent.dev/lambent"
)

// tree is what is known of an unpacked directory in the cache.
type tree struct {
	size    int64     // of its files in bytes
	used    time.Time // when it was asked for last
	checked time.Time // when its seal was last compared; zero: not by this process
}

// discover notes, once, the trees that an earlier server on the same boot left
// and that nobody has asked for yet. It is not part of opening the store, which
// must not take longer the more code there is.
func (s *Store) discover(ctx context.Context) error {
	s.mu.Lock()
	known := s.discovered
	s.mu.Unlock()
	if known {
		return nil
	}
	found, err := s.disk.digests()
	if err != nil {
		return err
	}
	for _, d := range found {
		if !s.disk.hasTree(d) {
			continue
		}
		size, err := measure(ctx, s.disk.tree(d))
		if err != nil {
			return err
		}
		s.noteSize(d, size)
	}
	s.mu.Lock()
	s.discovered = true
	s.mu.Unlock()
	return nil
}

func (s *Store) noteSize(d lambent.Digest, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.trees[d]; t != nil {
		t.size = size
		return
	}
	s.trees[d] = &tree{size: size, used: s.disk.modified(d)}
}

// noteTree records a tree that was just unpacked, and is therefore sound.
func (s *Store) noteTree(d lambent.Digest, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.trees[d] = &tree{size: size, used: now, checked: now}
}

// checkedTree tells whether there is a tree that this process has found sound,
// and marks it as used.
func (s *Store) checkedTree(d lambent.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.trees[d]
	if t == nil {
		return false
	}
	t.used = time.Now()
	return !t.checked.IsZero() && s.disk.hasTree(d)
}

// noteUse marks a tree as used that nobody has compared yet.
func (s *Store) noteUse(d lambent.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.trees[d]; t != nil {
		t.used = time.Now()
		return
	}
	s.trees[d] = &tree{used: time.Now()}
}

// ensure makes the unpacked code be there and be sound. A layer of an image, which
// may have gigabytes, is taken for sound when it was unpacked whole: a start cannot
// wait for all of it to be read, and the scrub will. The caller has d's turn.
func (s *Store) ensure(ctx context.Context, d lambent.Digest) error {
	if s.checkedTree(d) {
		return nil
	}
	if s.disk.hasTree(d) {
		if s.disk.isLayer(d) && s.disk.sealed(d) {
			s.noteUse(d)
			return nil
		}
		sound, err := s.check(ctx, d)
		if err != nil || sound {
			return err
		}
	}
	return s.restore(ctx, d)
}

// check compares a tree with its seal, and sets a damaged one aside. The caller
// has d's turn.
func (s *Store) check(ctx context.Context, d lambent.Digest) (sound bool, err error) {
	path := s.disk.tree(d)
	sound, err = s.disk.sound(ctx, path)
	if err != nil {
		return false, err
	}
	if !sound {
		s.log.Warn("unpacked code is damaged and is unpacked again", "digest", string(d))
		if err := s.disk.setAside(path); err != nil {
			return false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch t := s.trees[d]; {
	case !sound:
		delete(s.trees, d)
	case t == nil:
		s.trees[d] = &tree{used: time.Now(), checked: time.Now()}
	default:
		t.checked = time.Now()
	}
	return sound, nil
}

// Scrub compares unpacked code with its seals, that which was not compared for
// longest first, until about that many bytes have been read. Damaged code is
// unpacked again by its next use; what instances have mounted stays theirs.
func (s *Store) Scrub(ctx context.Context, bytes int64) error {
	if err := s.discover(ctx); err != nil {
		return fault("look through the unpacked code", err)
	}
	for _, d := range s.longestUnchecked() {
		if bytes <= 0 {
			return nil
		}
		n, err := s.scrub(ctx, d)
		if err != nil {
			return fault("check code "+string(d), err)
		}
		bytes -= n
	}
	return nil
}

func (s *Store) scrub(ctx context.Context, d lambent.Digest) (size int64, err error) {
	done, err := s.lock(ctx, d)
	if err != nil {
		return 0, err
	}
	defer done()
	if !s.disk.hasTree(d) {
		return 0, nil
	}
	_, err = s.check(ctx, d)
	return s.sizeOf(d), err
}

// Trim removes unpacked code until the cache holds at most limit bytes, and returns the
// bytes it freed. Pinned code is never touched, so that the cache may stay above its
// limit. The code itself stays: its next use unpacks it again.
func (s *Store) Trim(ctx context.Context, limit int64) (freed int64, err error) {
	if err := s.discover(ctx); err != nil {
		return 0, fault("look through the unpacked code", err)
	}
	for _, d := range dispensable(s.unpinned(), s.CacheBytes()-limit, time.Now()) {
		n, err := s.evict(ctx, d)
		freed += n
		if err != nil {
			return freed, fault("drop unpacked code "+string(d), err)
		}
	}
	return freed, nil
}

// unpinned are the trees that nobody has mounted.
func (s *Store) unpinned() map[lambent.Digest]tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[lambent.Digest]tree{}
	for d, t := range s.trees {
		if it := s.items[d]; it == nil || it.pins == 0 {
			all[d] = *t
		}
	}
	return all
}

// slowTree is the size of a tree, in bytes, that takes a second or two to unpack. One
// that a call waits longer for is kept for longer: a millisecond that many calls wait is
// not noticed, ten seconds of one are.
const slowTree = 128 << 20

// dispensable are the trees to drop for so many bytes: those whose time without use,
// divided by how dear they are to bring back, is longest; and of these no more than it
// takes.
func dispensable(trees map[lambent.Digest]tree, excess int64, now time.Time) []lambent.Digest {
	idle := func(d lambent.Digest) time.Duration {
		t := trees[d]
		return now.Sub(t.used) / time.Duration(1+t.size/slowTree)
	}
	order := slices.SortedFunc(maps.Keys(trees), func(a, b lambent.Digest) int { return cmp.Compare(idle(b), idle(a)) })
	var drop []lambent.Digest
	for _, d := range order {
		if excess <= 0 {
			break
		}
		drop = append(drop, d)
		excess -= trees[d].size
	}
	// The last one may have made room enough for some that are before it.
	for i := len(drop) - 1; i >= 0; i-- {
		if size := trees[drop[i]].size; size <= -excess {
			excess += size
			drop = slices.Delete(drop, i, i+1)
		}
	}
	return drop
}

func (s *Store) evict(ctx context.Context, d lambent.Digest) (int64, error) {
	if s.pinned(d) {
		return 0, nil
	}
	done, err := s.lock(ctx, d)
	if err != nil {
		return 0, err
	}
	defer done()
	if s.pinned(d) { // a Use has come in between
		return 0, nil
	}
	freed, err := s.disk.dropTree(ctx, s.disk.tree(d))
	if err == nil {
		s.forgetTree(d)
	}
	return freed, err
}

// CacheBytes is what the unpacked code takes, as far as it was looked at.
func (s *Store) CacheBytes() (total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.trees {
		total += t.size
	}
	return total
}

func (s *Store) sizeOf(d lambent.Digest) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.trees[d]; t != nil {
		return t.size
	}
	return 0
}

func (s *Store) forgetTree(d lambent.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.trees, d)
}

// longestUnchecked lists the trees, that which was not checked for longest first.
func (s *Store) longestUnchecked() []lambent.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := make(map[lambent.Digest]time.Time, len(s.trees))
	for d, t := range s.trees {
		at[d] = t.checked
	}
	return slices.SortedFunc(maps.Keys(at), func(a, b lambent.Digest) int { return at[a].Compare(at[b]) })
}
