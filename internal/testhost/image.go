package testhost

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// store returns the directory with the podman storage that holds the
// configuration's images, and makes it when it is not there. It is empty
// when there are no images.
func (c Config) store(ctx context.Context, tree string) (string, error) {
	if len(c.Spec.Images) == 0 {
		return "", nil
	}
	return c.makeOnce(ctx, storeName(c), func(dir string) error {
		c.logf("making %d container image(s) of %s: once, some seconds", len(c.Spec.Images), c.Release)
		return c.buildStore(ctx, tree, dir)
	})
}

// buildStore boots a host without images, makes them in it, and takes its
// storage. So they are made by the podman that uses them.
func (c Config) buildStore(ctx context.Context, tree, dir string) (err error) {
	c.Install = nil
	host, err := c.boot(ctx, tree, "")
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := host.Close(); err == nil {
			err = closeErr
		}
	}()
	for _, image := range c.Spec.Images {
		if err := host.makeImage(ctx, image); err != nil {
			return err
		}
	}
	return host.CopyOut(ctx, "/var/lib/containers/storage", dir)
}

// makeImage runs the script that makes an image, in the host.
func (h *Host) makeImage(ctx context.Context, image Image) error {
	var output bytes.Buffer
	code, err := h.Run(ctx, Command{
		Args: []string{
			"sh", "-s", "--", image.Name, strings.Join(image.Programs, " "),
			strings.Join(image.Files, " "), strings.Join(image.Applets, " "),
		},
		Stdin:  strings.NewReader(imageScript),
		Stdout: &output,
		Stderr: &output,
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d\n%s", code, lastLines(output.String(), 15))
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", image.Name, err)
	}
	return nil
}
