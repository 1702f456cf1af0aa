package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// loader puts functions and layers together from their records.
type loader struct {
	functions map[id]*function
	layers    map[id]*layer
	words     map[string]string // one copy of each string that many versions share
}

func newLoader() *loader {
	return &loader{functions: map[id]*function{}, layers: map[id]*layer{}, words: map[string]string{}}
}

// load fills the snapshot from the store.
func (c *Catalog) load(ctx context.Context) error {
	l := newLoader()
	// What belongs to a function or a layer comes after it.
	for _, kind := range []string{"function/", "version/", "alias/", "provisioned/", "url/", "event/", "layer/", "policy/"} {
		if err := l.scan(ctx, c.o.Records, kind); err != nil {
			return err
		}
	}
	for k, f := range l.functions {
		if f.head == nil {
			return lambent.Errorf(lambent.CodeInternal, "open catalog: function %s/%s has no %s", k.ns, k.name, lambent.Latest)
		}
		if len(f.unsettled) > 0 {
			f = f.settled()
		}
		if len(f.unsettled) > 0 {
			c.makeDue(k) // nobody else has the catalog yet
		}
		c.functions.fill(k, f)
		for _, e := range f.entrances(c.o.Region) {
			c.urls.fill(id{name: e.ID}, e)
		}
		u := c.usage[k.ns]
		u.functions, u.codeBytes = u.functions+1, u.codeBytes+f.codeBytes()
		c.usage[k.ns] = u
	}
	for k, ly := range l.layers {
		c.layers.fill(k, ly)
		u := c.usage[k.ns]
		u.codeBytes += ly.codeBytes()
		c.usage[k.ns] = u
	}
	return c.loadRouting(ctx)
}

// readFunction reads one function; there may be none.
func (l *loader) readFunction(ctx context.Context, records store.Records, k id) error {
	r, err := records.Get(ctx, k.functionKey())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return readError(k.functionKey(), err)
	}
	if err := l.add(r); err != nil {
		return err
	}
	for _, prefix := range []string{"version/" + k.ns + "/", "alias/" + k.ns + "/", "provisioned/" + k.ns + "/", "url/" + k.ns + "/", "event/" + k.ns + "/", "policy/" + k.ns + "/function/"} {
		if err := l.scan(ctx, records, prefix+k.name+"/"); err != nil {
			return err
		}
	}
	if l.functions[k].head == nil {
		return lambent.Errorf(lambent.CodeInternal, "function %s/%s has no %s", k.ns, k.name, lambent.Latest)
	}
	return nil
}

// readLayer reads one layer; there may be none.
func (l *loader) readLayer(ctx context.Context, records store.Records, k id) error {
	r, err := records.Get(ctx, k.layerKey())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return readError(k.layerKey(), err)
	}
	if err := l.add(r); err != nil {
		return err
	}
	if err := l.scan(ctx, records, k.layerKey()+"/"); err != nil {
		return err
	}
	return l.scan(ctx, records, "policy/"+k.ns+"/layer/"+k.name+"/")
}

func (l *loader) scan(ctx context.Context, records store.Records, prefix string) error {
	for r, err := range records.Scan(ctx, prefix) {
		if err != nil {
			return readError(prefix, err)
		}
		if err := l.add(r); err != nil {
			return err
		}
	}
	return nil
}

func readError(key string, err error) error {
	return &lambent.Error{Code: lambent.CodeInternal, Message: "read catalog record " + key + ": " + err.Error(), Cause: err}
}

// add takes one record in. What belongs to a function comes after the function.
func (l *loader) add(r store.Record) error {
	var err error
	switch parts := strings.Split(r.Key, "/"); {
	case len(parts) == 3 && parts[0] == "function":
		err = l.addFunction(id{parts[1], parts[2]}, r)
	case len(parts) == 4 && parts[0] == "version":
		err = l.addVersion(id{parts[1], parts[2]}, parts[3], r.Value)
	case len(parts) == 4 && parts[0] == "alias":
		err = l.addAlias(id{parts[1], parts[2]}, parts[3], r.Value)
	case len(parts) == 4 && parts[0] == "provisioned":
		err = l.addProvisioned(id{parts[1], parts[2]}, parts[3], r.Value)
	case len(parts) == 4 && parts[0] == "url":
		err = l.addURL(id{parts[1], parts[2]}, parts[3], r.Value)
	case len(parts) == 4 && parts[0] == "event":
		err = l.addEvent(id{parts[1], parts[2]}, parts[3], r.Value)
	case len(parts) == 3 && parts[0] == "layer":
		err = l.addLayer(id{parts[1], parts[2]}, r)
	case len(parts) == 4 && parts[0] == "layer":
		err = l.addLayerVersion(id{parts[1], parts[2]}, parts[3], r.Value)
	case len(parts) == 5 && parts[0] == "policy":
		err = l.addPolicy(id{parts[1], parts[3]}, parts[2], parts[4], r.Value)
	default:
		err = errors.New("unknown key")
	}
	if err != nil {
		return readError(r.Key, err)
	}
	return nil
}

var errOrphan = errors.New("what it belongs to has no record")

func (l *loader) addFunction(k id, r store.Record) error {
	var rec functionRecord
	if err := json.Unmarshal(r.Value, &rec); err != nil {
		return err
	}
	l.functions[k] = &function{
		shared:    &lambent.Function{Namespace: l.word(k.ns), Name: k.name, Tags: rec.Tags, NextVersion: rec.Next, Reserved: rec.Reserved, Settings: rec.Settings.settings()},
		rev:       r.Revision,
		published: publication{number: rec.Published, fingerprint: rec.Fingerprint},
	}
	return nil
}

func (l *loader) addVersion(k id, number string, value []byte) error {
	f := l.functions[k]
	if f == nil {
		return errOrphan
	}
	var rec versionRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	v := rec.version(id{l.word(k.ns), f.shared.Name}, l.word(number))
	for _, s := range []*string{
		&v.Role, &v.PackageType, &v.Runtime, &v.Handler, &v.Arch, &v.Logging.Format, &v.Logging.Group, &v.TracingMode, &v.SnapStart,
		(*string)(&v.Code.Digest), (*string)(&v.State), (*string)(&v.UpdateStatus), &v.StateReason, &v.StateReasonCode, &v.UpdateReason, &v.UpdateReasonCode,
	} {
		*s = l.word(*s)
	}
	if rec.Settles != nil {
		f.settleLater(number, *rec.Settles)
	}
	f.put(v)
	return nil
}

func (l *loader) addAlias(k id, name string, value []byte) error {
	f := l.functions[k]
	if f == nil {
		return errOrphan
	}
	var rec aliasRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	f.putAlias(&lambent.Alias{
		Namespace: f.shared.Namespace, Function: f.shared.Name, Name: name,
		Version: rec.Version, Description: rec.Description, Weights: rec.Weights, Rules: rec.Rules, RevisionID: rec.RevisionID,
	})
	return nil
}

func (l *loader) addProvisioned(k id, qualifier string, value []byte) error {
	f := l.functions[k]
	if f == nil {
		return errOrphan
	}
	var rec provisionedRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	p := &lambent.Provisioned{
		Namespace: f.shared.Namespace, Function: f.shared.Name, Qualifier: qualifier,
		Requested: rec.Requested, LastModified: rec.LastModified,
	}
	for _, w := range rec.Windows {
		p.Windows = append(p.Windows, lambent.Window(w))
	}
	f.putProvision(p)
	return nil
}

func (l *loader) addLayer(k id, r store.Record) error {
	var rec layerRecord
	if err := json.Unmarshal(r.Value, &rec); err != nil {
		return err
	}
	l.layers[k] = &layer{rev: r.Revision, next: rec.Next}
	return nil
}

func (l *loader) addLayerVersion(k id, number string, value []byte) error {
	ly := l.layers[k]
	if ly == nil {
		return errOrphan
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	var rec layerVersionRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	i, _ := ly.versionIndex(n)
	ly.versions = slices.Insert(ly.versions, i, &lambent.LayerVersion{
		Namespace: l.word(k.ns), Name: k.name, Number: n, Description: rec.Description, License: rec.License,
		Runtimes: rec.Runtimes, Archs: rec.Archs, Digest: rec.Digest, Size: rec.Size, Unpacked: rec.Unpacked, Created: rec.Created,
	})
	return nil
}

func (l *loader) addPolicy(k id, kind, key string, value []byte) error {
	var rec policyRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	qualifier := policyQualifier(key)
	p := map[string]*Policy{qualifier: {RevisionID: rec.RevisionID, Statements: rec.Statements}}
	f, ly := l.functions[k], l.layers[k]
	switch {
	case kind == "function" && f != nil:
		maps.Copy(p, f.policies)
		f.policies = p
	case kind == "layer" && ly != nil:
		maps.Copy(p, ly.policies)
		ly.policies = p
	default:
		return errOrphan
	}
	return nil
}

// word returns the one copy of s.
func (l *loader) word(s string) string {
	if w, ok := l.words[s]; ok {
		return w
	}
	l.words[s] = s
	return s
}
