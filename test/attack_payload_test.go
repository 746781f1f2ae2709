//go:build testhost

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// payloads are the programs of shipped profiles whose place this program takes in
// the attack's image.
var payloads = []string{"conntrackd", "dibbler-client", "dnsmasq", "haproxy", "keepalived", "radvd"}

// daemons are those that leave the foreground.
var daemons = []string{"conntrackd", "dibbler-client"}

// attacks are what this program does when it has taken over a payload. Each gets
// the arguments of the order, and returns what its tries got, by their names.
var attacks = map[string]func(arguments []string) map[string]string{
	"descriptors":      askDescriptors,
	"foreign-programs": runForeignPrograms,
	"lent-socket":      useLentSocket,
	"links":            reachLinks,
	"syslog":           useSyslog,
	"system-calls":     trySystemCalls,
	"use-files":        useFiles,
	"use-memory":       useMemory,
	"user":             reachBeyondUser,
}

const (
	// orderFile lies in the directory of a file that an argument names.
	orderFile = "attack.json"
	// attackFailed is the name of what went wrong with an attack itself.
	attackFailed = "failed"
	// childVariable makes this program a payload's child, see childMain.
	childVariable = "SIDECAR_TEST_CHILD"
	// daemonVariable tells a payload that it has left the foreground.
	daemonVariable = "SIDECAR_TEST_DAEMON"
)

// order is what a payload is told by the test.
type order struct {
	Attack    string
	Arguments []string
	PIDFiles  []string // files to write, to become ready
	Socket    string   // …or a socket to listen on
	Result    string   // file to write when the attack is over
}

// isPayload reports whether this program runs in the place of a payload.
func isPayload() bool {
	dir, name := filepath.Split(os.Args[0])
	return dir == "/usr/sbin/" && slices.Contains(payloads, name)
}

// payloadMain becomes ready as the payload would, attacks, and waits for its end.
func payloadMain() int {
	if child, ok := os.LookupEnv(childVariable); ok {
		return childMain(child)
	}
	if slices.Contains(daemons, filepath.Base(os.Args[0])) && os.Getenv(daemonVariable) == "" {
		return leaveForeground()
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	o, err := readOrder()
	if o.Socket != "" {
		var listener net.Listener
		listener, err = net.Listen("unix", o.Socket)
		if err == nil {
			defer listener.Close()
		}
	}
	for _, file := range o.PIDFiles {
		err = errors.Join(err, os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644))
	}
	if err == nil {
		err = writeResult(o.Result, carryOut(o))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-end
	return 0
}

// leaveForeground goes on in a process of its own, as a daemon does.
func leaveForeground() int {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), daemonVariable+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// readOrder looks for the order beside each file, and in each directory, that an
// argument names.
func readOrder() (o order, err error) {
	for _, argument := range os.Args[1:] {
		if _, path, ok := strings.Cut(argument, "=/"); ok {
			argument = "/" + path
		}
		if !filepath.IsAbs(argument) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(argument, orderFile))
		if err != nil {
			text, err = os.ReadFile(filepath.Join(filepath.Dir(argument), orderFile))
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(text, &o)
		}
		return o, err
	}
	return o, fmt.Errorf("no %s beside a file of %q", orderFile, os.Args[1:])
}

// carryOut runs the attack that is ordered. A panic becomes a result, because the
// test waits for one.
func carryOut(o order) (result map[string]string) {
	defer func() {
		if trouble := recover(); trouble != nil {
			result = map[string]string{attackFailed: fmt.Sprintf("%v\n%s", trouble, debug.Stack())}
		}
	}()
	attack, ok := attacks[o.Attack]
	if !ok {
		return map[string]string{attackFailed: "no such attack: add it to attacks"}
	}
	return attack(o.Arguments)
}

func writeResult(path string, result map[string]string) error {
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
