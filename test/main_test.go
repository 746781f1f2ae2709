//go:build testhost

package test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"tripleo.io/sidecar/service/lsm"
	"tripleo.io/sidecar/test/denials"
)

func TestMain(m *testing.M) {
	if isPayload() {
		os.Exit(payloadMain())
	}
	if _, ok := os.LookupEnv(userVariable); ok {
		os.Exit(userMain())
	}
	if call, ok := os.LookupEnv(callVariable); ok {
		os.Exit(callAndPrint(call))
	}
	if what, ok := os.LookupEnv(strangerVariable); ok {
		os.Exit(strangerMain(what))
	}
	if len(os.Args) > 1 && (os.Args[1] == withoutEpoll || os.Args[1] == slowSync) {
		os.Exit(supervisedMain(os.Args[1], os.Args[2:]))
	}
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run()) // starts nothing, and so is harmless anywhere
	}
	os.Exit(runAll(m))
}

// runAll installs, runs the tests, and looks at the daemon, the host and what it refused afterwards.
func runAll(m *testing.M) int {
	if os.Getenv("SIDECAR_TESTHOST") != "1" {
		fmt.Fprintln(os.Stderr, "These tests take the whole host. scripts/test runs them in a throw-away one (SIDECAR_TESTHOST is not 1).")
		return 2
	}
	if err := install(); err != nil {
		fmt.Fprintln(os.Stderr, "install:", errors.Join(err, denials.Check()))
		return 1
	}
	code := m.Run()
	printLacks()
	if err := errors.Join(checkDaemon(), becomesClean(), checkSweep(), denials.Check()); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: after all tests:", err)
		return max(code, 1)
	}
	return code
}

// install puts the policy files of the tests in place and starts the daemon.
func install() error {
	for _, dir := range []string{stateDirectory, neutronDirectory} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if lsm.Host().SELinux.On { // as whoever sets up such a host does
			if _, err := output("chcon", "-t", "container_file_t", dir); err != nil {
				return err
			}
		}
	}
	if err := installPolicy(); err != nil {
		return err
	}
	if _, err := output("systemctl", "restart", "sidecard"); err != nil {
		return err
	}
	pid, err := daemonPID()
	expectedDaemon = pid
	return err
}
