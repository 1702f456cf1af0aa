// Package iam keeps IAM's roles and managed policies: each a record in the store, and
// in memory all that is asked for. It owns what they may be and what they mean: what
// a role may do, and which service may assume it, by the language of package policy
// below it. It refuses users, groups and keys, and knows no dialect; the door is
// package iamapi, and who asks what a role allows is the server's affair.
package iam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/iam/policy"
	"lambent.dev/lambent/internal/store"
)

// The records, as JSON under these keys; names are in lower case there, because they
// are unique whatever their case:
//
//	iamrole/<ns>/<name>     Role
//	iampolicy/<ns>/<name>   Policy
const (
	roleRecord   = "iamrole/"
	policyRecord = "iampolicy/"
)

// Options are the room's neighbours. Records is required.
type Options struct {
	Records store.Records
	Region  string           // for conditions on it
	Now     func() time.Time // time.Now when nil
	Log     *slog.Logger     // discarded when nil
}

// Room is safe for use from any goroutine.
type Room struct {
	o    Options
	turn chan struct{} // held by the one change that is made at a time

	amazon map[string]*policyEntry // AWS's own policies, by ARN; they never change

	mu       sync.RWMutex // guards what follows; never held while calling out
	roles    map[string]*roleEntry
	policies map[string]*policyEntry
	roleARNs map[string]*roleEntry // the roles by their ARNs
	policyAt map[string]*policyEntry
}

// Entries are what is in memory, by the keys of the records: a record, its revision,
// and what is decided by. They never change.
type (
	roleEntry struct {
		*Role
		revision int64
		arn      string
		trust    *policy.Document
		inline   []inlinePolicy // by name
	}
	inlinePolicy struct {
		name     string
		document *policy.Document
	}
	policyEntry struct {
		*Policy
		revision int64
		arn      string
		document *policy.Document // of the default version
	}
)

func roleKey(namespace, name string) string {
	return roleRecord + namespace + "/" + strings.ToLower(name)
}

func policyKey(namespace, name string) string {
	return policyRecord + namespace + "/" + strings.ToLower(name)
}

// commitTimeout bounds how long a write waits for the store.
const commitTimeout = 30 * time.Second

// Open reads what there is.
func Open(ctx context.Context, o Options) (*Room, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	own, err := readAmazon()
	if err != nil {
		return nil, err
	}
	r := &Room{
		o: o, amazon: own, turn: make(chan struct{}, 1),
		roles: map[string]*roleEntry{}, policies: map[string]*policyEntry{},
		roleARNs: map[string]*roleEntry{}, policyAt: map[string]*policyEntry{},
	}
	for _, kind := range []string{roleRecord, policyRecord} {
		for rec, err := range o.Records.Scan(ctx, kind) {
			if err != nil {
				return nil, fmt.Errorf("read roles and policies: %w", err)
			}
			if err := r.load(rec); err != nil {
				o.Log.Error("read role or policy", "key", rec.Key, "err", err)
			}
		}
	}
	return r, nil
}

// load takes a record into memory.
func (r *Room) load(rec store.Record) error {
	if strings.HasPrefix(rec.Key, roleRecord) {
		var v Role
		if err := json.Unmarshal(rec.Value, &v); err != nil {
			return err
		}
		e, err := newRoleEntry(&v)
		if err == nil {
			e.revision = rec.Revision
			r.putRole(rec.Key, e)
		}
		return err
	}
	var v Policy
	if err := json.Unmarshal(rec.Value, &v); err != nil {
		return err
	}
	e, err := newPolicyEntry(&v)
	if err == nil {
		e.revision = rec.Revision
		r.putPolicy(rec.Key, e)
	}
	return err
}

// newRoleEntry reads the documents of a role.
func newRoleEntry(v *Role) (*roleEntry, error) {
	e := &roleEntry{Role: v, arn: v.ARN()}
	var err error
	if e.trust, err = policy.ParseTrust(v.Trust); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(v.Inline)) {
		d, err := policy.Parse(v.Inline[name])
		if err != nil {
			return nil, err
		}
		e.inline = append(e.inline, inlinePolicy{name, d})
	}
	return e, nil
}

// newPolicyEntry reads the default version of a policy.
func newPolicyEntry(v *Policy) (*policyEntry, error) {
	d, err := policy.Parse(v.Document())
	if err != nil {
		return nil, err
	}
	return &policyEntry{Policy: v, arn: v.ARN(), document: d}, nil
}

// putRole makes e what the role of a key is, nil for none.
func (r *Room) putRole(key string, e *roleEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.roles[key]; old != nil {
		delete(r.roles, key)
		delete(r.roleARNs, old.arn)
	}
	if e != nil {
		r.roles[key], r.roleARNs[e.arn] = e, e
	}
}

// putPolicy does so for a policy.
func (r *Room) putPolicy(key string, e *policyEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.policies[key]; old != nil {
		delete(r.policies, key)
		delete(r.policyAt, old.arn)
	}
	if e != nil {
		r.policies[key], r.policyAt[e.arn] = e, e
	}
}

// begin waits until it is a change's turn: one is made at a time, so that what it was
// checked against is still so when it is written. end gives the turn on.
func (r *Room) begin(ctx context.Context) (end func(), err error) {
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn }, nil
	case <-ctx.Done():
		return nil, lambent.Errorf(lambent.CodeCanceled, "wait for other changes: %w", ctx.Err())
	}
}

// commit writes the record of a change that was begun, or deletes it where value is
// nil, and gives its new revision. After a failure the store alone knows whether the
// change was applied, and is asked.
func (r *Room) commit(ctx context.Context, key string, value any, revision int64) (int64, error) {
	op := store.Op{Key: key, Delete: value == nil, Check: true, If: revision}
	if value != nil {
		text, err := json.Marshal(value)
		if err != nil {
			return 0, &lambent.Error{Code: lambent.CodeInternal, Message: "the record could not be written", Cause: err}
		}
		op.Value = text
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	next, err := r.o.Records.Commit(bound, op)
	if err == nil {
		return next, nil
	}
	r.reload(bound, key)
	if errors.Is(err, store.ErrConflict) {
		return 0, refused(lambent.CodeConflict, "ConcurrentModification", "%s is being changed by another request.", key)
	}
	return 0, &lambent.Error{Code: lambent.CodeUnavailable, Message: "The change could not be written.", Cause: err}
}

// reload brings memory back to what the store has.
func (r *Room) reload(ctx context.Context, key string) {
	rec, err := r.o.Records.Get(ctx, key)
	switch {
	case err == nil:
		err = r.load(rec)
	case errors.Is(err, store.ErrNotFound):
		err = nil
		r.putRole(key, nil) // the keys of both kinds differ
		r.putPolicy(key, nil)
	}
	if err != nil {
		r.o.Log.Error("reread after a failed write", "key", key, "err", err)
	}
}

// refused is an error in the words of AWS, with the reason that IAM has for it.
func refused(code lambent.Code, reason, format string, args ...any) error {
	return lambent.Errorf(code, format, args...).WithReason(reason)
}
