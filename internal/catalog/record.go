package catalog

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/store"
)

// The records, as JSON under these keys:
//
//	function/<ns>/<name>                  functionRecord, written with every change of the function
//	version/<ns>/<name>/<number>          versionRecord
//	alias/<ns>/<name>/<alias>             aliasRecord
//	provisioned/<ns>/<name>/<qualifier>   provisionedRecord
//	url/<ns>/<name>/.<qualifier>          urlRecord; "-" for no qualifier
//	event/<ns>/<name>/<qualifier>         eventRecord
//	route/<ns>/<id>                       lambent.Route
//	apikey/<ns>/<name>                    apiKeyRecord
//	domain/<name>                         lambent.Domain
//	layer/<ns>/<name>                     layerRecord, written with every change of the layer
//	layer/<ns>/<name>/<number>            layerVersionRecord
//	policy/<ns>/function/<name>/.<qual.>  policyRecord; "-" for no qualifier
//	policy/<ns>/layer/<name>/.<number>    policyRecord
//
// A function and all that belongs to it change in one batch, which checks the
// revision of the function record.

type functionRecord struct {
	Tags        map[string]string `json:"tags,omitempty"`
	Next        int               `json:"next"`
	Reserved    *int              `json:"reserved,omitempty"`
	Published   string            `json:"published,omitempty"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Settings    *settingsRecord   `json:"settings,omitempty"`
}

// settingsRecord is absent where nothing was chosen.
type settingsRecord struct {
	NoReserve    bool           `json:"noReserve,omitempty"`
	NoPrediction bool           `json:"noPrediction,omitempty"`
	MinInstances map[string]int `json:"minInstances,omitempty"`
	AsyncTimeout time.Duration  `json:"asyncTimeoutNs,omitempty"`
	AllowLoops   bool           `json:"allowLoops,omitempty"`
	HoldEvents   bool           `json:"holdEvents,omitempty"`

	Scaling lambent.Scaling `json:"scaling,omitzero"`
}

func settingsRecordOf(s lambent.Settings) *settingsRecord {
	chosen := s.NoReserve || s.NoPrediction || len(s.MinInstances) > 0 || s.AsyncTimeout != 0 || s.AllowLoops || s.HoldEvents
	if !chosen && s.Scaling == (lambent.Scaling{}) {
		return nil
	}
	r := settingsRecord(s)
	return &r
}

func (r *settingsRecord) settings() lambent.Settings {
	if r == nil {
		return lambent.Settings{}
	}
	return lambent.Settings(*r)
}

type provisionedRecord struct {
	Requested    int            `json:"requested"`
	LastModified time.Time      `json:"lastModified"`
	Windows      []windowRecord `json:"windows,omitempty"`
}

type windowRecord struct {
	Start    string        `json:"start"`
	Duration time.Duration `json:"durationNs"`
	Count    int           `json:"count"`
}

// configRecord is what a version is configured to do; equal ones make equal
// versions.
type configRecord struct {
	Description string             `json:"description,omitempty"`
	Role        string             `json:"role,omitempty"`
	PackageType string             `json:"packageType,omitempty"`
	Runtime     string             `json:"runtime,omitempty"`
	Handler     string             `json:"handler,omitempty"`
	Arch        string             `json:"arch,omitempty"`
	MemoryMB    int                `json:"memoryMB,omitempty"`
	EphemeralMB int                `json:"ephemeralMB,omitempty"`
	Timeout     time.Duration      `json:"timeoutNs,omitempty"`
	Env         map[string]string  `json:"env,omitempty"`
	HasEnv      bool               `json:"hasEnv,omitempty"` // tells an empty Env from none
	Layers      []layerRefRecord   `json:"layers,omitempty"`
	Digest      lambent.Digest     `json:"digest"`
	Size        int64              `json:"size"`
	Unpacked    int64              `json:"unpacked"`
	LogFormat   string             `json:"logFormat,omitempty"`
	LogGroup    string             `json:"logGroup,omitempty"`
	AppLevel    string             `json:"appLevel,omitempty"`
	SysLevel    string             `json:"sysLevel,omitempty"`
	Tracing     string             `json:"tracing,omitempty"`
	SnapStart   string             `json:"snapStart,omitempty"`
	Network     lambent.Network    `json:"network,omitempty"`
	Image       *imageRecord       `json:"image,omitempty"`
	ImageConfig *imageConfigRecord `json:"imageConfig,omitempty"`
	App         *appRecord         `json:"app,omitempty"`

	Extra map[string]json.RawMessage `json:"extra,omitempty"`
}

// appRecord has the members of [lambent.App], in their order.
type appRecord struct {
	Port         int           `json:"port"`
	Command      []string      `json:"command,omitempty"`
	Health       string        `json:"health,omitempty"`
	StartTimeout time.Duration `json:"startTimeoutNs"`
	Concurrency  int           `json:"concurrency"`
	IdleTimeout  time.Duration `json:"idleTimeoutNs,omitempty"`
}

type layerRefRecord struct {
	ARN      string         `json:"arn"`
	Digest   lambent.Digest `json:"digest"`
	Size     int64          `json:"size"`
	Unpacked int64          `json:"unpacked"`
}

type imageRecord struct {
	Reference  string           `json:"reference"`
	Digest     string           `json:"digest"`
	Layers     []lambent.Digest `json:"layers"`
	EntryPoint []string         `json:"entryPoint,omitempty"`
	Command    []string         `json:"command,omitempty"`
	Directory  string           `json:"directory,omitempty"`
	User       string           `json:"user,omitempty"`
	Env        []string         `json:"env,omitempty"`
	Port       int              `json:"port,omitempty"`
	Volumes    []string         `json:"volumes,omitempty"`
	StopSignal int              `json:"stopSignal,omitempty"`
}

type imageConfigRecord struct {
	EntryPoint []string `json:"entryPoint,omitempty"`
	Command    []string `json:"command,omitempty"`
	Directory  string   `json:"directory,omitempty"`
}

type versionRecord struct {
	configRecord
	RevisionID   string               `json:"revisionId"`
	LastModified time.Time            `json:"lastModified"`
	State        lambent.State        `json:"state"`
	Reason       string               `json:"reason,omitempty"`
	ReasonCode   string               `json:"reasonCode,omitempty"`
	Update       lambent.UpdateStatus `json:"update,omitempty"`
	UpdateReason string               `json:"updateReason,omitempty"`
	UpdateCode   string               `json:"updateReasonCode,omitempty"`
	// Settles is what the version becomes once nothing is pending any more.
	Settles *settlement `json:"settles,omitempty"`
}

type aliasRecord struct {
	Version     string             `json:"version"`
	Description string             `json:"description,omitempty"`
	Weights     map[string]float64 `json:"weights,omitempty"`

	Rules []lambent.AliasRule `json:"rules,omitempty"`

	RevisionID string `json:"revisionId"`
}

type layerRecord struct {
	Next int `json:"next"`
}

type layerVersionRecord struct {
	Description string         `json:"description,omitempty"`
	License     string         `json:"license,omitempty"`
	Runtimes    []string       `json:"runtimes,omitempty"`
	Archs       []string       `json:"archs,omitempty"`
	Digest      lambent.Digest `json:"digest"`
	Size        int64          `json:"size"`
	Unpacked    int64          `json:"unpacked"`
	Created     time.Time      `json:"created"`
}

type policyRecord struct {
	RevisionID string      `json:"revisionId"`
	Statements []Statement `json:"statements"`
}

func configOf(v *lambent.Version) configRecord {
	r := configRecord{
		Description: v.Description, Role: v.Role, PackageType: v.PackageType, Runtime: v.Runtime, Handler: v.Handler,
		Arch: v.Arch, MemoryMB: v.MemoryMB, EphemeralMB: v.EphemeralMB, Timeout: v.Timeout, Env: v.Env, HasEnv: v.Env != nil,
		Digest: v.Code.Digest, Size: v.Code.Size, Unpacked: v.Code.Unpacked,
		LogFormat: v.Logging.Format, LogGroup: v.Logging.Group, AppLevel: v.Logging.ApplicationLevel, SysLevel: v.Logging.SystemLevel,
		Tracing: v.TracingMode, SnapStart: v.SnapStart, Network: v.Network, App: (*appRecord)(v.App),
	}
	if v.Image != nil {
		r.Image = new(imageRecord(*v.Image))
	}
	if c := imageConfigRecord(v.ImageConfig); c.EntryPoint != nil || c.Command != nil || c.Directory != "" {
		r.ImageConfig = &c
	}
	for _, l := range v.Layers {
		r.Layers = append(r.Layers, layerRefRecord(l))
	}
	if len(v.Extra) > 0 {
		r.Extra = make(map[string]json.RawMessage, len(v.Extra))
		for name, value := range v.Extra {
			r.Extra[name] = value
		}
	}
	return r
}

func versionRecordOf(v *lambent.Version, settles *settlement) versionRecord {
	return versionRecord{
		configRecord: configOf(v), RevisionID: v.RevisionID, LastModified: v.LastModified,
		State: v.State, Reason: v.StateReason, ReasonCode: v.StateReasonCode,
		Update: v.UpdateStatus, UpdateReason: v.UpdateReason, UpdateCode: v.UpdateReasonCode,
		Settles: settles,
	}
}

func (r *versionRecord) version(k id, number string) *lambent.Version {
	v := &lambent.Version{
		Namespace: k.ns, Function: k.name, Number: number,
		Description: r.Description, Role: r.Role, PackageType: r.PackageType, Runtime: r.Runtime, Handler: r.Handler,
		Arch: r.Arch, MemoryMB: r.MemoryMB, EphemeralMB: r.EphemeralMB, Timeout: r.Timeout, Env: r.Env,
		Code:        lambent.CodeRef{Digest: r.Digest, Size: r.Size, Unpacked: r.Unpacked},
		Logging:     lambent.Logging{Format: r.LogFormat, Group: r.LogGroup, ApplicationLevel: r.AppLevel, SystemLevel: r.SysLevel},
		TracingMode: r.Tracing, SnapStart: r.SnapStart, Network: r.Network, App: (*lambent.App)(r.App),
		RevisionID: r.RevisionID, LastModified: r.LastModified,
		State: r.State, StateReason: r.Reason, StateReasonCode: r.ReasonCode,
		UpdateStatus: r.Update, UpdateReason: r.UpdateReason, UpdateReasonCode: r.UpdateCode,
	}
	if v.Env == nil && r.HasEnv {
		v.Env = map[string]string{}
	}
	if r.Image != nil {
		v.Image = new(lambent.Image(*r.Image))
	}
	if r.ImageConfig != nil {
		v.ImageConfig = lambent.ImageConfig(*r.ImageConfig)
	}
	for _, l := range r.Layers {
		v.Layers = append(v.Layers, lambent.LayerRef(l))
	}
	if len(r.Extra) > 0 {
		v.Extra = make(map[string][]byte, len(r.Extra))
		for name, value := range r.Extra {
			v.Extra[name] = value
		}
	}
	return v
}

// batch collects the writes of one change; the first error sticks.
type batch struct {
	ops []store.Op
	err error
}

func (b *batch) put(key string, record any) *store.Op {
	value, err := json.Marshal(record)
	if err != nil && b.err == nil {
		b.err = &lambent.Error{Code: lambent.CodeInternal, Message: "the record could not be written", Cause: err}
	}
	b.ops = append(b.ops, store.Op{Key: key, Value: value})
	return &b.ops[len(b.ops)-1]
}

func (b *batch) delete(key string) *store.Op {
	b.ops = append(b.ops, store.Op{Key: key, Delete: true})
	return &b.ops[len(b.ops)-1]
}

// functionOps are the writes that turn old into next.
func functionOps(k id, old, next *function) ([]store.Op, error) {
	b := &batch{}
	var rev int64
	if old != nil {
		rev = old.rev
	} else {
		old = &function{}
	}
	head := b.delete
	if next == nil {
		next = &function{}
	} else {
		head = func(key string) *store.Op {
			s := next.shared
			return b.put(key, functionRecord{
				Tags: s.Tags, Next: s.NextVersion, Reserved: s.Reserved,
				Published: next.published.number, Fingerprint: next.published.fingerprint,
				Settings: settingsRecordOf(s.Settings),
			})
		}
	}
	op := head(k.functionKey())
	op.Check, op.If = true, rev
	b.versions(k, old, next)
	b.aliases(k, old, next)
	b.provisioned(k, old, next)
	b.urls(k, old, next)
	b.events(k, old, next)
	b.policies("policy/"+k.ns+"/function/"+k.name+"/", old.policies, next.policies)
	return b.ops, b.err
}

func (b *batch) versions(k id, old, next *function) {
	prefix := "version/" + k.ns + "/" + k.name + "/"
	had := map[string]*lambent.Version{}
	for _, v := range old.all() {
		had[v.Number] = v
	}
	for _, v := range next.all() {
		if had[v.Number] != v {
			var settles *settlement
			if s, ok := next.unsettled[v.Number]; ok {
				settles = &s
			}
			b.put(prefix+v.Number, versionRecordOf(v, settles))
		}
		delete(had, v.Number)
	}
	for _, number := range slices.Sorted(maps.Keys(had)) {
		b.delete(prefix + number)
	}
}

// all returns the head and the published versions, in order.
func (f *function) all() []*lambent.Version {
	if f.head == nil {
		return nil
	}
	return append([]*lambent.Version{f.head}, f.versions...)
}

func (b *batch) aliases(k id, old, next *function) {
	prefix := "alias/" + k.ns + "/" + k.name + "/"
	byAlias.changes(old.aliases, next.aliases, func(a *lambent.Alias) {
		b.put(prefix+a.Name, aliasRecord{Version: a.Version, Description: a.Description, Weights: a.Weights, Rules: a.Rules, RevisionID: a.RevisionID})
	}, func(name string) { b.delete(prefix + name) })
}

func (b *batch) provisioned(k id, old, next *function) {
	prefix := "provisioned/" + k.ns + "/" + k.name + "/"
	byProvisioned.changes(old.provisioned, next.provisioned, func(p *lambent.Provisioned) {
		rec := provisionedRecord{Requested: p.Requested, LastModified: p.LastModified}
		for _, w := range p.Windows {
			rec.Windows = append(rec.Windows, windowRecord(w))
		}
		b.put(prefix+p.Qualifier, rec)
	}, func(qualifier string) { b.delete(prefix + qualifier) })
}

func (b *batch) policies(prefix string, old, next map[string]*Policy) {
	for _, q := range slices.Sorted(maps.Keys(next)) {
		if p := next[q]; old[q] != p {
			b.put(prefix+policyKey(q), policyRecord{RevisionID: p.RevisionID, Statements: p.Statements})
		}
	}
	for _, q := range slices.Sorted(maps.Keys(old)) {
		if next[q] == nil {
			b.delete(prefix + policyKey(q))
		}
	}
}

// policyKey is the last part of a policy's or URL's key; "-" stands for no
// qualifier, since a key does not end with a slash.
func policyKey(qualifier string) string {
	if qualifier == "" {
		return "-"
	}
	return "." + qualifier
}

// layerOps are the writes that turn old into next.
func layerOps(k id, old, next *layer) ([]store.Op, error) {
	b := &batch{}
	op := b.put(k.layerKey(), layerRecord{Next: next.next})
	op.Check = true
	if old == nil {
		old = &layer{}
	}
	op.If = old.rev
	for _, v := range next.versions {
		if old.version(v.Number) != v {
			b.put(k.layerKey()+"/"+strconv.Itoa(v.Number), layerVersionRecord{
				Description: v.Description, License: v.License, Runtimes: v.Runtimes, Archs: v.Archs,
				Digest: v.Digest, Size: v.Size, Unpacked: v.Unpacked, Created: v.Created,
			})
		}
	}
	for _, v := range old.versions {
		if next.version(v.Number) == nil {
			b.delete(k.layerKey() + "/" + strconv.Itoa(v.Number))
		}
	}
	b.policies("policy/"+k.ns+"/layer/"+k.name+"/", old.policies, next.policies)
	return b.ops, b.err
}
