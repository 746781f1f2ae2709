//go:build testhost

package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

const hostSocket = "/run/sidecar/io.tripleo.Sidecar"

// socketOf returns the path of an agent's socket.
func socketOf(agent string) string {
	return "/run/sidecar/agents/" + agent + "/io.tripleo.Sidecar"
}

// as returns a client on an agent's socket.
func as(t testing.TB, agent string) *client.Client {
	t.Helper()
	return at(t, socketOf(agent))
}

// at returns a client on a socket.
func at(t testing.TB, socket string) *client.Client {
	t.Helper()
	c, err := client.New(socket)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// minute is the context of a call that must be over in a minute.
func minute(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// start launches what must come up, and stops it when the test ends.
func start(t testing.TB, agent string, p interfaces.LaunchParameters) *interfaces.Sidecar {
	t.Helper()
	s := launchUp(t, agent, p)
	checkRunning(t, s, p)
	if p.Profile == "dnsmasq" {
		awaitMainLoop(t, int(*s.Runtime.ProcessID))
	}
	return s
}

// launchUp launches what must come up, and stops it when the test ends. On a slow machine the
// preparation of an image takes longer than a launch waits for it.
func launchUp(t testing.TB, agent string, p interfaces.LaunchParameters) *interfaces.Sidecar {
	t.Helper()
	s, err := as(t, agent).Launch(minute(t), p)
	for end := time.Now().Add(5 * time.Minute); err != nil && strings.Contains(err.Error(), "its preparation takes long") && time.Now().Before(end); {
		s, err = as(t, agent).Launch(minute(t), p)
	}
	if err != nil {
		t.Fatalf("launch: %v", err)
	}
	stopAtEnd(t, agent, s.ID)
	return s
}

// refused launches what must not come up, and returns why.
func refused(t testing.TB, agent string, p interfaces.LaunchParameters, want error) error {
	t.Helper()
	s, err := as(t, agent).Launch(minute(t), p)
	if err == nil {
		stopAtEnd(t, agent, s.ID)
		t.Fatalf("launched %s, want %v", s.ID, want)
	}
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	return err
}

// stopAtEnd stops a sidecar, or forgets a failed one, when the test ends.
func stopAtEnd(t testing.TB, agent, id string) {
	t.Helper()
	t.Cleanup(func() {
		_, err := as(t, agent).Stop(context.Background(), interfaces.StopParameters{ID: id})
		if err != nil && !errors.Is(err, interfaces.ErrNoSuchSidecar) {
			t.Errorf("stop %s: %v", id, err)
		}
	})
}

// stopAllAtEnd stops every sidecar of an agent when the test ends.
func stopAllAtEnd(t testing.TB, agent string) {
	t.Helper()
	t.Cleanup(func() {
		all, err := as(t, agent).List(minute(t), interfaces.ListParameters{})
		if err != nil {
			t.Errorf("list: %v", err)
		}
		if err := atOnce(8, all, func(s interfaces.Sidecar) error {
			_, err := as(t, agent).Stop(context.Background(), interfaces.StopParameters{ID: s.ID})
			if errors.Is(err, interfaces.ErrNoSuchSidecar) { // forgotten as failed
				err = nil
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

// checkRunning holds an answer to what the host says.
func checkRunning(t testing.TB, s *interfaces.Sidecar, p interfaces.LaunchParameters) {
	t.Helper()
	if err := running(s, p.Arguments); err != nil {
		t.Error(err)
	}
}

// running says what is wrong with a sidecar that should run with these arguments.
func running(s *interfaces.Sidecar, arguments []string) error {
	if s.Runtime.State != interfaces.StateReady || s.Runtime.ProcessID == nil {
		return fmt.Errorf("%s is %s with process %v", s.ID, s.Runtime.State, s.Runtime.ProcessID)
	}
	pid := int(*s.Runtime.ProcessID)
	if written, err := readPID(pidFileOf(arguments)); err != nil || written != pid {
		return fmt.Errorf("%s: the pid file holds %d, the answer says %d (%v)", s.ID, written, pid, err)
	}
	argv, err := cmdline(pid)
	if err != nil {
		return err
	}
	if len(argv) < len(arguments) || strings.Join(argv[len(argv)-len(arguments):], "\x00") != strings.Join(arguments, "\x00") {
		return fmt.Errorf("%s: process %d is %q, want the arguments %q", s.ID, pid, argv, arguments)
	}
	return nil
}

// idOf returns the ID of the sidecar that a launch is about.
func idOf(agent string, p interfaces.LaunchParameters) interfaces.ID {
	return interfaces.NewID(agent, p.Profile, pidFileOf(p.Arguments))
}

// pidFileOf returns the path that a list of arguments names.
func pidFileOf(arguments []string) string {
	for _, a := range arguments {
		if path, ok := strings.CutPrefix(a, "--pid-file="); ok {
			return path
		}
	}
	return ""
}

func readPID(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// get returns a sidecar as List shows it.
func get(t testing.TB, agent, id string) *interfaces.Sidecar {
	t.Helper()
	s, err := as(t, agent).Get(minute(t), id)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	return s
}

// gone waits until a sidecar is not listed any more, and its unit not known.
func gone(t testing.TB, agent, id string) {
	t.Helper()
	eventually(t, 10*time.Second, id+" is gone", func() bool {
		_, err := as(t, agent).Get(minute(t), id)
		return errors.Is(err, interfaces.ErrNoSuchSidecar)
	})
}
