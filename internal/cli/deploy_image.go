package cli

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"lambent.dev/lambent/internal/cli/project"
	"lambent.dev/lambent/internal/client"
	"lambent.dev/lambent/internal/image"
)

// deployImage makes a function of a container image: one in a registry, or one on
// this machine, which a server on this machine then fetches from here.
func (a *app) deployImage(cmd *cobra.Command, f deployFlags) (err error) {
	if f.image, err = imageSource(f.image); err != nil {
		return err
	}
	m, err := f.manifest()
	if err != nil {
		return err
	}
	if m.Name == "" {
		m.Name = project.FunctionName(imageName(f.image))
	}
	d := client.Deploy{
		Image: &f.image, Description: said(m.Description), Arch: said(m.Arch), MemoryMB: said(m.Memory),
		Role: said(m.Role), Network: said(m.Network),
	}
	if m.Timeout != 0 {
		seconds := float64(m.Timeout)
		d.Timeout = &seconds
	}
	if m.Env != nil {
		d.Env = &m.Env
	}
	src := source{manifest: m}
	if m.Port != 0 || m.Command != "" {
		src.guess.App = &project.App{Command: strings.Fields(m.Command)}
	}
	src.application(&d)
	if f.dryRun {
		return a.printf("%s: image %s\n", m.Name, f.image)
	}
	if image.OnDisk(f.image) {
		reference, done, offerErr := image.Offer(cmd.Context(), f.image, m.Arch)
		if offerErr != nil {
			return offerErr
		}
		defer func() { err = errors.Join(err, done()) }()
		d.Image = &reference
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	stop := a.spin("deploying " + m.Name)
	made, err := c.Deploy(cmd.Context(), m.Name, d)
	stop()
	if err != nil {
		return err
	}
	return a.finish(cmd.Context(), c, source{manifest: m}, made, f.noCheck)
}

// imageSource is an image's reference or place as it was given, refused where it is
// neither: the name of a place may be a registry's, too, and would be looked for there.
func imageSource(given string) (string, error) {
	given = strings.TrimPrefix(given, "docker://") // what skopeo calls a registry
	kind, _, _ := strings.Cut(given, ":")
	switch kind {
	case "dir", "docker-daemon", "containers-storage", "tarball":
		return "", usageError{fmt.Errorf("images are read from registries, oci:DIR, oci-archive:FILE and docker-archive:FILE: make one by `skopeo copy %s oci-archive:FILE`", given)}
	}
	if !strings.HasPrefix(given, "/") && !strings.HasPrefix(given, ".") && !strings.Contains(given, ".tar") {
		return given, nil
	}
	switch info, _ := os.Stat(given); {
	case info == nil: // a registry has it, or says that it has not
		return given, nil
	case info.IsDir():
		return "", usageError{fmt.Errorf("%s is a directory: an image in the OCI layout is oci:%[1]s", given)}
	}
	return "", usageError{fmt.Errorf("%s is a file: an image is oci-archive:%[1]s, or docker-archive:%[1]s if `docker save` wrote it", given)}
}

// imageText says what a function of an image runs.
func imageText(f client.Function) string {
	if f.App != nil {
		return fmt.Sprintf("image %s, port %d", printable(f.Image), f.App.Port)
	}
	return "image " + printable(f.Image)
}

// imageName is what a function is called that is made of an image.
func imageName(reference string) string {
	if image.OnDisk(reference) {
		_, reference, _ = strings.Cut(reference, ":")
	}
	name := path.Base(reference)
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return strings.TrimSuffix(name, path.Ext(name))
}

// oneSource wants a directory or a zip, or the image of a flag.
func oneSource(f *deployFlags) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if f.image == "" {
			return exactly(1, "one directory or zip")(cmd, args)
		}
		if len(args) > 0 {
			return usageError{fmt.Errorf("give a directory or --image, not both")}
		}
		return nil
	}
}
