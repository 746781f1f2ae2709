package oci

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

// Containers lists the sidecars whose containers an OCI runtime has, in any state, each with the
// command that removes it. Containers of a runtime that is not on the host any more are left out.
func Containers() (map[string][]string, error) { return containersIn(states) }

func containersIn(states string) (map[string][]string, error) {
	runtimes, err := os.ReadDir(states)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	all := map[string][]string{}
	for _, runtime := range runtimes {
		program, missing := exec.LookPath(runtime.Name())
		directory := filepath.Join(states, runtime.Name())
		entries, readErr := os.ReadDir(directory)
		err = errors.Join(err, readErr)
		for _, entry := range entries {
			if _, invalid := interfaces.ParseID(entry.Name()); invalid == nil && missing == nil {
				all[entry.Name()] = []string{program, "--root=" + directory, document.OwnGroupOption(program), "delete", "--force", entry.Name()}
			}
		}
	}
	return all, err
}
