package policy

import (
	"math"
	"strconv"
	"strings"
)

const (
	maxFiles      = 1 << 20 // the kernel's default for fs.nr_open
	maxCPUPercent = 100_000
)

// Limits are what a control group may use. 0 is no limit.
type Limits struct {
	MemoryMax uint64 // bytes
	TasksMax  uint64
	CPUWeight uint64 // 1 to 10000; 0: systemd's default
	CPUMax    uint64 // per cent of one CPU
}

// rawLimits are limits as they are written: keys of a profile, or the table of an agent.
type rawLimits struct {
	MemoryMax *string `toml:"memory-max"`
	TasksMax  *int64  `toml:"tasks-max"`
	CPUWeight *int64  `toml:"cpu-weight"`
	CPUMax    *string `toml:"cpu-max"`
}

// limits checks limits whose keys begin with prefix.
func (r *report) limits(prefix string, raw rawLimits) Limits {
	return Limits{
		MemoryMax: r.memory(prefix+"memory-max", raw.MemoryMax),
		TasksMax:  uint64(r.number(prefix+"tasks-max", raw.TasksMax, 1, math.MaxInt32)),
		CPUWeight: uint64(r.number(prefix+"cpu-weight", raw.CPUWeight, 1, 10000)),
		CPUMax:    r.cpu(prefix+"cpu-max", raw.CPUMax),
	}
}

// cpu reads "50%", half of one CPU.
func (r *report) cpu(key string, s *string) uint64 {
	if s == nil {
		return 0
	}
	number, isPercent := strings.CutSuffix(*s, "%")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || !isPercent || n < 1 || n > maxCPUPercent {
		r.errorf(key, `%q is not a share of one CPU between "1%%" and "%d%%", such as "50%%"`, *s, maxCPUPercent)
	}
	return n
}

// sharedLimits warns of limits that hold for other agents, too: systemd puts the slice
// sidecar-a-b.slice into sidecar-a.slice (systemd.slice(5)).
func (s *Set) sharedLimits(reports map[string]*report) []string {
	return s.shared(reports, "limits", "they also hold for %s, whose slice lies in this agent's because of its name", func(a, b *Agent) bool {
		return a.Limits != (Limits{}) && strings.HasPrefix(b.Name, a.Name+"-")
	})
}
