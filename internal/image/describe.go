package image

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent"
)

// read is an image's manifest and configuration, within the limits.
func read(img v1.Image) (*v1.Manifest, *v1.ConfigFile, error) {
	raw, err := img.RawManifest()
	if err != nil {
		return nil, nil, err
	}
	m, err := img.Manifest()
	switch {
	case err != nil:
		return nil, nil, err
	case len(raw) > maxConfig || m.Config.Size > maxConfig:
		return nil, nil, refused("its configuration is larger than %d bytes", maxConfig)
	case len(m.Layers) > maxLayers:
		return nil, nil, refused("it has %d layers, and may have %d", len(m.Layers), maxLayers)
	case len(m.Layers) == 0:
		return nil, nil, refused("it has no layers")
	}
	var size int64
	for _, l := range m.Layers {
		switch {
		case !l.MediaType.IsLayer() || !l.MediaType.IsDistributable():
			return nil, nil, refused("it has a layer of the type %.100q", l.MediaType)
		case l.Digest.Algorithm != "sha256":
			return nil, nil, refused("it has a layer that is named by %.20q", l.Digest.Algorithm)
		case l.Size < 0 || l.Size > maxSize:
			return nil, nil, refused("it is larger than %d bytes", int64(maxSize))
		}
		if size += l.Size; size > maxSize {
			return nil, nil, refused("it is larger than %d bytes", int64(maxSize))
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return nil, nil, refused("its configuration tells of %d layers, its manifest of %d", len(config.RootFS.DiffIDs), len(m.Layers))
	}
	return m, config, nil
}

// describe is what an image is, for a function of that architecture.
func describe(reference string, img v1.Image, arch string) (*lambent.Image, error) {
	m, file, err := read(img)
	if err != nil {
		return nil, err
	}
	if err := fits(reference, file, arch); err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	c := file.Config
	volumes := slices.Sorted(maps.Keys(c.Volumes))
	if n := len(c.Entrypoint) + len(c.Cmd) + len(c.Env) + len(volumes); n > maxArgs {
		return nil, refused("its configuration has %d arguments, variables and volumes", n)
	}
	for _, s := range slices.Concat(c.Entrypoint, c.Cmd, c.Env, volumes, []string{c.WorkingDir, c.User}) {
		if strings.IndexByte(s, 0) >= 0 {
			return nil, refused("its configuration has a zero byte")
		}
	}
	i := &lambent.Image{
		Reference: reference, Digest: digest.String(), EntryPoint: c.Entrypoint, Command: c.Cmd,
		Directory: cmp.Or(c.WorkingDir, "/"), User: c.User, Env: c.Env, Port: firstPort(c.ExposedPorts),
		Volumes: volumes, StopSignal: signalOf(c.StopSignal),
	}
	for _, l := range m.Layers {
		i.Layers = append(i.Layers, lambent.Digest(l.Digest.Hex))
	}
	return i, nil
}

// fits refuses an image that cannot run here as what the function is.
func fits(reference string, file *v1.ConfigFile, arch string) error {
	want := platform(arch)
	switch {
	case cmp.Or(file.OS, "linux") != "linux":
		return foreign(reference, file.OS+"/"+file.Architecture, arch)
	case file.Architecture != want.Architecture:
		return foreign(reference, file.Architecture, arch)
	case arch != lambent.HostArch():
		return lambent.Errorf(lambent.CodeInvalid, "Source image %s is for %s, and this host is %s: it cannot run here.", reference, arch, lambent.HostArch()).WithReason(ReasonInvalid)
	}
	return nil
}

func foreign(reference, have, arch string) error {
	return lambent.Errorf(lambent.CodeInvalid, "Source image %s is for %s, and the function is for %s: choose another image, or the architecture of the function.",
		reference, have, arch).WithReason(ReasonInvalid)
}

// fromIndex finds the image for a platform.
func fromIndex(reference string, index v1.ImageIndex, p v1.Platform) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var others []string
	for _, d := range m.Manifests {
		if d.Platform == nil || !d.MediaType.IsImage() {
			continue
		}
		if d.Platform.OS == p.OS && d.Platform.Architecture == p.Architecture {
			return index.Image(d.Digest)
		}
		if d.Platform.OS != "unknown" && len(others) < 8 { // attestations have no platform
			others = append(others, d.Platform.OS+"/"+d.Platform.Architecture)
		}
	}
	return nil, lambent.Errorf(lambent.CodeInvalid, "Source image %s has nothing for linux/%s, only for: %s.",
		reference, p.Architecture, cmp.Or(strings.Join(others, ", "), "nothing")).WithReason(ReasonInvalid)
}

// firstPort is the lowest port of TCP that an image exposes ("8080/tcp").
func firstPort(exposed map[string]struct{}) int {
	lowest := 0
	for text := range exposed {
		number, proto, _ := strings.Cut(text, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err == nil && n > 0 && (proto == "" || proto == "tcp") && (lowest == 0 || int(n) < lowest) {
			lowest = int(n)
		}
	}
	return lowest
}

// signals are those that images name to be ended by, as Linux numbers them on all
// processors that functions run on (signal(7)).
var signals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "USR1": 10, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
	"CONT": 18, "URG": 23, "XCPU": 24, "VTALRM": 26, "WINCH": 28, "IO": 29, "PWR": 30,
	"RTMIN": firstRealTime, "RTMAX": lastSignal,
}

const (
	firstRealTime = 34 // the C library keeps the two before
	lastSignal    = 64
)

// signalOf is the signal of a name or number ("SIGQUIT", "3", "SIGRTMIN+3"); 0 where it is none.
func signalOf(text string) int {
	name, plus, _ := strings.Cut(strings.TrimPrefix(strings.ToUpper(text), "SIG"), "+")
	n, known := signals[name]
	if !known {
		n, _ = strconv.Atoi(name) // 0 when it is none
	}
	if plus != "" {
		more, err := strconv.ParseUint(plus, 10, 8)
		if err != nil || n != firstRealTime {
			return 0
		}
		n += int(more)
	}
	if n < 1 || n > lastSignal {
		return 0
	}
	return n
}

func refused(format string, args ...any) error {
	e := lambent.Errorf(lambent.CodeInvalid, format, args...).WithReason(ReasonInvalid)
	e.Message = "The image cannot be used: " + e.Message + "."
	return e
}
