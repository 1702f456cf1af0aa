package catalog

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

// What a version says of itself while it is Pending or InProgress.
const (
	creating     = "The function is being created."
	creatingCode = "Creating"
)

// change makes one write to a function: edit gets the function as it is (nil
// when there is none) and returns it as it shall be (nil to delete it, the same
// to leave it). Writes to the same function follow each other.
func (c *Catalog) change(ctx context.Context, k id, edit func(old *function) (*function, error)) error {
	leave, err := c.gates.enter(ctx, k.functionKey())
	if err != nil {
		return err
	}
	defer leave()
	old := c.functions.get(k)
	next, err := edit(old)
	if err != nil || next == old {
		return err
	}
	return c.commitFunction(ctx, k, old, next)
}

// CreateFunction adds a function. It is Pending in the answer and Active within
// a moment. With Publish it is version 1 as well, and that is the answer.
func (c *Catalog) CreateFunction(ctx context.Context, in CreateFunction) (*lambent.Version, error) {
	k := id{in.Version.Namespace, in.Version.Function}
	if err := checkNames(k, lambent.MaxFunctionName); err != nil {
		return nil, err
	}
	if c.functions.get(k) != nil {
		return nil, functionExists(k.name)
	}
	v, warning, err := c.newHead(in)
	if err != nil {
		return nil, err
	}
	if err := c.putCode(ctx, v, in.Source, in.Image); err != nil {
		return nil, err
	}
	var made *lambent.Version
	err = c.change(ctx, k, func(old *function) (*function, error) {
		if old != nil {
			return nil, functionExists(k.name)
		}
		next := &function{shared: &lambent.Function{Namespace: k.ns, Name: k.name, Tags: maps.Clone(in.Tags), NextVersion: 1}, head: v}
		next.settleLater(lambent.Latest, c.until(v, warning))
		made = v
		if in.Publish {
			made = c.publish(next, nil, &warning)
		}
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// newHead makes the first version of a function, all but its code.
func (c *Catalog) newHead(in CreateFunction) (head *lambent.Version, warning string, err error) {
	v := in.Version
	v.Number, v.RevisionID, v.LastModified = lambent.Latest, c.o.NewID(), c.now()
	v.State, v.StateReason, v.StateReasonCode = lambent.StatePending, creating, creatingCode
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = "", "", ""
	v.Code, v.Layers = lambent.CodeRef{}, nil
	own(&v)
	normalise(&v)
	if err := checkConfig(&v); err != nil {
		return nil, "", err
	}
	if err := c.checkRole(&v); err != nil {
		return nil, "", err
	}
	if err := checkDeadLetter(&v); err != nil {
		return nil, "", err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, "", err
	}
	if warning, err = c.checkRuntime(&v); err != nil {
		return nil, "", err
	}
	if err := checkImage(&v, in.LayerARNs); err != nil {
		return nil, "", err
	}
	if v.Layers, err = c.layerRefs(v.Namespace, in.LayerARNs); err != nil {
		return nil, "", err
	}
	return &v, warning, nil
}

// own gives v maps and slices of its own.
func own(v *lambent.Version) {
	v.Env = maps.Clone(v.Env)
	v.Layers = slices.Clone(v.Layers)
	v.Extra = maps.Clone(v.Extra)
	for name, value := range v.Extra {
		v.Extra[name] = bytes.Clone(value)
	}
}

// putCode stores the code and makes v refer to it, if it and the layers of v
// are within the limits.
func (c *Catalog) putCode(ctx context.Context, v *lambent.Version, src artifact.Source, image string) error {
	if v.PackageType == PackageImage {
		return c.resolveImage(ctx, v, image)
	}
	if len(src.Zip) == 0 && src.S3Bucket == "" {
		return invalid("NoSource", "Please provide a source for function code.")
	}
	info, err := c.o.Artifacts.Put(ctx, src)
	if err != nil {
		return err
	}
	v.Code = lambent.CodeRef{Digest: info.Digest, Size: info.Size, Unpacked: info.Unpacked}
	if err := checkUnpacked(v); err != nil {
		return err
	}
	return c.checkStorage(v.Namespace, info.Size)
}

// checkStorage refuses code that brings the namespace over its storage.
func (c *Catalog) checkStorage(ns string, more int64) error {
	if _, used := c.Usage(ns); used+more > lambent.MaxCodeStorage {
		return lambent.Errorf(lambent.CodeTooLarge, "Code storage limit exceeded.").WithReason("CodeStorageExceeded")
	}
	return nil
}

// toUpdate checks that the head of f can be changed now.
func (c *Catalog) toUpdate(k id, f *function, revision string) error {
	switch {
	case f == nil:
		return c.functionNotFound(k, "")
	case revision != "" && revision != f.head.RevisionID:
		return revisionMismatch(functionRevisionCalls)
	case f.head.State == lambent.StatePending:
		return functionIsIn(f.head.State)
	case f.head.UpdateStatus == lambent.UpdateInProgress:
		return updateInProgress(f.head.ARN(c.o.Region))
	}
	return nil
}

// updating marks v, a copy of the head of f, as changed and being updated, and
// makes it the head.
func (c *Catalog) updating(f *function, v *lambent.Version, warning string) {
	v.RevisionID, v.LastModified = c.o.NewID(), c.now()
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = lambent.UpdateInProgress, creating, creatingCode
	f.put(v)
	f.settleLater(lambent.Latest, c.until(v, warning))
}

// warningOf is what the runtimes have said of a version; why it failed, which a change
// may mend, is no warning.
func warningOf(v *lambent.Version) string {
	if v.State == lambent.StateFailed {
		return ""
	}
	return v.StateReason
}

// UpdateCode gives the head of a function other code, and publishes it when
// asked. A dry run checks everything, stores the code and changes nothing. Code
// equal to what is there is an update like any other, as on AWS.
func (c *Catalog) UpdateCode(ctx context.Context, in UpdateCode) (*lambent.Version, error) {
	k := id{in.Namespace, in.Function}
	f := c.functions.get(k)
	if err := c.toUpdate(k, f, in.RevisionID); err != nil {
		return nil, err
	}
	probe := *f.head
	if in.Arch != "" {
		probe.Arch = in.Arch
	}
	warning := warningOf(&probe)
	if probe.Arch != f.head.Arch {
		var err error
		if warning, err = c.checkRuntime(&probe); err != nil {
			return nil, err
		}
	}
	// Fetching and unpacking takes its time, so it is done before the gate and
	// what was checked is checked again behind it.
	if err := c.putCode(ctx, &probe, in.Source, in.Image); err != nil {
		return nil, err
	}
	if in.DryRun {
		return &probe, nil
	}
	var updated *lambent.Version
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if err := c.toUpdate(k, old, in.RevisionID); err != nil {
			return nil, err
		}
		v := *old.head
		v.Code, v.Image, v.Arch = probe.Code, probe.Image, probe.Arch
		if err := checkUnpacked(&v); err != nil {
			return nil, err
		}
		next := old.clone()
		c.updating(next, &v, warning)
		updated = &v
		if in.Publish {
			updated = c.publish(next, nil, &warning)
		}
		if v.Image != nil {
			c.keepImage(next, old.head)
		}
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	c.changed(k, lambent.Latest)
	return updated, nil
}

// UpdateConfig changes the configuration of the head of a function.
func (c *Catalog) UpdateConfig(ctx context.Context, in UpdateConfig) (*lambent.Version, error) {
	k := id{in.Namespace, in.Function}
	var updated *lambent.Version
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if err := c.toUpdate(k, old, in.RevisionID); err != nil {
			return nil, err
		}
		v, warning, err := c.edited(old.head, in)
		if err != nil {
			return nil, err
		}
		next := old.clone()
		c.updating(next, v, warning)
		updated = v
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	c.changed(k, lambent.Latest)
	return updated, nil
}

// edited is head with the changes of in, checked. What is not configuration
// stays as it is, whatever Apply did to it.
func (c *Catalog) edited(head *lambent.Version, in UpdateConfig) (v *lambent.Version, warning string, err error) {
	e := *head
	own(&e)
	if in.Apply != nil {
		in.Apply(&e)
	}
	e.Namespace, e.Function, e.Number = head.Namespace, head.Function, head.Number
	e.Code, e.Layers, e.PackageType, e.Arch, e.Image = head.Code, head.Layers, head.PackageType, head.Arch, head.Image
	e.State, e.StateReason, e.StateReasonCode = head.State, head.StateReason, head.StateReasonCode
	own(&e) // what Apply put in belongs to the caller
	normalise(&e)
	if err := checkConfig(&e); err != nil {
		return nil, "", err
	}
	if e.Role != head.Role {
		if err := c.checkRole(&e); err != nil {
			return nil, "", err
		}
	}
	if e.DeadLetter() != head.DeadLetter() {
		if err := checkDeadLetter(&e); err != nil {
			return nil, "", err
		}
	}
	warning = warningOf(head)
	if e.Runtime != head.Runtime {
		if warning, err = c.checkRuntime(&e); err != nil {
			return nil, "", err
		}
	}
	if in.LayerARNs != nil {
		if err := checkImage(&e, *in.LayerARNs); err != nil {
			return nil, "", err
		}
		if e.Layers, err = c.layerRefs(e.Namespace, *in.LayerARNs); err != nil {
			return nil, "", err
		}
	}
	return &e, warning, checkUnpacked(&e)
}

// DeleteFunction deletes a function with all that belongs to it or, with a
// qualifier, one published version. Deleting a version that does not exist
// does nothing, as on AWS.
func (c *Catalog) DeleteFunction(ctx context.Context, ns, name, qualifier string) error {
	k := id{ns, name}
	switch {
	case qualifier == lambent.Latest:
		return invalid("LatestVersion", "$LATEST version cannot be deleted without deleting the function.")
	case qualifier != "" && !isNumber(qualifier):
		return invalid("DeleteAlias", "Deletion of aliases is not currently supported.")
	case qualifier != "":
		return c.deleteVersion(ctx, k, qualifier)
	}
	var gone []string
	err := c.change(ctx, k, func(old *function) (*function, error) {
		if old == nil {
			return nil, c.functionNotFound(k, "")
		}
		for _, v := range old.all() {
			gone = append(gone, v.Number)
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	c.changed(k, gone...)
	return nil
}
