package doctor

import (
	"context"
	"errors"
	"os"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/paths"
)

func (h *Host) lookAtService(ctx context.Context) []Finding {
	var found []Finding
	if set, err := h.Policy(); err != nil {
		problem, _, _ := strings.Cut(err.Error(), "\n")
		found = append(found, Finding{
			Level: Error, Subject: "policy files", Problem: problem,
			Advice: "'sidecarctl check' shows every problem; then 'systemctl reload sidecard'",
		})
	} else if len(set.Agents()) == 0 {
		found = append(found, Finding{
			Level: Warning, Subject: "policy files", Problem: "no agent may launch anything",
			Advice: "write a file for each agent into " + paths.Host + "/agents.d: sidecar-policy(5)",
		})
	}
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if _, err := h.Service.Info(limited); err != nil {
		return append(found, Finding{
			Level: Error, Subject: "sidecard.service", Problem: "it does not answer: " + err.Error(),
			Advice: "'systemctl restart sidecard'; if that does not help, 'journalctl -u sidecard' says why",
		})
	}
	status, _ := h.Run(ctx, "systemctl", "show", "-P", "StatusText", "sidecard.service") // without, only this is not known
	if strings.Contains(status, "the last reload failed") {
		found = append(found, Finding{
			Level: Error, Subject: "sidecard.service", Problem: "it has refused the policy files, and works with those before",
			Advice: "'sidecarctl check' says what is wrong; then 'systemctl reload sidecard'",
		})
	}
	return found
}

func (h *Host) lookAtSockets(context.Context) []Finding {
	set, err := h.Policy()
	if err != nil {
		return blind("agents", err, "'sidecarctl check' shows every problem")
	}
	var found []Finding
	for _, agent := range set.Agents() {
		path := h.path("run/sidecar/agents", agent.Name, "io.tripleo.Sidecar")
		info, err := os.Lstat(path)
		if err == nil && info.Mode()&os.ModeSocket == 0 {
			err = errors.New("it is not a socket")
		}
		if err != nil {
			found = append(found, Finding{
				Level: Error, Subject: agent.Name, Problem: "the agent has no socket: " + err.Error(),
				Advice: "'systemctl reload sidecard' makes it again",
			})
		}
	}
	return found
}

func (h *Host) lookAtBus(ctx context.Context) []Finding {
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	// Other services' policies may let everybody read properties, as Info does.
	_, err := h.Bus.List(limited, interfaces.ListParameters{})
	if err == nil {
		return nil
	}
	finding := Finding{
		Level: Error, Subject: "io.tripleo.Sidecar1", Problem: err.Error(),
		Advice: "'systemctl start dbus.socket dbus.service', then 'systemctl restart sidecard'; without the bus nothing can be launched",
	}
	if _, missing := os.Stat(h.path("usr/share/dbus-1/system.d/io.tripleo.Sidecar1.conf")); missing != nil {
		finding.Problem += "; the bus policy is missing"
		finding.Advice = "install /usr/share/dbus-1/system.d/io.tripleo.Sidecar1.conf again, 'systemctl reload dbus.service', 'systemctl restart sidecard'"
	}
	return []Finding{finding}
}
