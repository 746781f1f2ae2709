package testhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
)

// CopyIn copies a file or directory of the machine into a directory of the
// host, which is made if need be. The copy has the same base name and is
// owned by root.
func (h *Host) CopyIn(ctx context.Context, source, directory string) error {
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := packOuter(ctx, source, writer)
		_ = writer.CloseWithError(err)
		packed <- err
	}()
	err := h.tar(ctx, reader, nil, "mkdir -p \"$1\" && exec tar -C \"$1\" -xf - --no-same-owner", directory)
	_ = reader.CloseWithError(err) // ends the packer when nobody reads any more
	if err := errors.Join(err, <-packed); err != nil {
		return fmt.Errorf("copy %s into the host: %w", source, err)
	}
	return nil
}

// CopyOut copies a file or directory of the host into a directory of the
// machine, which must exist. The copy has the same base name.
func (h *Host) CopyOut(ctx context.Context, source, directory string) error {
	unpack := exec.CommandContext(ctx, "tar", "-C", directory, "--xattrs", "--xattrs-include=*", "-xpf", "-")
	reader, writer := io.Pipe()
	var stderr bytes.Buffer
	unpack.Stdin, unpack.Stderr = reader, &stderr
	if err := unpack.Start(); err != nil {
		return err
	}
	err := h.tar(ctx, nil, writer, "exec tar -C \"$1\" --xattrs --xattrs-include='*' -cf - -- \"$2\"",
		filepath.Dir(source), filepath.Base(source))
	_ = writer.CloseWithError(err)
	if waitErr := unpack.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("%w: %s", waitErr, lastLines(stderr.String(), 5))
	}
	if err != nil {
		return fmt.Errorf("copy %s out of the host: %w", source, err)
	}
	return nil
}

// packOuter writes a tar archive of a file or directory of the machine.
func packOuter(ctx context.Context, source string, output io.Writer) error {
	source, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	pack := exec.CommandContext(ctx, "tar", "-C", filepath.Dir(source), "-cf", "-", "--", filepath.Base(source))
	pack.Stdout, pack.Stderr = output, &stderr
	if err := pack.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(stderr.String(), 5))
	}
	return nil
}

// tar runs one end of a copy in the host.
func (h *Host) tar(ctx context.Context, input io.Reader, output io.Writer, script string, args ...string) error {
	var stderr bytes.Buffer
	code, err := h.Run(ctx, Command{
		Args:  append([]string{"sh", "-c", script, "tar"}, args...),
		Stdin: input, Stdout: output, Stderr: &stderr,
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, lastLines(stderr.String(), 5))
	}
	return err
}
