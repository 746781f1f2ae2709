package launch

import (
	"fmt"
	"os/exec"
	"strings"
)

// Remove runs the program argv, which takes away what an engine left behind. If
// it fails it is run once more: podman 5.4 fails to remove a container whose
// monitor was killed, but notes that it has ended, and can remove it then. What
// it prints is part of the error, and is worth nothing otherwise. It has as long
// as systemd gives it.
func Remove(argv []string) error {
	if runQuietly(argv) == nil {
		return nil
	}
	return runQuietly(argv)
}

func runQuietly(argv []string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %v: %s", argv[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
