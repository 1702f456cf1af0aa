package catalog

import (
	"context"
	"strings"
	"sync"
	"time"

	"lambent.dev/lambent"
)

// PackageImage is the package type of functions that are made of an image.
const PackageImage = "Image"

// Images finds container images and brings their layers in. Errors of Resolve are
// lambent.Errors whose messages may be shown as they are; so are those of Pull,
// and where their reason is one of AWS's reason codes the version gets it.
type Images interface {
	Resolve(ctx context.Context, reference, arch string) (*lambent.Image, error)
	Pull(ctx context.Context, i *lambent.Image) error
}

// maxPulls is how many functions' images come in at the same time, and pullAgain
// the wait after a write that failed.
const (
	maxPulls  = 2
	pullAgain = 5 * time.Second
)

// resolveImage makes v refer to an image.
func (c *Catalog) resolveImage(ctx context.Context, v *lambent.Version, reference string) error {
	switch {
	case c.o.Images == nil:
		return lambent.Errorf(lambent.CodeUnsupported, "Functions with the package type Image are not supported by this server").WithReason("PackageType")
	case reference == "":
		return invalid("NoSource", "Please provide a source for function code.")
	}
	i, err := c.o.Images.Resolve(ctx, reference, v.Arch)
	if err != nil {
		return err
	}
	v.Image = i
	v.Code = lambent.CodeRef{Digest: lambent.Digest(strings.TrimPrefix(i.Digest, "sha256:"))}
	return nil
}

// checkImage refuses what a function with an image has from the image.
func checkImage(v *lambent.Version, layers []string) error {
	if v.PackageType == PackageImage && (v.Runtime != "" || v.Handler != "" || len(layers) > 0) {
		return invalid("ImageConfiguration", "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.")
	}
	return nil
}

// checkRuntime tells whether the runtime of v can run here. An image brings its own.
func (c *Catalog) checkRuntime(v *lambent.Version) (warning string, err error) {
	if v.PackageType == PackageImage {
		return "", nil
	}
	return c.o.Runtimes.Check(v.Runtime, v.Arch)
}

// until is how a version settles: at once, or when its image is here.
func (c *Catalog) until(v *lambent.Version, warning string) settlement {
	s := settlement{RevisionID: c.o.NewID(), Reason: warning}
	if v.Image != nil {
		s.Image = new(imageRecord(*v.Image))
	}
	return s
}

// keepImage gives the head of f, which is being updated, the image back that it
// had: until the new one is here it can be called with that.
func (c *Catalog) keepImage(f *function, had *lambent.Version) {
	kept := *f.head
	kept.Image, kept.Code = had.Image, had.Code
	f.put(&kept)
}

// waiting are the versions whose images are on their way.
func (f *function) waiting() map[string]settlement {
	all := map[string]settlement{}
	if f != nil {
		for number, s := range f.unsettled {
			if s.Image != nil {
				all[number] = s
			}
		}
	}
	return all
}

// fail is apply for a version whose image did not come.
func (s settlement) fail(v *lambent.Version, err error) {
	v.RevisionID = s.RevisionID
	code := lambent.ReasonOf(err)
	switch code {
	case "ImageDeleted", "ImageAccessDenied", "InvalidImage":
	case "InvalidLayer":
		code = "InvalidImage"
	default:
		code = "InternalError"
	}
	if v.State == lambent.StatePending {
		v.State, v.StateReason, v.StateReasonCode = lambent.StateFailed, err.Error(), code
		return
	}
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = lambent.UpdateFailed, err.Error(), code
}

// pulls are the functions whose images are being brought in. Run owns them.
type pulls struct {
	places chan struct{}
	work   sync.WaitGroup

	mu   sync.Mutex // guards the rest
	busy map[id]bool
}

func newPulls() *pulls { return &pulls{places: make(chan struct{}, maxPulls), busy: map[id]bool{}} }

// begin tells whether the caller is the one to work on k.
func (p *pulls) begin(k id) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[k] {
		return false
	}
	p.busy[k] = true
	return true
}

func (p *pulls) end(k id) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, k)
}

// bring starts to bring in the images that a function waits for, unless that is
// being done.
func (c *Catalog) bring(ctx context.Context, p *pulls, k id) {
	if len(c.functions.get(k).waiting()) == 0 || !p.begin(k) {
		return
	}
	p.work.Go(func() {
		select {
		case p.places <- struct{}{}:
			defer func() { <-p.places }()
		case <-ctx.Done():
			return
		}
		again := c.pull(ctx, k)
		p.end(k)
		if again {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.makeDue(k)
		}
	})
}

// pull brings in the images that a function waits for, and writes what came of
// it. A server that stops leaves it to the next one.
func (c *Catalog) pull(ctx context.Context, k id) (again bool) {
	waiting, failed := c.functions.get(k).waiting(), map[string]error{}
	for number, s := range waiting {
		i := lambent.Image(*s.Image)
		if err := c.pullImage(ctx, &i); err != nil {
			failed[number] = err
			c.o.Log.Warn("an image cannot be brought in", "ns", k.ns, "fn", k.name, "image", i.Reference, "err", err)
		}
	}
	if ctx.Err() != nil {
		return false
	}
	var settled []string
	err := c.change(ctx, k, func(old *function) (*function, error) {
		settled = nil
		if old == nil {
			return nil, nil
		}
		next := old.clone()
		for number, s := range waiting {
			v := next.version(number)
			if v == nil || next.unsettled[number].RevisionID != s.RevisionID {
				continue // deleted and made anew meanwhile
			}
			done := *v
			if err := failed[number]; err != nil {
				s.fail(&done, err)
			} else {
				s.apply(&done)
			}
			next.put(&done)
			delete(next.unsettled, number)
			settled = append(settled, number)
		}
		if settled == nil {
			return old, nil
		}
		return next, nil
	})
	if err != nil {
		c.o.Log.Error("write what became of an image", "ns", k.ns, "fn", k.name, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pullAgain):
		}
		return true
	}
	c.changed(k, settled...)
	c.wanted(k)
	return true
}

func (c *Catalog) pullImage(ctx context.Context, i *lambent.Image) error {
	if c.o.Images == nil { // this server was configured otherwise when the function was made
		return lambent.Errorf(lambent.CodeUnsupported, "this server takes no images")
	}
	return c.o.Images.Pull(ctx, i)
}

// makeDue has Run look at a function. The caller holds mu.
func (c *Catalog) makeDue(k id) {
	c.due[k] = true
	select {
	case c.wake <- struct{}{}:
	default: // Run is woken already and takes all that is due
	}
}
