package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/imagestore"
)

// Results of a pull.
const (
	pullNew       = "new"       // podman has another image of this name now
	pullUnchanged = "unchanged" // podman had it already
	pullLocal     = "local"     // it was built on this host, and no registry has it
)

// pulled is an image that was pulled.
type pulled struct {
	Reference string `json:"reference"`
	ID        string `json:"id"`
	Result    string `json:"result"`
}

const (
	// localPrefix begins the names of images that podman has built.
	localPrefix = "localhost/"
	// interruptGrace is how long podman may take to end after an interrupt.
	interruptGrace = 10 * time.Second
	// maxReason is how much of podman's last line an error shows, in bytes.
	maxReason = 2000
)

func newPull(t *tool) *cobra.Command {
	var o imageOptions
	cmd := &cobra.Command{
		Use:   "pull [PROFILE…]",
		Short: "Pull the images that sidecars need",
		Long: `Pull the images that the agents' files and their profiles name with podman-pull(1),
one after the other, and show for each whether podman has a new image of this name
now (new), or the same as before (unchanged). On a terminal podman shows its progress. If an
image cannot be pulled, the others are pulled nevertheless, and the first failure
gives the exit code.

Images of localhost/ are "local": they are built on the host, and it is a failure
only if one is missing.

At the end the service is reloaded if one of the profiles has engine = "runtime", so
that it prepares the images for launches. Sidecars that run keep their image;
'sidecarctl recycle --outdated' replaces them.

Only root can pull, and only in the host's own network namespace.`,
		RunE: func(cmd *cobra.Command, profiles []string) error {
			_, needed, err := o.needed(cmd, profiles)
			if err == nil {
				err = mayPull()
			}
			if err != nil {
				return err
			}
			p := puller{out: cmd.ErrOrStderr()}
			done, err := p.pullAll(cmd.Context(), needed)
			t.out.pulled(done)
			return err
		},
	}
	o.addTo(t, cmd)
	return cmd
}

// mayPull refuses to pull into the store of a user other than root, from which no sidecar runs, or
// from inside a tenant's network.
func mayPull() error {
	switch {
	case os.Geteuid() != 0:
		return errors.New("pull: only root can pull into the store of the host's podman, from which sidecars run")
	case !inHostNetwork():
		return errors.New("pull: this is not the host's network namespace; run it outside of 'ip netns exec'")
	}
	return nil
}

// inHostNetwork reports whether this process is in the network namespace of process 1, as far
// as it may see that.
func inHostNetwork() bool {
	own, ownErr := os.Stat("/proc/self/ns/net")
	host, hostErr := os.Stat("/proc/1/ns/net")
	return ownErr != nil || hostErr != nil || os.SameFile(own, host)
}

// puller runs podman.
type puller struct {
	out io.Writer // standard error
}

// pullAll pulls the images, and has the service prepare them if that is needed.
func (p puller) pullAll(ctx context.Context, needed []*neededImage) (done []pulled, err error) {
	unknown := lookForImages(needed, imagestore.Host())
	prepare := false
	var errs []error
	for _, n := range needed {
		one, err := p.pull(ctx, n, unknown == nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.Reference, err))
			continue
		}
		done, prepare = append(done, one), prepare || n.prepared
	}
	if prepare {
		// A service that does not run prepares its images when it starts.
		if out, err := exec.CommandContext(ctx, "systemctl", "try-reload-or-restart", "sidecard.service").CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("the images were pulled, but sidecard was not reloaded to prepare them: %w: %s", err, lastLine(string(out))))
		}
	}
	return done, errors.Join(errs...)
}

// pull pulls one image.
func (p puller) pull(ctx context.Context, n *neededImage, known bool) (pulled, error) {
	if strings.HasPrefix(n.Reference, localPrefix) {
		if known && n.ID == nil {
			return pulled{}, errors.New("it is not on this host, and cannot be pulled: build it, or name an image of a registry in the profile or in the agent's file")
		}
		return pulled{n.Reference, textOr(n.ID, ""), pullLocal}, nil
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "podman", "pull", n.Reference)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if isTerminal(p.out) {
		cmd.Stderr = p.out // with podman's progress
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = interruptGrace
	printPulling(p.out, n)
	if err := cmd.Run(); err != nil {
		if said := lastLine(stderr.String()); said != "" {
			err = errors.New(strings.TrimPrefix(said, "Error: "))
		}
		return pulled{}, fmt.Errorf("podman pull: %w", err)
	}
	id := lastLine(stdout.String())
	if n.ID != nil && *n.ID == id {
		return pulled{n.Reference, id, pullUnchanged}, nil
	}
	return pulled{n.Reference, id, pullNew}, nil
}

// lastLine returns the last line that has text.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	line := text[strings.LastIndexByte(text, '\n')+1:]
	return line[:min(len(line), maxReason)]
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
