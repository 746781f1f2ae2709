package podman

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
)

// Label is on every container that the engine makes. Its value is the sidecar's ID.
const Label = "io.tripleo.sidecar.id"

// Container is a container that podman has, in any state.
type Container struct{ ID, Name string }

// Containers lists the containers with [Label]. program is the path of podman.
func Containers(ctx context.Context, program string) ([]Container, error) {
	out, err := exec.CommandContext(ctx, program, "--events-backend=none", "ps", "--all", "--filter=label="+Label, "--format=json").Output()
	if err != nil {
		return nil, fmt.Errorf("%s ps: %w", program, err)
	}
	return parse(out)
}

// parse reads podman's list.
func parse(text []byte) ([]Container, error) {
	var listed []struct {
		Names  []string
		Labels map[string]string
	}
	if err := json.Unmarshal(text, &listed); err != nil {
		return nil, fmt.Errorf("podman's list of containers: %v", err)
	}
	var all []Container
	for _, l := range listed {
		if len(l.Names) == 1 {
			all = append(all, Container{l.Labels[Label], l.Names[0]})
		}
	}
	return all, nil
}

// RemovalOf removes a container by its name, as [Engine.Removal] does.
func RemovalOf(program, name string) []string {
	return []string{program, "--events-backend=none", "--log-level=error", "rm", "-f", "-i", "-t", "0", name}
}
