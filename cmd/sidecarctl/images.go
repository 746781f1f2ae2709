package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/paths"
	"tripleo.io/sidecar/service/imagestore"
	"tripleo.io/sidecar/service/policy"
)

// neededImage is an image that launches of agents run.
type neededImage struct {
	Reference   string   `json:"reference"`
	Profiles    []string `json:"profiles"`
	Agents      []string `json:"agents"`
	Present     *bool    `json:"present,omitempty"` // nil: not known
	ID          *string  `json:"id,omitempty"`
	CreatedUSec *int64   `json:"createdUSec,omitempty"`
	Current     *int64   `json:"current,omitempty"`  // sidecars of these agents that run it; nil: not known
	Outdated    *int64   `json:"outdated,omitempty"` // sidecars that a new launch would give it

	prepared bool // the service prepares it ahead of launches
}

// imageOptions are the options of images and of pull.
type imageOptions struct {
	agent string
	dirs  []string
}

func (o *imageOptions) addTo(t *tool, cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.agent, "agent", "", "only images for sidecars of this `AGENT`")
	cmd.Flags().StringArrayVar(&o.dirs, "policy", nil, "read the policy files in this `DIRECTORY`, and in others that are named the same way,"+
		" instead of "+paths.Vendor+" and "+paths.Host)
	cmd.ValidArgsFunction = t.completeProfile
}

// needed returns the images of the profiles, of all if none is named.
func (o *imageOptions) needed(cmd *cobra.Command, profiles []string) (*policy.Set, []*neededImage, error) {
	set, err := loadPolicy(o.dirs)
	if err != nil {
		return nil, nil, err
	}
	needed, err := neededImages(set, given(cmd, "agent", o.agent), profiles)
	return set, needed, err
}

func newImages(t *tool) *cobra.Command {
	var o imageOptions
	cmd := &cobra.Command{
		Use:   "images [PROFILE…]",
		Short: "List the images that sidecars need",
		Long: `List the images that agents' sidecars need, as the agents' files and their profiles
name them: the ID and the age of the image on this host, or "missing"; how many
sidecars of these agents run it (CURRENT), and how many run another image than a new
launch would (OUTDATED); 'sidecarctl recycle --outdated' replaces these. Failed
sidecars do not count.

Only root can see which images the host has. The counts are left out if the service
does not answer. A warning names what could not be looked up.`,
		RunE: t.calling(0, func(cmd *cobra.Command, s service, profiles []string) error {
			set, needed, err := o.needed(cmd, profiles)
			if err != nil {
				return err
			}
			if err := lookForImages(needed, imagestore.Host()); err != nil {
				printWarning(cmd.ErrOrStderr(), fmt.Sprintf("not known which images the host has: %v", err))
			}
			sidecars, err := s.List(cmd.Context(), interfaces.ListParameters{Agent: given(cmd, "agent", o.agent)})
			if err != nil {
				printWarning(cmd.ErrOrStderr(), fmt.Sprintf("not known how many sidecars run them: %s", message(err)))
			} else {
				countSidecars(needed, set, sidecars)
			}
			t.out.images(needed)
			return nil
		}),
	}
	o.addTo(t, cmd)
	return cmd
}

// neededImages returns the images that launches of an agent, or of all agents, run, sorted by
// reference: of the profiles, or of all that the agents are granted.
func neededImages(set *policy.Set, agent *string, profiles []string) ([]*neededImage, error) {
	agents := set.Agents()
	if agent != nil {
		only, ok := set.Agent(*agent)
		if !ok {
			return nil, &interfaces.NoSuchAgentError{Agent: *agent}
		}
		agents = []*policy.Agent{only}
	}
	needed := []*neededImage{}
	granted := map[string]bool{}
	for _, a := range agents {
		for _, p := range set.Granted(a.Name) {
			granted[p.Name] = true
			if len(profiles) == 0 || slices.Contains(profiles, p.Name) {
				needed = addImage(needed, a, p)
			}
		}
	}
	for _, name := range profiles {
		if !granted[name] {
			return nil, &interfaces.NoSuchProfileError{Profile: name}
		}
	}
	slices.SortFunc(needed, func(a, b *neededImage) int { return strings.Compare(a.Reference, b.Reference) })
	return needed, nil
}

func addImage(needed []*neededImage, a *policy.Agent, p *policy.Profile) []*neededImage {
	i := slices.IndexFunc(needed, func(n *neededImage) bool { return n.Reference == p.Image })
	if i < 0 {
		i, needed = len(needed), append(needed, &neededImage{Reference: p.Image})
	}
	n := needed[i]
	if !slices.Contains(n.Profiles, p.Name) {
		n.Profiles = append(n.Profiles, p.Name)
	}
	if !slices.Contains(n.Agents, a.Name) {
		n.Agents = append(n.Agents, a.Name)
	}
	n.prepared = n.prepared || p.Engine == interfaces.EngineRuntime
	return needed
}

// lookForImages says which of the images are in podman's store, and which ones they are. The
// error says why that cannot be known.
func lookForImages(needed []*neededImage, store imagestore.Store) error {
	images, err := store.Images()
	switch {
	case len(store.Files) == 0:
		return errors.New("storage.conf moves podman's store")
	case err != nil && !errors.Is(err, fs.ErrNotExist): // without a list podman has no image
		return unwrapPath(err)
	}
	for _, n := range needed {
		i := slices.IndexFunc(images, func(i imagestore.Image) bool {
			return slices.Contains(i.Names, n.Reference) || slices.Contains(i.Names, n.Reference+":latest")
		})
		switch {
		case i >= 0:
			n.Present, n.ID = new(true), new(images[i].ID)
			if !images[i].Created.IsZero() {
				n.CreatedUSec = new(images[i].Created.UnixMicro())
			}
		case hasRegistry(n.Reference): // podman may find a short name under another one
			n.Present = new(false)
		}
	}
	return nil
}

// hasRegistry reports whether a reference begins with a registry, such as localhost/, as podman
// sees it.
func hasRegistry(reference string) bool {
	first, _, ok := strings.Cut(reference, "/")
	return ok && (first == "localhost" || strings.ContainsAny(first, ".:"))
}

// unwrapPath returns the reason of an error about a file, with the file's name.
func unwrapPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	}
	return err
}

// countSidecars counts the sidecars of each image that have not failed.
func countSidecars(needed []*neededImage, set *policy.Set, sidecars []interfaces.Sidecar) {
	byReference := map[string]*neededImage{}
	for _, n := range needed {
		n.Current, n.Outdated = new(int64(0)), new(int64(0))
		byReference[n.Reference] = n
	}
	for _, s := range sidecars {
		id, err := interfaces.ParseID(s.ID)
		image, _ := set.Image(id.Agent, id.Profile)
		n := byReference[image]
		switch {
		case err != nil || n == nil || !slices.Contains(n.Agents, id.Agent) || s.Runtime.State == interfaces.StateFailed:
		case s.Runtime.ImageOutdated:
			*n.Outdated++
		default:
			*n.Current++
		}
	}
}
