package catalog

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent"
)

func layerNumberTooLow() *lambent.Error {
	return invalid("LayerVersion", "Layer Version Cannot be less than 1")
}

func layerNumber(v *lambent.LayerVersion) string { return strconv.Itoa(v.Number) }

// layerRefs resolves the layers of a function in the namespace ns, in order.
func (c *Catalog) layerRefs(ns string, arns []string) ([]lambent.LayerRef, error) {
	if len(arns) > lambent.MaxLayers {
		return nil, invalid("TooManyLayers", "Cannot reference more than %d layers.", lambent.MaxLayers)
	}
	refs := make([]lambent.LayerRef, 0, len(arns))
	seen := map[string]string{} // ARN of the version, by that of the layer
	for _, arn := range arns {
		name, err := lambent.ParseLayerARN(arn)
		if err != nil {
			return nil, err
		}
		if name.Region != c.o.Region {
			return nil, invalid("LayerRegion", "Layers are not in the same region as the function. Layers are expected to be in region %s.", c.o.Region)
		}
		v := c.layerVersion(id{name.Account, name.Name}, name.Version)
		if v == nil {
			return nil, layerVersionMissing(lambent.CodeInvalid, arn)
		}
		if name.Account != ns && !c.shared(v, ns) {
			return nil, lambent.Errorf(lambent.CodeDenied, "The account %s is not authorized to perform: lambda:GetLayerVersion on resource: %s "+
				"because no resource-based policy allows the lambda:GetLayerVersion action", ns, arn)
		}
		layerARN := v.LayerARN(c.o.Region)
		if other, ok := seen[layerARN]; ok {
			return nil, invalid("LayerTwice", "Two different versions of the same layer are not allowed to be referenced in the same function. "+
				"%s and %s are versions of the same layer.", other, arn)
		}
		seen[layerARN] = arn
		refs = append(refs, lambent.LayerRef{ARN: v.ARN(c.o.Region), Digest: v.Digest, Size: v.Size, Unpacked: v.Unpacked})
	}
	if len(refs) == 0 {
		return nil, nil
	}
	return refs, nil
}

// shared tells whether the policy of a layer version lets an account use it.
// Statements with conditions are not understood and grant nothing.
func (c *Catalog) shared(v *lambent.LayerVersion, account string) bool {
	p, _ := c.Policy(v.ARN(c.o.Region))
	for _, st := range p.Statements {
		var s struct {
			Effect, Action       string
			Principal, Condition json.RawMessage
		}
		if json.Unmarshal(st.JSON, &s) != nil || s.Effect != "Allow" || s.Action != "lambda:GetLayerVersion" || len(s.Condition) > 0 {
			continue
		}
		if grants(s.Principal, account) {
			return true
		}
	}
	return false
}

// grants tells whether the Principal of a statement means the account: "*", or
// its id or ARN under "AWS".
func grants(principal json.RawMessage, account string) bool {
	var who string
	if json.Unmarshal(principal, &who) != nil {
		var by struct{ AWS string }
		if json.Unmarshal(principal, &by) != nil {
			return false
		}
		who = by.AWS
	}
	return who == "*" || who == account || strings.HasPrefix(who, "arn:aws:iam::"+account+":")
}

// PublishLayer adds a version to a layer, which comes to be with its first one.
func (c *Catalog) PublishLayer(ctx context.Context, in PublishLayer) (*lambent.LayerVersion, error) {
	k := id{in.Namespace, in.Name}
	if err := checkNames(k, lambent.MaxLayerName); err != nil {
		return nil, err
	}
	if len(in.Source.Zip) == 0 && in.Source.S3Bucket == "" {
		return nil, invalid("NoSource", "Please provide a source for layer content.")
	}
	info, err := c.o.Artifacts.Put(ctx, in.Source)
	if err != nil {
		return nil, err
	}
	if info.Unpacked > lambent.MaxUnzipped {
		return nil, invalid("UnzippedTooLarge", "Unzipped size must be smaller than %d bytes", lambent.MaxUnzipped)
	}
	if err := c.checkStorage(k.ns, info.Size); err != nil {
		return nil, err
	}
	v := &lambent.LayerVersion{
		Namespace: k.ns, Name: k.name, Description: in.Description, License: in.License,
		Runtimes: slices.Clone(in.Runtimes), Archs: slices.Clone(in.Archs),
		Digest: info.Digest, Size: info.Size, Unpacked: info.Unpacked, Created: c.now(),
	}
	err = c.changeLayer(ctx, k, func(old *layer) (*layer, error) {
		next := &layer{next: 1}
		if old != nil {
			next = old.clone()
		}
		v.Number = next.next
		next.next++
		next.versions = append(next.versions, v)
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// changeLayer is [Catalog.change] for a layer, which is never deleted.
func (c *Catalog) changeLayer(ctx context.Context, k id, edit func(old *layer) (*layer, error)) error {
	leave, err := c.gates.enter(ctx, k.layerKey())
	if err != nil {
		return err
	}
	defer leave()
	old := c.layers.get(k)
	next, err := edit(old)
	if err != nil || next == old {
		return err
	}
	return c.commitLayer(ctx, k, old, next)
}

// DeleteLayer deletes a version of a layer and its policy. Functions that use
// it go on working. Deleting one that does not exist does nothing, as on AWS.
func (c *Catalog) DeleteLayer(ctx context.Context, ns, name string, number int) error {
	if number < 1 {
		return layerNumberTooLow()
	}
	return c.changeLayer(ctx, id{ns, name}, func(old *layer) (*layer, error) {
		if old == nil {
			return nil, nil
		}
		i, ok := old.versionIndex(number)
		if !ok {
			return old, nil
		}
		next := old.clone()
		next.versions = slices.Delete(next.versions, i, i+1)
		delete(next.policies, strconv.Itoa(number))
		return next, nil
	})
}
