package service

import (
	"context"
	"errors"
	"reflect"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/policy"
	"tripleo.io/sidecar/service/systemd"
)

// modeOf returns the mode of a launch. An agent that has stand-ins starts them
// all anew when its container was replaced; what runs behind them shall go on.
func modeOf(asked *interfaces.LaunchMode, agent *policy.Agent) interfaces.LaunchMode {
	switch {
	case asked != nil:
		return *asked
	case agent.StandIns:
		return interfaces.ModeAdopt
	}
	return interfaces.ModeReplace
}

// standIn returns what a stand-in needs to know, nil if the agent has none.
func (j *job) standIn(adopted bool) *interfaces.StandIn {
	if !j.decision.Agent.StandIns {
		return nil
	}
	s := &interfaces.StandIn{Adopted: adopted, PIDFiles: []string{}}
	for _, file := range j.decision.PIDFiles {
		s.PIDFiles = append(s.PIDFiles, file.String())
	}
	return s
}

// replaces reports whether the job may stop what it finds in its place.
func (j *job) replaces() bool {
	return j.mode == interfaces.ModeReplace || j.mode == interfaces.ModeAdopt
}

// answersWhatRuns reports whether the job's mode may answer what runs already.
func (j *job) answersWhatRuns() bool {
	return j.mode == interfaces.ModeKeep || j.mode == interfaces.ModeAdopt
}

// leave answers a launch with what it found in its place, or refuses it. If it
// returns neither, that is to be replaced.
func (c *Core) leave(j *job, old systemd.Unit) (*interfaces.Sidecar, error) {
	exists := &interfaces.SidecarExistsError{ID: j.id.String()}
	switch {
	case j.mode == interfaces.ModeFail && old.ActiveState != stateFailed:
		return nil, exists
	case j.mode == interfaces.ModeKeep && waitsForRestart(old) && !c.sameLaunch(old, j):
		return nil, exists // systemd brings it back
	case !j.answersWhatRuns() || old.ActiveState != stateActive:
		return nil, nil
	case c.sameLaunch(old, j):
		sidecar := c.sidecar(old)
		return &sidecar, nil
	case j.mode == interfaces.ModeKeep:
		return nil, exists
	}
	return nil, nil
}

// sameLaunch reports whether the unit was launched with the job's context, and its
// process is in the namespace that has the context's name by now: an agent that
// deletes a network and makes it again gives another one the same name.
func (c *Core) sameLaunch(u systemd.Unit, j *job) bool {
	r := recordOf(u)
	if !r.ok || !reflect.DeepEqual(r.context, j.context) {
		return false
	}
	pid := runtimeOf(u, r.engine).ProcessID
	if j.context.NetworkNamespace == nil || pid == nil {
		return true
	}
	in, err := c.Namespaces.Has(j.caller, *j.context.NetworkNamespace, int(*pid))
	if err != nil {
		c.Logger.Warn("cannot tell in which network namespace a sidecar is; it is taken for another one", "unit", u.Name, "error", err)
	}
	return in && err == nil
}

// settled returns the sidecar's unit, nil if it has no unit. For modes keep and adopt it
// waits while the unit starts or stops: they need to know how that ends. It does not wait
// for a restart by systemd: if every restart fails, the unit never settles.
func (c *Core) settled(ctx context.Context, j *job) (*systemd.Unit, error) {
	for {
		unit, err := c.Units.Get(ctx, j.id.Unit())
		switch {
		case errors.Is(err, systemd.ErrNoSuchUnit):
			return nil, nil
		case err != nil:
			return nil, hostFailure(ctx, "read the unit", err)
		case !j.answersWhatRuns() || !inTransition(unit):
			return &unit, nil
		}
		if err := pause(ctx, settlePoll); err != nil {
			return nil, err
		}
	}
}

func inTransition(u systemd.Unit) bool {
	return (u.ActiveState == stateActivating && !waitsForRestart(u)) || u.ActiveState == stateDeactivating
}

// waitsForRestart reports whether the unit's process has ended and systemd is about to
// start it again (Restart=). The SubState is auto-restart, and auto-restart-queued
// from systemd 254 on.
func waitsForRestart(u systemd.Unit) bool {
	return u.ActiveState == stateActivating && strings.HasPrefix(u.SubState, "auto-restart")
}
