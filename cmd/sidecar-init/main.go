// Sidecar-init is the first process in the container of a program that leaves the
// foreground. Without it the container would end with the program's launch, because it
// lasts as long as its first process. It takes no arguments:
//
//	SIDECAR_COMMAND='["/usr/sbin/conntrackd","-d"]' sidecar-init
//
// It starts the command, whose words are a JSON array, without that variable in its
// environment: callers look a daemon up by its command line, so the words must not show
// anywhere else. It adopts the daemon, passes on every signal that can be caught,
// collects children, and exits with the daemon's exit status, or with 128 plus the
// number of the signal that ended the daemon. If the command fails before it has left
// the foreground, sidecar-init exits with the command's status. When sidecar-init itself
// fails, it writes one line on standard error and exits with 125.
//
// Once it knows the daemon it takes the name "daemon N", N being the daemon's process ID
// in the container, from which the host learns it (proc_pid_comm(5)).
//
// The container sees this program as the only file of the host. So it is a program of
// its own, and can do nothing else.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

// commandVariable names the command to start.
const commandVariable = "SIDECAR_COMMAND"

// exitFailure is also podman's and docker's exit status for failures of their own.
const exitFailure = 125

func main() {
	status, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sidecar-init:", err)
		status = exitFailure
	}
	os.Exit(status)
}

func run() (status int, err error) {
	if os.Getpid() != 1 {
		return 0, fmt.Errorf("works only as the first process of a container, this is process %d", os.Getpid())
	}
	argv, err := command(os.Getenv(commandVariable))
	if err != nil {
		return 0, err
	}
	if err := os.Unsetenv(commandVariable); err != nil {
		return 0, err
	}
	return supervise(argv, os.Environ(), announce)
}

// command reads the words of a command line.
func command(text string) ([]string, error) {
	var argv []string
	if err := json.Unmarshal([]byte(text), &argv); err != nil {
		return nil, fmt.Errorf("%s: %v", commandVariable, err)
	}
	if len(argv) == 0 || argv[0] == "" || argv[0][0] != '/' {
		return nil, fmt.Errorf("%s: the program must be an absolute path", commandVariable)
	}
	return argv, nil
}

// announce tells the host which process is the daemon. The kernel keeps 15 bytes
// of a name; a process ID has at most seven digits.
func announce(pid int) error {
	return os.WriteFile("/proc/self/comm", []byte("daemon "+strconv.Itoa(pid)), 0)
}
