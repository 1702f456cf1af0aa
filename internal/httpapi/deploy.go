package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"reflect"
	"slices"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/runtimes"
)

// deploy makes a function what the request says and answers when it can be
// invoked. Asking for what is already there changes nothing.
func (a *api) deploy(c *call) error {
	name, err := c.function()
	if err != nil {
		return err
	}
	want, err := readDeploy(c)
	if err != nil {
		return err
	}
	limit := settleLimit
	if want.Image != nil {
		limit = pullLimit
	}
	ctx, cancel := context.WithTimeout(c.Context(), limit)
	defer cancel()
	d := &deployment{api: a, ns: c.id.AccountID, name: name, want: want, changed: []string{}, last: time.Now()}
	created, err := d.run(ctx)
	if err == nil {
		err = d.settings(ctx, created)
	}
	if lambent.ReasonOf(err) == unknownRuntime && want.Runtime != nil {
		// AWS's words for it list AWS's runtimes, and not the others that there are.
		return noRuntime(lambent.CodeInvalid, *want.Runtime)
	}
	if err != nil {
		return err
	}
	entry, err := a.o.Catalog.Get(d.ns, name, "")
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	out := client.Deployed{
		Function: a.function(entry.Version, entry.Function.Tags),
		Created:  created, Changed: d.changed, Timings: d.timings,
	}
	if entry.Version.Image != nil {
		if err := runtimes.CheckImage(entry.Version); err != nil {
			out.Trouble = err.Error()
		}
	}
	return c.answer(status, out)
}

// readDeploy reads the request in its JSON or its multipart form.
func readDeploy(c *call) (client.Deploy, error) {
	var d client.Deploy
	body, err := auth.Body(c.Request)
	if err != nil {
		return d, err
	}
	kind, params, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if err == nil && kind == "multipart/form-data" {
		return readForm(multipart.NewReader(bytes.NewReader(body), params["boundary"]))
	}
	return d, readStrict(body, &d)
}

// readForm reads the parts "config" and "zip".
func readForm(form *multipart.Reader) (client.Deploy, error) {
	var d client.Deploy
	var zip []byte
	for parts := 0; ; parts++ {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) && parts > 0 {
			break
		}
		if err != nil {
			return d, lambent.Errorf(lambent.CodeInvalid, "the multipart body is damaged: %w", err)
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return d, lambent.Errorf(lambent.CodeInvalid, "the multipart body is damaged: %w", err)
		}
		switch part.FormName() {
		case "config":
			err = readStrict(data, &d)
		case "zip":
			zip = data
		default:
			err = lambent.Errorf(lambent.CodeInvalid, "unknown part %q: want config and zip", clip(part.FormName()))
		}
		if err != nil {
			return d, err
		}
	}
	if zip != nil {
		d.Zip = zip
	}
	return d, nil
}

// readStrict reads one JSON object and refuses members it does not know.
func readStrict(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return lambent.Errorf(lambent.CodeInvalid, "the request is not what this takes: %w", err)
	}
	if decoder.More() {
		return lambent.Errorf(lambent.CodeInvalid, "the request goes on after its end")
	}
	return nil
}

// deployment is one deploy on its way.
type deployment struct {
	api      *api
	ns, name string
	want     client.Deploy
	changed  []string
	timings  []client.Timing
	last     time.Time // when the latest step ended
}

// step notes that a step has ended.
func (d *deployment) step(name string) {
	now := time.Now()
	d.timings = append(d.timings, client.Timing{Name: name, MS: ms(now.Sub(d.last))})
	d.last = now
}

// run creates or updates the function and tells which.
func (d *deployment) run(ctx context.Context) (created bool, err error) {
	if err := d.check(); err != nil {
		return false, err
	}
	_, err = d.api.o.Catalog.Get(d.ns, d.name, "")
	switch {
	case lambent.CodeOf(err) == lambent.CodeNotFound:
		return true, d.create(ctx)
	case err != nil:
		return false, err
	}
	return false, d.update(ctx)
}

// check refuses what the catalog could not see any more.
func (d *deployment) check() error {
	if n := d.want.Network; n != nil {
		if _, ok := networks[*n]; !ok {
			return lambent.Errorf(lambent.CodeInvalid, "network %q: want outbound, loopback or none", clip(*n))
		}
	}
	limit := lambent.MaxTimeout.Seconds()
	if t := d.want.Timeout; t != nil && !(*t >= 1 && *t <= limit && *t == math.Trunc(*t)) {
		return lambent.Errorf(lambent.CodeInvalid, "timeoutSeconds %v: want a whole number from 1 to %v", *t, limit)
	}
	if err := d.checkKind(nil); err != nil {
		return err
	}
	if d.want.Zip != nil && len(d.want.Zip) > lambent.MaxZipUpload {
		return lambent.Errorf(lambent.CodeTooLarge, "the zip has %d bytes, more than the %d that are allowed", len(d.want.Zip), lambent.MaxZipUpload)
	}
	return nil
}

func (d *deployment) create(ctx context.Context) error {
	if len(d.want.Zip) == 0 && d.image() == "" {
		return lambent.Errorf(lambent.CodeInvalid, "function %s does not exist yet: its first deploy needs code", d.name)
	}
	v := lambent.Version{Namespace: d.ns, Function: d.name, Role: lambent.DefaultRole(d.ns), PackageType: d.packageType(), Arch: lambent.HostArch()}
	d.apply(&v)
	applicationDefaults(&v)
	in := catalog.CreateFunction{Version: v, Source: artifact.Source{Zip: d.want.Zip}, Image: d.image()}
	if d.want.Layers != nil {
		in.LayerARNs = *d.want.Layers
	}
	if _, err := d.api.o.Catalog.CreateFunction(ctx, in); err != nil {
		return err
	}
	d.step("create")
	if err := d.ready(ctx); err != nil {
		return err
	}
	d.step("activate")
	return nil
}

// update changes what differs. The new code is checked before the configuration
// changes, so that a refused zip leaves the function as it was.
func (d *deployment) update(ctx context.Context) error {
	v, err := d.settle(ctx)
	if err != nil {
		return err
	}
	if err := d.checkKind(v); err != nil {
		return err
	}
	if d.want.Arch != nil && *d.want.Arch != v.Arch && len(d.want.Zip) == 0 {
		return lambent.Errorf(lambent.CodeInvalid, "the architecture changes together with the code only: send both")
	}
	code := catalog.UpdateCode{Namespace: d.ns, Function: d.name, Source: artifact.Source{Zip: d.want.Zip}, Image: d.image()}
	newCode, err := d.codeDiffers(ctx, v)
	if err != nil {
		return err
	}
	d.changed = d.differences(v)
	newConfig := len(d.changed) > 0
	if newCode {
		if d.want.Arch != nil {
			code.Arch = *d.want.Arch
		}
		d.changed = append([]string{"code"}, d.changed...)
	}
	// The same code is stored again, too: the server may have lost it.
	if same := !newCode && len(d.want.Zip) > 0; same || newCode && newConfig {
		check := code
		check.DryRun = true
		if _, err := d.api.o.Catalog.UpdateCode(ctx, check); err != nil {
			return err
		}
		d.step("check code")
	}
	if newConfig {
		in := catalog.UpdateConfig{Namespace: d.ns, Function: d.name, LayerARNs: d.want.Layers, Apply: d.apply}
		if _, err := d.api.o.Catalog.UpdateConfig(ctx, in); err != nil {
			return err
		}
		if err := d.ready(ctx); err != nil {
			return err
		}
		d.step("configuration")
	}
	if newCode {
		if _, err := d.api.o.Catalog.UpdateCode(ctx, code); err != nil {
			return err
		}
		if err := d.ready(ctx); err != nil {
			return err
		}
		d.step("code")
	}
	return nil
}

// settings makes the function's settings what the deploy says.
func (d *deployment) settings(ctx context.Context, created bool) error {
	if err := d.minimum(ctx, created); err != nil || d.want.Reserve == nil {
		return err
	}
	entry, err := d.api.o.Catalog.Get(d.ns, d.name, "")
	if err != nil || entry.Function.Settings.NoReserve == !*d.want.Reserve {
		return err
	}
	_, err = d.api.o.Catalog.SetSettings(ctx, d.ns, d.name, func(s *lambent.Settings) error {
		s.NoReserve = !*d.want.Reserve
		return nil
	})
	if err == nil && !created {
		d.changed = append(d.changed, "reserve")
	}
	return err
}

// codeDiffers tells whether the zip, or the architecture that goes with it, or the
// image is not the one the function has.
func (d *deployment) codeDiffers(ctx context.Context, v *lambent.Version) (bool, error) {
	if d.image() != "" {
		return d.imageDiffers(ctx, v)
	}
	if len(d.want.Zip) == 0 {
		return false, nil
	}
	sum := sha256.Sum256(d.want.Zip)
	return hex.EncodeToString(sum[:]) != string(v.Code.Digest) || d.want.Arch != nil && *d.want.Arch != v.Arch, nil
}

// ready waits until the function can be invoked.
func (d *deployment) ready(ctx context.Context) error {
	v, err := d.settle(ctx)
	if err != nil {
		return err
	}
	if v.State == lambent.StateFailed {
		return lambent.Errorf(lambent.CodeConflict, "function %s failed: %s", d.name, v.StateReason).WithReason("FunctionFailed")
	}
	if v.UpdateStatus == lambent.UpdateFailed {
		return lambent.Errorf(lambent.CodeConflict, "the update of function %s failed: %s", d.name, v.UpdateReason).WithReason("UpdateFailed")
	}
	return nil
}

// settle waits until the function takes its next change. One that has failed
// does: a deploy is how it is mended.
func (d *deployment) settle(ctx context.Context) (*lambent.Version, error) {
	for {
		entry, err := d.api.o.Catalog.Get(d.ns, d.name, "")
		if err != nil {
			return nil, err
		}
		v := entry.Version
		if v.State != lambent.StatePending && v.UpdateStatus != lambent.UpdateInProgress {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return nil, lambent.Errorf(lambent.CodeTimeout, "function %s is still %s", d.name, v.State)
		case <-time.After(settlePoll):
		}
	}
}

// settleLimit bounds a whole deploy, settlePoll is how often its state is read,
// from memory.
const (
	settleLimit = time.Minute
	pullLimit   = 15 * time.Minute // with an image to bring in
	settlePoll  = 2 * time.Millisecond
)

// apply puts what is wanted into a version.
func (d *deployment) apply(v *lambent.Version) {
	w := d.want
	set(&v.Description, w.Description)
	set(&v.Runtime, w.Runtime)
	set(&v.Handler, w.Handler)
	set(&v.MemoryMB, w.MemoryMB)
	set(&v.EphemeralMB, w.EphemeralMB)
	set(&v.Role, w.Role)
	set(&v.Env, w.Env)
	if v.Number == "" { // of a new function; later it changes with the code
		set(&v.Arch, w.Arch)
	}
	if w.Timeout != nil {
		v.Timeout = time.Duration(*w.Timeout) * time.Second
	}
	if w.Network != nil {
		v.Network = networks[*w.Network]
	}
	if w.App != nil {
		v.App = application(w.App)
	}
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// differences names the configuration that is not as wanted.
func (d *deployment) differences(v *lambent.Version) []string {
	next := *v
	d.apply(&next)
	differs := []struct {
		name string
		is   bool
	}{
		{"description", next.Description != v.Description},
		{"runtime", next.Runtime != v.Runtime},
		{"handler", next.Handler != v.Handler},
		{"memory", next.MemoryMB != v.MemoryMB},
		{"ephemeral storage", next.EphemeralMB != v.EphemeralMB},
		{"timeout", next.Timeout != v.Timeout},
		{"role", next.Role != v.Role},
		{"environment", !maps.Equal(next.Env, v.Env)},
		{"network", next.Network != v.Network},
		{"application", !reflect.DeepEqual(next.App, v.App)},
		{"layers", d.want.Layers != nil && !slices.Equal(*d.want.Layers, layerARNs(v))},
	}
	names := []string{}
	for _, f := range differs {
		if f.is {
			names = append(names, f.name)
		}
	}
	return names
}

func layerARNs(v *lambent.Version) []string {
	var arns []string
	for _, l := range v.Layers {
		arns = append(arns, l.ARN)
	}
	return arns
}
