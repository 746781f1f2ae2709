//go:build testhost

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
)

// callVariable makes this program launch something and end, for tests in which
// the caller must be a process of its own: in another namespace, or another user.
const callVariable = "SIDECAR_TEST_CALL"

// foreignCall is what such a process is told, and foreignResult what it answers.
type foreignCall struct {
	Address    string
	Parameters interfaces.LaunchParameters
}

type foreignResult struct {
	PID     int
	Label   string // of AppArmor or SELinux
	Sidecar *interfaces.Sidecar
	Error   string
}

// callAndPrint is the main function of such a process.
func callAndPrint(text string) int {
	var call foreignCall
	err := json.Unmarshal([]byte(text), &call)
	label, _ := os.ReadFile("/proc/self/attr/current")
	result := foreignResult{PID: os.Getpid(), Label: string(label)}
	if err == nil {
		var c *client.Client
		if c, err = client.New(call.Address); err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			result.Sidecar, err = c.Launch(ctx, call.Parameters)
		}
	}
	if err != nil {
		result.Error = err.Error()
	}
	if json.NewEncoder(os.Stdout).Encode(result) != nil {
		return 1
	}
	return 0
}

// callFrom launches from another process: argv is what starts it, such as
// ip netns exec NAME.
func callFrom(t *testing.T, call foreignCall, argv ...string) foreignResult {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return callBy(t, call, append(argv, self)...)
}

// callBy launches from another process: argv starts this program, with its environment.
func callBy(t *testing.T, call foreignCall, argv ...string) foreignResult {
	t.Helper()
	text, err := json.Marshal(call)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(minute(t), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", callVariable, text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	var result foreignResult
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return result
}
