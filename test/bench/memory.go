package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// overheadOf is over how many sidecars the overhead is averaged.
const overheadOf = 20

// benchOverhead measures the memory that each sidecar takes beside its payload.
func (b *bench) benchOverhead(ctx context.Context) error {
	networks, err := newNetworks(ctx, "memory", 0, overheadOf)
	if err != nil {
		return err
	}
	for _, engine := range []struct {
		figure, profile string
		there           bool
	}{
		{"overhead_mb", profile, true},
		{"runtime_overhead_mb", runtimeProfile, b.runtime},
	} {
		if !engine.there {
			continue
		}
		mb, err := b.overhead(ctx, networks, engine.profile)
		if err != nil {
			return err
		}
		report(engine.figure, mb, "MB")
	}
	return nil
}

// overhead launches a sidecar in each network, and returns the memory beside their
// payloads in MB, divided by their number.
func (b *bench) overhead(ctx context.Context, networks []network, profile string) (float64, error) {
	sidecars, err := b.launchAll(ctx, networks, profile, callers)
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, s := range sidecars {
		mb, err := besidePayload(ctx, s)
		if err != nil {
			return 0, fmt.Errorf("memory of %s: %w", s.ID, err)
		}
		sum += mb
	}
	return sum / float64(len(sidecars)), b.stopAll(ctx, sidecars)
}

// besidePayload returns the memory of the processes in the sidecar's control group that are
// not in the payload's pid namespace, in MB (Pss in proc_pid_smaps(5)): pages that several
// processes share count once in all.
func besidePayload(ctx context.Context, s *interfaces.Sidecar) (float64, error) {
	if s.Runtime.ProcessID == nil {
		return 0, errors.New("the payload's process is not known")
	}
	payload, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", *s.Runtime.ProcessID))
	if err != nil {
		return 0, err
	}
	pids, err := processes(ctx, s.Runtime.Unit)
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, pid := range pids {
		mb, err := pssOutside(pid, payload)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) { // it may have ended
			return 0, err
		}
		sum += mb
	}
	return sum, nil
}

// pssOutside returns the process's memory, 0 if the process is in this pid namespace.
func pssOutside(pid, namespace string) (float64, error) {
	own, err := os.Readlink("/proc/" + pid + "/ns/pid")
	if err != nil || own == namespace {
		return 0, err
	}
	return megabytes("/proc/"+pid+"/smaps_rollup", "Pss:")
}

// processes returns the processes in the unit's control group and those below it.
func processes(ctx context.Context, unit string) ([]string, error) {
	group, err := output(ctx, "systemctl", "show", "-P", "ControlGroup", unit)
	if err != nil {
		return nil, err
	}
	var pids []string
	root := filepath.Join("/sys/fs/cgroup", strings.TrimSpace(group))
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "cgroup.procs" {
			return err
		}
		text, err := os.ReadFile(path)
		pids = append(pids, strings.Fields(string(text))...)
		return err
	})
	return pids, err
}

// daemonRSS is the daemon's resident memory in MB.
func daemonRSS(ctx context.Context) (float64, error) {
	pid, err := daemonPID(ctx)
	if err != nil {
		return 0, err
	}
	return megabytes(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
}

func daemonPID(ctx context.Context) (int, error) {
	text, err := output(ctx, "systemctl", "show", "-P", "MainPID", "sidecard")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(text))
}

// megabytes returns a number of kB, as proc(5) calls 1024 bytes, in a file of the form
// "KEY: NUMBER kB".
func megabytes(path, key string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == key {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, key)
}
