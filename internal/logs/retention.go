package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"lambent.dev/lambent"
)

// retentions are the numbers of days that PutRetentionPolicy takes (CloudWatch
// Logs API reference).
var retentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// CreateGroup makes an empty group. One that exists is a conflict.
func (s *Store) CreateGroup(_ context.Context, namespace, name string, tags map[string]string) error {
	if err := checkGroup(name); err != nil {
		return err
	}
	if err := checkTags(tags); err != nil {
		return err
	}
	return s.withGroup(namespace, name, func(g *group) error {
		made, err := g.files.create(name, s.now())
		if err != nil {
			return err
		}
		if !made {
			return hasGroup()
		}
		return g.files.edit(func(gf *groupFile) error {
			gf.Tags = tags
			return nil
		})
	})
}

// DeleteGroup removes a group with all its events. What is logged afterwards
// begins a new one.
func (s *Store) DeleteGroup(_ context.Context, namespace, name string) error {
	return s.withGroup(namespace, name, func(g *group) error {
		if _, err := os.Stat(g.files.dir); errors.Is(err, fs.ErrNotExist) {
			return noGroup()
		}
		s.buffered.Add(-int64(g.forget()))
		g.files.drop()
		if err := os.RemoveAll(g.files.dir); err != nil {
			return fmt.Errorf("delete log group %s: %w", name, err)
		}
		return nil
	})
}

// SetRetention sets for how many days a group's events are kept; 0 is the
// server's default.
func (s *Store) SetRetention(_ context.Context, namespace, name string, days int) error {
	if days != 0 && !slices.Contains(retentions, days) {
		return lambent.Errorf(lambent.CodeInvalid, "retentionInDays must be one of %v", retentions).WithReason("InvalidParameterException")
	}
	return s.editGroup(namespace, name, func(gf *groupFile) error {
		gf.RetentionDays = days
		return nil
	})
}

// maxTags is how many tags a group may have, and how long, in characters, a tag's
// key and its value may be (CloudWatch Logs API reference, TagResource).
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// Tag adds tags to a group, or replaces their values, and removes others.
func (s *Store) Tag(_ context.Context, namespace, name string, add map[string]string, remove []string) error {
	return s.editGroup(namespace, name, func(gf *groupFile) error {
		if gf.Tags == nil {
			gf.Tags = map[string]string{}
		}
		maps.Copy(gf.Tags, add)
		for _, key := range remove {
			delete(gf.Tags, key)
		}
		return checkTags(gf.Tags)
	})
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return lambent.Errorf(lambent.CodeInvalid, "A log group can have at most %d tags.", maxTags).WithReason("TooManyTagsException")
	}
	for key, value := range tags {
		switch {
		case key == "" || utf8.RuneCountInString(key) > maxTagKey || utf8.RuneCountInString(value) > maxTagValue:
			return lambent.Errorf(lambent.CodeInvalid, "A tag has a key of 1 to %d characters and a value of at most %d.", maxTagKey, maxTagValue).
				WithReason("InvalidParameterException")
		case len(key) >= 4 && strings.EqualFold(key[:4], "aws:"):
			return lambent.Errorf(lambent.CodeInvalid, "aws: prefixed tag key names are not allowed for external use.").
				WithReason("InvalidParameterException")
		}
	}
	return nil
}

// editGroup changes what is known of a group beside its events.
func (s *Store) editGroup(namespace, name string, edit func(*groupFile) error) error {
	return s.withGroup(namespace, name, func(g *group) error { return g.files.edit(edit) })
}

// withGroup does something to a group's folder while nothing is written to it. Lines that
// find no room on the disk do not keep it from making some.
func (s *Store) withGroup(namespace, name string, do func(*group) error) error {
	g := s.acquire(namespace, name)
	defer s.release(g)
	_ = g.flush() // what could not be written is lost, and in the server's own log
	g.files.mu.Lock()
	defer g.files.mu.Unlock()
	return do(g)
}

// stored is a segment as the sweep sees it.
type stored struct {
	segment
	namespace, group string
	size             int64
	changed          time.Time
}

// sweep removes segments whose events are all too old, and then the oldest of
// all groups until they fit into MaxBytes.
func (s *Store) sweep(ctx context.Context) {
	s.fresh.Store(0)
	var all []stored
	var total int64
	spaces, err := os.ReadDir(s.o.Dir)
	if err != nil {
		s.o.Log.Error("log retention could not be enforced", "err", err)
		return
	}
	for _, space := range spaces {
		kept, err := s.sweepNamespace(ctx, space.Name())
		if err != nil {
			s.o.Log.Error("log retention could not be enforced", "err", err)
			return
		}
		all = append(all, kept...)
	}
	for _, seg := range all {
		total += seg.size
	}
	if s.o.MaxBytes <= 0 || total <= s.o.MaxBytes {
		return
	}
	slices.SortFunc(all, func(a, b stored) int { return cmp.Compare(a.first, b.first) })
	for _, seg := range all {
		if total <= s.o.MaxBytes {
			return
		}
		if s.removeSegment(seg) {
			total -= seg.size
		}
	}
}

// keeps is for how long a group's events are kept; 0 is for ever.
func (s *Store) keeps(gf *groupFile) time.Duration {
	if gf.RetentionDays > 0 {
		return time.Duration(gf.RetentionDays) * 24 * time.Hour
	}
	return s.o.MaxAge
}

// sweepNamespace removes what is too old and returns what is left.
func (s *Store) sweepNamespace(ctx context.Context, namespace string) ([]stored, error) {
	var kept []stored
	err := s.eachGroup(ctx, namespace, func(dir string, gf groupFile) error {
		age := s.keeps(&gf)
		limit := s.now().Add(-age)
		segs, err := listSegments(dir)
		if err != nil {
			return err
		}
		for _, seg := range segs {
			info, err := os.Stat(seg.path())
			if err != nil {
				continue // sealed or removed meanwhile
			}
			st := stored{seg, namespace, gf.Name, info.Size(), info.ModTime()}
			newest := st.changed
			if seg.sealed {
				newest = millis(seg.max)
			}
			if age > 0 && newest.Before(limit) && s.removeSegment(st) {
				continue
			}
			kept = append(kept, st)
		}
		return nil
	})
	return kept, err
}

// removeSegment removes one segment, unless lines wait to be written to it.
func (s *Store) removeSegment(seg stored) bool {
	removed := false
	err := s.withGroup(seg.namespace, seg.group, func(g *group) error {
		if !seg.sealed {
			if !g.quiet() {
				return nil
			}
			g.files.drop()
		}
		removed = true
		return seg.remove()
	})
	if err != nil {
		s.o.Log.Error("log segment could not be removed", "group", seg.group, "err", err)
		return false
	}
	return removed
}

// quiet tells that nothing is buffered, and makes the next line begin a segment.
func (g *group) quiet() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.buf) > 0 {
		return false
	}
	g.resume = true
	return true
}
