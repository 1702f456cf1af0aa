package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent"
)

func (c *Catalog) deleteVersion(ctx context.Context, k id, number string) error {
	deleted := false
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.functionNotFound(k, "")
		}
		i, ok := old.versionIndex(number)
		if !ok {
			return old, nil
		}
		if names := old.aliasesOf(number); len(names) > 0 {
			return nil, lambent.Errorf(lambent.CodeConflict, "Unable to delete version because the following aliases reference it: [%s]",
				strings.Join(names, ", "))
		}
		next := old.clone()
		next.versions = slices.Delete(next.versions, i, i+1)
		next.forget(number)
		delete(next.unsettled, number)
		deleted = true
		return next, nil
	})
	if err == nil && deleted {
		c.changed(k, number)
	}
	return err
}

// aliasesOf names the aliases that lead to a version.
func (f *function) aliasesOf(number string) (names []string) {
	for _, a := range f.aliases {
		_, weighted := a.Weights[number]
		steered := slices.ContainsFunc(a.Rules, func(r lambent.AliasRule) bool { return r.Version == number })
		if weighted || steered || a.Version == number {
			names = append(names, a.Name)
		}
	}
	return names
}

// PublishVersion makes an immutable version of the head. When nothing changed
// since the last one was published, that one is the answer.
func (c *Catalog) PublishVersion(ctx context.Context, in PublishVersion) (*lambent.Version, error) {
	k := id{in.Namespace, in.Function}
	var published *lambent.Version
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if err := c.toUpdate(k, old, in.RevisionID); err != nil {
			return nil, err
		}
		if sha := old.head.CodeSHA256(); in.CodeSHA256 != "" && in.CodeSHA256 != sha {
			return nil, invalid("CodeSHA256Mismatch", "CodeSHA256 (%s) is different from current CodeSHA256 in $LATEST (%s). "+
				"Please try again with the CodeSHA256 in $LATEST.", in.CodeSHA256, sha)
		}
		if last := old.version(old.published.number); last != nil && old.published.fingerprint == fingerprint(old.head) {
			published = last
			return old, nil
		}
		if err := c.checkStorage(k.ns, old.head.Code.Size); err != nil {
			return nil, err
		}
		next := old.clone()
		head := *old.head
		head.RevisionID = c.o.NewID()
		next.put(&head)
		published = c.publish(next, in.Description, nil)
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	return published, nil
}

// publish adds a version made of the head of f, a private copy. With a warning,
// which may be empty, the version is Pending at first, as one is whose code
// came in the same call.
func (c *Catalog) publish(f *function, description, warning *string) *lambent.Version {
	v := *f.head
	v.Number = strconv.Itoa(f.shared.NextVersion)
	f.shared.NextVersion++
	v.RevisionID, v.LastModified = c.o.NewID(), c.now()
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = lambent.UpdateSuccessful, "", ""
	if warning != nil {
		v.State, v.StateReason, v.StateReasonCode = lambent.StatePending, creating, creatingCode
		v.UpdateStatus = ""
		f.settleLater(v.Number, c.until(&v, *warning))
	}
	if description != nil {
		v.Description = *description
	}
	f.published = publication{number: v.Number, fingerprint: fingerprint(f.head)}
	f.put(&v)
	return &v
}

// fingerprint is the same for heads of equal code and configuration.
func fingerprint(v *lambent.Version) string {
	config, err := json.Marshal(configOf(v))
	if err != nil {
		return "" // cannot be committed either: no two of them are equal
	}
	sum := sha256.Sum256(config)
	return hex.EncodeToString(sum[:16])
}
