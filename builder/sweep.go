package builder

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
)

// How long names in the store outlive their use.
const (
	keepBuilt   = 24 * time.Hour     // an image that was never deployed
	keepFetched = 7 * 24 * time.Hour // an image builds start from
	keepBase    = 7 * 24 * time.Hour // a base image of packages that have been replaced
)

// preparedPrefix begins the names under which the engine keeps the images of revisions itself (package
// engine/containerd).
const preparedPrefix = "apron/"

// builtNames matches the names builtName makes.
var builtNames = regexp.MustCompile(`^apron\.build/[0-9a-f]{32}:([0-9a-f]{32})$`)

// sweep lets go of names in the store that have served: of built images the engine keeps by now, or
// that nobody deployed, and of what builds started from long ago. What cannot be removed now is seen
// again by the next sweep.
func (b *Builder) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	all, err := b.store.client.ImageService().List(ctx)
	if err != nil {
		b.cfg.Log.Warn("old images could not be looked for", "err", err)
		return
	}
	for _, name := range outlived(all, b.cfg.Now()) {
		if err := b.store.drop(ctx, name); err != nil {
			b.cfg.Log.Warn("an old image is left", "image", name, "err", err)
		}
	}
}

// outlived returns the names to let go of at now.
func outlived(all []images.Image, now time.Time) (names []string) {
	prepared := map[string]bool{}
	newest := map[string]time.Time{} // of base images of the same kind
	for _, img := range all {
		if id, ok := strings.CutPrefix(img.Name, preparedPrefix); ok {
			prepared[id] = true
		}
		if kind := kindOf(img); kind != "" && img.CreatedAt.After(newest[kind]) {
			newest[kind] = img.CreatedAt
		}
	}
	for _, img := range all {
		age := now.Sub(img.UpdatedAt)
		built := builtNames.FindStringSubmatch(img.Name)
		kind := kindOf(img)
		switch {
		case built != nil && (prepared[built[1]] || age > keepBuilt),
			strings.HasPrefix(img.Name, imageHost+"fetched:") && age > keepFetched,
			kind != "" && img.CreatedAt.Before(newest[kind]) && age > keepBase:
			names = append(names, img.Name)
		}
	}
	return names
}

// kindOf tells base images apart by what they are for; empty: it is none that was made here.
func kindOf(img images.Image) string {
	if img.Labels[labelRole] == "" {
		return ""
	}
	return strings.Join([]string{img.Labels[labelBase], img.Labels[labelVersion], img.Labels[labelRole]}, " ")
}
