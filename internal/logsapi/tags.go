package logsapi

import (
	"context"

	"lambent.dev/lambent"
)

// tagged is how requests about tags name their log group: by its ARN, or in the
// older operations by its name.
type tagged struct {
	ResourceARN  string `json:"resourceArn"`
	LogGroupName string `json:"logGroupName"`
}

func (t tagged) name() (string, error) {
	if t.ResourceARN != "" {
		return groupName(t.ResourceARN), nil
	}
	return reference{LogGroupName: t.LogGroupName}.name()
}

func (d *door) tag(ctx context.Context, c caller, body []byte) (any, error) {
	type input struct {
		tagged
		Tags map[string]string `json:"tags"`
	}
	in, name, err := readNamed[input](body)
	if err != nil {
		return nil, err
	}
	return empty{}, d.o.Groups.Tag(ctx, c.namespace, name, in.Tags, nil)
}

func (d *door) untag(ctx context.Context, c caller, body []byte) (any, error) {
	type input struct {
		tagged
		TagKeys []string `json:"tagKeys"`
		Tags    []string `json:"tags"` // the same, in the older operation
	}
	in, name, err := readNamed[input](body)
	if err != nil {
		return nil, err
	}
	return empty{}, d.o.Groups.Tag(ctx, c.namespace, name, nil, append(in.TagKeys, in.Tags...))
}

func (d *door) listTags(ctx context.Context, c caller, body []byte) (any, error) {
	_, name, err := readNamed[tagged](body)
	if err != nil {
		return nil, err
	}
	list, err := d.o.Reader.Groups(ctx, c.namespace, name)
	if err != nil {
		return nil, err
	}
	for _, g := range list {
		if g.Name != name {
			continue
		}
		if g.Tags == nil {
			g.Tags = map[string]string{}
		}
		return map[string]any{"tags": g.Tags}, nil
	}
	return nil, failure(lambent.CodeNotFound, "ResourceNotFoundException", "The specified log group does not exist.")
}
