package testhost

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Journal writes the last lines of the host's journal to output. pattern
// selects units, as in journalctl -u: "sidecar*"; empty means everything.
func (h *Host) Journal(ctx context.Context, output io.Writer, pattern string, lines int) error {
	argv := []string{
		"journalctl", "--no-pager", "--quiet", "--all",
		"--output=short-precise", "--lines=" + strconv.Itoa(lines),
	}
	if pattern != "" {
		argv = append(argv, "--unit="+pattern)
	}
	code, err := h.Run(ctx, Command{Args: argv, Stdout: output, Stderr: output})
	if err == nil && code != 0 {
		err = fmt.Errorf("journalctl: exit code %d", code)
	}
	return err
}

// FailedUnits returns the names of the host's units that have failed.
func (h *Host) FailedUnits(ctx context.Context) ([]string, error) {
	var output bytes.Buffer
	argv := []string{"systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager"}
	code, err := h.Run(ctx, Command{Args: argv, Stdout: &output, Stderr: &output})
	if err == nil && code != 0 {
		err = fmt.Errorf("systemctl: exit code %d: %s", code, output.String())
	}
	if err != nil {
		return nil, err
	}
	return firstFields(output.String()), nil
}

// firstFields returns the first word of every line.
func firstFields(text string) []string {
	var words []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 {
			words = append(words, fields[0])
		}
	}
	return words
}
