package launch

import (
	"strconv"
	"strings"

	"tripleo.io/sidecar/service/document"
)

// daemonPrefix is what sidecar-init calls itself once it knows the daemon, with
// its number behind it.
const daemonPrefix = "daemon "

// errForeground: there may be two processes with the payload's command line.
const errForeground = notYet("the program has not left the foreground")

// daemon returns the process that sidecar-init, number 1 of the pid namespace,
// has adopted. named is the one that a pid file names, if there is one: it is the
// daemon once its parent is sidecar-init, even if sidecar-init started it itself.
// dibbler-client does not fork when its parent is number 1.
func daemon(table ProcessTable, named Process) (Process, error) {
	first, err := find(table, document.Private, 1)
	if err != nil {
		return Process{}, err
	}
	if named.PID != 0 {
		named, err = find(table, document.Private, named.own())
		if err == nil && named.Parent != first.PID {
			err = errForeground
		}
		return named, err
	}
	text, ok := strings.CutPrefix(first.Name, daemonPrefix)
	number, err := strconv.Atoi(text)
	if !ok || err != nil {
		return Process{}, errForeground
	}
	return find(table, document.Private, number)
}

// payload returns the process that a payload is about, for a plan that names no
// pid file or daemonizes: number 1 of its pid namespace or, if that is only there to adopt it,
// the daemon. In the host's pid namespace it is the only child of the main
// process, or else the main process.
func payload(d *document.Document, table ProcessTable, named Process, mainPID int) (Process, error) {
	if d.Daemonizes() {
		return daemon(table, named)
	}
	if d.PIDNamespace == document.Private {
		return find(table, document.Private, 1)
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
