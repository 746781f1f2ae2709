package launcher

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// tellLimit bounds the wait for the service manager to read whose memory limit was reached.
const tellLimit = time.Second

// TellOutOfMemory tells the service manager whose memory limit was reached when the kernel killed
// the payload. It must be called in the unit, in ExecStopPost.
func (l Launcher) TellOutOfMemory(socket string) error {
	directory, err := ownDirectory("/proc")
	if err != nil {
		return err
	}
	limit, err := memoryLimit(directory)
	if err != nil {
		return fmt.Errorf("whose memory limit was reached: %w", err)
	}
	return Notify(socket, "STATUS="+memoryPrefix+string(limit), tellLimit)
}

// memoryLimit says whose limit was reached, by the events of the control groups of the unit and of
// the agent's slice that it lies in. The kernel counts "oom" where the limit is, and above, but
// "oom_kill" wherever it killed (cgroup-v2.rst). The slice's events are of all its sidecars since
// the slice was made: after a first one at its limit, one at the host's is told as one at its, too.
func memoryLimit(unit string) (interfaces.MemoryLimit, error) {
	own, err := outOfMemory(unit + "/memory.events")
	if err != nil || own {
		return interfaces.MemoryLimitProfile, err
	}
	slice := path.Dir(unit)
	most, err := os.ReadFile(slice + "/memory.max")
	if err != nil {
		return "", err
	}
	agents, err := outOfMemory(slice + "/memory.events.local")
	if err == nil && agents && strings.TrimSpace(string(most)) != "max" {
		return interfaces.MemoryLimitAgent, nil
	}
	return interfaces.MemoryLimitHost, err
}

// outOfMemory reports whether a file of events counts a limit that was reached.
func outOfMemory(file string) (bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "oom "); ok {
			count, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
			return count > 0, err
		}
	}
	return false, fmt.Errorf("%s: no line with oom", file)
}
