package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/engine/podman"
)

// sidecars lists the sidecars, or says why that cannot be done.
func (h *Host) sidecars(ctx context.Context) ([]interfaces.Sidecar, []Finding) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	all, err := h.Service.List(ctx, interfaces.ListParameters{})
	if err != nil {
		return nil, blind("sidecars", err, "'sidecarctl doctor service' says how to mend the service")
	}
	return all, nil
}

// listed lists podman's containers of sidecars.
func (h *Host) listed(ctx context.Context) ([]podman.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return h.Podman(ctx)
}

func (h *Host) lookAtUnits(ctx context.Context) []Finding {
	all, found := h.sidecars(ctx)
	var names map[string]bool // of podman's containers
	for _, s := range all {
		if s.Runtime.State == interfaces.StateReady && s.Runtime.Engine == interfaces.EnginePodman && names == nil {
			containers, err := h.listed(ctx)
			if err != nil {
				return blind("podman", err, "'podman ps -a' as root says why")
			}
			names = map[string]bool{}
			for _, c := range containers {
				names[c.Name] = true
			}
		}
		if finding := h.wrongUnit(s, names); finding != nil {
			found = append(found, *finding)
		}
	}
	return found
}

// wrongUnit says what is wrong with a sidecar's unit, if anything is. names are podman's containers.
func (h *Host) wrongUnit(s interfaces.Sidecar, names map[string]bool) *Finding {
	r := s.Runtime
	id, _ := interfaces.ParseID(s.ID) // the service's own
	finding := &Finding{Level: Error, Subject: s.ID, Advice: "'systemctl restart " + r.Unit + "' starts it again as it was launched"}
	switch {
	case r.State == interfaces.StateFailed:
		finding.Level, finding.Problem = Warning, "it has failed"
		if r.Result != nil {
			finding.Problem += ": " + *r.Result
		}
		finding.Advice = "'journalctl SIDECAR_ID=" + s.ID + "' says why; its agent launches it again, 'sidecarctl stop " + s.ID + "' forgets it"
	case r.State != interfaces.StateReady:
		return nil
	case r.ProcessID == nil || !h.inUnit(*r.ProcessID, r.Unit) || h.isZombie(*r.ProcessID):
		finding.Problem = "its unit is active, but its process does not exist"
	case r.Engine == interfaces.EnginePodman && !names[id.Container()]:
		finding.Problem = "its unit is active, but podman has no container " + id.Container()
	default:
		return nil
	}
	return finding
}

// inUnit reports whether a process is in a unit's control group.
func (h *Host) inUnit(pid int64, unit string) bool {
	text, err := os.ReadFile(h.path("proc", fmt.Sprint(pid), "cgroup"))
	return err == nil && strings.Contains(strings.ReplaceAll(string(text), "\n", "/"), "/"+unit+"/")
}

// isZombie reports whether a process has ended, and its parent has not asked for that.
func (h *Host) isZombie(pid int64) bool {
	text, err := os.ReadFile(h.path("proc", fmt.Sprint(pid), "status"))
	return err == nil && strings.Contains(string(text), "\nState:\tZ")
}

func (h *Host) lookAtContainers(ctx context.Context) []Finding {
	containers, err := h.listed(ctx)
	if err != nil {
		return blind("podman", err, "'podman ps -a' as root says why")
	}
	var found []Finding
	for _, c := range containers {
		id, err := interfaces.ParseID(c.ID)
		if err != nil || h.hasUnit(id.Unit()) || h.hasUnit(c.Name+".service") {
			continue
		}
		found = append(found, Finding{
			Level: Warning, Subject: c.Name, Problem: "the container of sidecar " + c.ID + " has no unit",
			Advice: "'systemctl start sidecar-clean.service' removes it",
		})
	}
	return found
}

// lookAtPIDFiles compares what runs with what agents read: an agent signals the number in a pid
// file. The files of an agent with stand-ins hold numbers of its own pid namespace.
func (h *Host) lookAtPIDFiles(ctx context.Context) []Finding {
	set, err := h.Policy()
	if err != nil {
		return blind("agents", err, "'sidecarctl check' shows every problem")
	}
	all, found := h.sidecars(ctx)
	for _, s := range all {
		id, _ := interfaces.ParseID(s.ID) // the service's own
		agent, ok := set.Agent(id.Agent)
		if s.Runtime.State == interfaces.StateReady && s.Runtime.ProcessID != nil && ok && !agent.StandIns {
			found = append(found, h.wrongPIDFiles(s)...)
		}
	}
	return found
}

// wrongPIDFiles says what is wrong with the pid files of a sidecar that is ready.
func (h *Host) wrongPIDFiles(s interfaces.Sidecar) []Finding {
	unit := s.Runtime.Unit
	d, err := h.document(unit)
	if err != nil {
		return blind(s.ID, err, "'systemctl cat "+unit+"' shows its unit")
	}
	var found []Finding
	for i, file := range d.PIDFiles {
		pid, err := readPID(h.path(file.Root), file.Path)
		problem := ""
		switch {
		case err != nil:
			problem = err.Error()
		case i == 0 && pid != *s.Runtime.ProcessID:
			problem = fmt.Sprintf("it names process %d, the sidecar's is %d", pid, *s.Runtime.ProcessID)
		case !h.inUnit(pid, unit):
			problem = fmt.Sprintf("it names process %d, which is not in the unit", pid)
		default:
			continue
		}
		found = append(found, Finding{
			Level: Error, Subject: s.ID, Problem: file.String() + ": " + problem,
			Advice: "'systemctl restart " + unit + "' starts it again and writes the file",
		})
	}
	return found
}

// readPID reads the number in an agent's file beneath root, which may be anything: no links are
// followed, and only a plain file is opened.
func readPID(root, path string) (int64, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(dir)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, path, how)
	if err != nil {
		return 0, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, fmt.Errorf("it is not a plain file (%v)", err)
	}
	opened, err := os.Open(filepath.Join("/proc/self/fd", fmt.Sprint(fd)))
	if err != nil {
		return 0, err
	}
	defer opened.Close()
	text := make([]byte, 32)
	n, _ := opened.Read(text) // the error of an empty file is told below
	var pid int64
	if _, err := fmt.Sscan(string(text[:n]), &pid); err != nil || pid <= 0 {
		return 0, fmt.Errorf("it holds no process ID")
	}
	return pid, nil
}
