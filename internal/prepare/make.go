package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/sandbox"
)

// maxFile bounds each file that is taken out of a sandbox, in bytes.
const maxFile = 512 << 20

// prepare does one job.
func (r *Room) prepare(ctx context.Context, j job) error {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	if r.o.Current != nil && !r.o.Current(j.v) {
		return nil // it will be wanted again in its new shape
	}
	if _, ok := r.key(j.v); !ok {
		return nil // its function has changed its mind
	}
	rt, err := r.o.Runtimes.Resolve(j.v)
	if err != nil {
		return fmt.Errorf("resolve runtime: %w", err)
	}
	begin := time.Now()
	switch p, can := r.o.Driver.(sandbox.Preparer); {
	case rt.Driver == "":
		err = r.archive(ctx, j)
	case can:
		err = r.compile(ctx, p, j, rt)
	default:
		err = fmt.Errorf("the driver prepares no %s", rt.Driver)
	}
	if err == nil {
		r.o.Log.Info("prepared a version", "function", j.v.Function, "version", j.v.Number, "took", time.Since(begin))
	}
	return err
}

// compile leaves the work to the driver, which also keeps what comes of it.
func (r *Room) compile(ctx context.Context, p sandbox.Preparer, j job, rt sandbox.Runtime) error {
	spec, release, err := r.spec(ctx, j.v)
	if err != nil {
		return err
	}
	defer release()
	spec.Runtime = rt
	if err := p.Prepare(ctx, spec); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	r.show(j.key, manifest{Code: j.v.Code.Digest})
	return nil
}

// archive makes what all functions of the runtime need, then the version's own.
func (r *Room) archive(ctx context.Context, j job) error {
	if err := r.base(ctx, j.v); err != nil {
		// The version can do without, and without it again.
		r.o.Log.Warn("did not prepare a runtime", "runtime", j.v.Runtime, "err", err)
	}
	r.expectRuntime(j.v)
	spec, release, err := r.spec(ctx, j.v)
	if err != nil {
		return err
	}
	defer release()
	dir, err := r.disk.fresh()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // gone already when all went well
	steps, err := r.o.Runtimes.Prepare(j.v, spec.Code, spec.Layers, dir)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := r.run(ctx, spec, step, dir); err != nil {
			return err
		}
	}
	m, err := r.disk.keep(dir, j.key, j.v.Code.Digest)
	if err != nil {
		return fmt.Errorf("keep what is prepared: %w", err)
	}
	r.show(j.key, m)
	r.expect(j)
	return nil
}

// expect has the reserve get ready for the version's first start as it will be.
// Blanks of a version's own are large: the reserve begins with them at the first
// start, save for a version that asks to be fast from then on.
func (r *Room) expect(j job) {
	reserve, ok := r.o.Driver.(sandbox.Reserver)
	if !ok {
		return
	}
	rt, err := r.o.Runtimes.Resolve(j.v)
	if err != nil {
		return // it has just gone
	}
	with, _ := r.o.Runtimes.Prepared(rt, r.disk.at(j.key), j.key)
	own := with.Blank != nil && rt.Blank != nil && with.Blank.Key != rt.Blank.Key
	if with.Blank != nil && (!own || j.v.SnapStart == "PublishedVersions" && j.v.Published()) {
		reserve.Expect(with)
	}
}

// expectRuntime has the reserve get ready for starts of v without an archive of its
// own: with the common one in place, blanks are others than before.
func (r *Room) expectRuntime(v *lambent.Version) {
	reserve, ok := r.o.Driver.(sandbox.Reserver)
	if !ok {
		return
	}
	if rt, err := r.o.Runtimes.Resolve(v); err == nil && rt.Blank != nil {
		reserve.Expect(rt)
	}
}

// base runs no code of a function's.
func (r *Room) base(ctx context.Context, v *lambent.Version) error {
	steps := r.o.Runtimes.Base(v)
	if len(steps) == 0 {
		return nil
	}
	dir, err := r.disk.fresh()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // temporary
	code := filepath.Join(dir, "code")
	if err := os.Mkdir(code, 0o755); err != nil {
		return err
	}
	nobody := &lambent.Version{
		Namespace: "000000000000", Function: "lambent-prepare", Number: lambent.Latest, Runtime: v.Runtime,
		Handler: "none", MemoryMB: prepareMB, EphemeralMB: 512, Timeout: maxTime, Network: lambent.NetworkLoopback,
		PackageType: "Zip", Arch: v.Arch, State: lambent.StateActive,
	}
	said := &tail{}
	spec := sandbox.Spec{
		Version: nobody, Region: r.o.Region, Code: code, Output: said, NoReserve: true, Background: true,
		Env: r.o.Environment(nobody, "prepare"),
	}
	for _, step := range steps {
		if err := r.run(ctx, spec, step, dir); err != nil {
			return fmt.Errorf("%w; it said: %s", err, said)
		}
	}
	return nil
}

// prepareMB is the least memory of a run: to write an archive takes more than to
// load the same classes.
const prepareMB = 1024

// spec is what v's runs have in common. The function finds its own memory size
// in its environment, and has more.
func (r *Room) spec(ctx context.Context, v *lambent.Version) (sandbox.Spec, func(), error) {
	var releases []func()
	release := func() {
		for _, f := range releases {
			f()
		}
	}
	roomy := *v
	roomy.App = nil // the runs end by themselves, as those of functions do
	roomy.MemoryMB = max(v.MemoryMB+512, prepareMB)
	roomy.EphemeralMB = max(v.EphemeralMB, 1024)
	stream := time.Now().UTC().Format("2006/01/02") + "/[" + v.Number + "]" + r.o.NewID()
	spec := sandbox.Spec{
		Version: &roomy, Region: r.o.Region, Output: discard{}, NoReserve: true, Background: true,
		Env: r.o.Environment(v, stream),
	}
	if r.o.Logs != nil && v.SnapStart == "PublishedVersions" && v.Published() {
		out := r.o.Logs.Open(v.Namespace, v.LogGroup(), stream)
		releases = append(releases, func() { _ = out.Close() }) // the log room has told of lines that it could not keep
		spec.Output = out
	}
	for n, d := range append([]lambent.Digest{v.Code.Digest}, layers(v)...) {
		dir, done, err := r.o.Artifacts.Use(ctx, d)
		if err != nil {
			release()
			return spec, nil, fmt.Errorf("unpack code: %w", err)
		}
		releases = append(releases, done)
		if n == 0 {
			spec.Code = dir
		} else {
			spec.Layers = append(spec.Layers, dir)
		}
	}
	return spec, release, nil
}

func layers(v *lambent.Version) (all []lambent.Digest) {
	for _, l := range v.Layers {
		all = append(all, l.Digest)
	}
	return all
}

// run lets one making happen in a sandbox and takes its files into dir.
func (r *Room) run(ctx context.Context, spec sandbox.Spec, m runtimes.Making, dir string) error {
	spec.ID = r.o.NewID()
	spec.Runtime = m.Runtime
	spec.Cache = dir
	spec.Env = slices.Concat(spec.Env, m.Env)
	inst, err := r.o.Driver.Start(ctx, spec)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() {
		// The server may be ending: the sandbox goes in any case.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := inst.Stop(ctx); err != nil {
			r.o.Log.Warn("stop a preparation", "err", err)
		}
	}()
	if err := ended(ctx, inst); err != nil {
		return err
	}
	collector, ok := inst.(sandbox.Collector)
	if !ok {
		return errors.New("the driver cannot take files out of a sandbox")
	}
	for n, name := range m.Files {
		at := filepath.Join(dir, name)
		err := collector.Collect(name, at, maxFile)
		if err == nil {
			err = os.Chmod(at, 0o644) // the next sandbox shall read it
		}
		if err != nil && n == 0 {
			return fmt.Errorf("it left no %s (%s): %w", name, reason(inst), err)
		}
	}
	if m.After != nil {
		return m.After(dir)
	}
	return nil
}

// ended waits until the runtime has exited by itself.
func ended(ctx context.Context, inst sandbox.Instance) error {
	result, err := inst.Init(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("run: %w", err)
	case result.Failure == nil:
		return errors.New("the runtime asked for an event instead of ending")
	}
	select {
	case <-inst.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("run: %w", ctx.Err())
	}
}

func reason(inst sandbox.Instance) string {
	if f := inst.Why(); f != nil {
		return f.Type + ": " + f.Message
	}
	return "no reason is known"
}
