//go:build testhost

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
var payloads = []string{"dnsmasq", "haproxy", "keepalived"}

// attacks are what this program does when it has taken over a payload. Each gets
// the arguments of the order, and returns what its tries got, by their names.
var attacks = map[string]func(arguments []string) map[string]string{
	"descriptors":      askDescriptors,
	"foreign-programs": runForeignPrograms,
	"system-calls":     trySystemCalls,
}

const (
	// orderFile lies in the directory of a file that an argument names.
	orderFile = "attack.json"
	// attackFailed is the name of what went wrong with an attack itself.
	attackFailed = "failed"
	// childVariable makes this program a payload's child, see childMain.
	childVariable = "SIDECAR_TEST_CHILD"
)

// order is what a payload is told by the test.
type order struct {
	Attack    string
	Arguments []string
	PIDFiles  []string // files to write, to become ready
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
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	o, err := readOrder()
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

// readOrder looks for the order beside each file that an argument names.
func readOrder() (o order, err error) {
	for _, argument := range os.Args[1:] {
		if _, path, ok := strings.Cut(argument, "=/"); ok {
			argument = "/" + path
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(argument), orderFile))
		if !filepath.IsAbs(argument) || errors.Is(err, fs.ErrNotExist) {
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
