package launch

import (
	"strconv"
	"strings"
)

// daemonPrefix is what sidecar-init calls itself once it knows the daemon, with
// its number behind it.
const daemonPrefix = "daemon "

// daemon returns the process that sidecar-init, number 1 of the pid namespace,
// has adopted. Before that there may be two processes with the payload's command
// line.
func daemon(table ProcessTable) (Process, error) {
	first, err := find(table, Private, 1)
	if err != nil {
		return Process{}, err
	}
	text, ok := strings.CutPrefix(first.Name, daemonPrefix)
	number, err := strconv.Atoi(text)
	if !ok || err != nil {
		return Process{}, notYet("the program has not left the foreground")
	}
	return find(table, Private, number)
}

// payload returns the process that a payload is about, for a plan that names no
// pid file: number 1 of its pid namespace or, if that is only there to adopt it,
// the daemon. In the host's pid namespace it is the only child of the main
// process, or else the main process.
func (p Plan) payload(table ProcessTable, mainPID int) (Process, error) {
	if p.Daemonizes {
		return daemon(table)
	}
	if p.PIDNamespace == Private {
		return find(table, Private, 1)
	}
	all, err := table.Processes()
	if err != nil {
		return Process{}, err
	}
	var main, children []Process
	for _, p := range all {
		if p.PID == mainPID {
			main = append(main, p)
		} else if p.Parent == mainPID {
			children = append(children, p)
		}
	}
	if len(children) == 1 {
		return children[0], nil
	}
	if len(main) == 1 {
		return main[0], nil
	}
	return Process{}, notYet("the unit has no main process")
}
