//go:build testhost

package varlink

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service"
)

// These tests need programs that nobody here wrote: varlinkctl (systemd 257),
// Debian's python3-varlink, and a systemd to be restarted by.

// hostMethods is a model of the service behind the real interface.
func hostMethods(waits chan<- error) map[string]Handler {
	return map[string]Handler{
		"Launch": Single(func(_ context.Context, caller service.Caller, p interfaces.LaunchParameters) (interfaces.LaunchReply, error) {
			if len(p.Arguments) == 0 {
				return interfaces.LaunchReply{}, &interfaces.ArgumentNotAllowedError{Index: -1, Reason: "--pid-file is missing"}
			}
			context := &interfaces.Context{Profile: p.Profile, Arguments: p.Arguments, Agent: caller.Agent}
			return interfaces.LaunchReply{Sidecar: sidecar(p.Profile, context)}, nil
		}),
		"List": Many(func(_ context.Context, _ service.Caller, p interfaces.ListParameters, _ bool) ([]interfaces.Sidecar, error) {
			if p.ID != nil {
				return nil, &interfaces.NoSuchSidecarError{ID: p.ID}
			}
			return []interfaces.Sidecar{sidecar("dnsmasq", nil), sidecar("haproxy", nil), sidecar("radvd", nil)}, nil
		}, func(s interfaces.Sidecar) interfaces.ListReply { return interfaces.ListReply{Sidecar: s} }),
		"Stop": Single(func(ctx context.Context, _ service.Caller, _ interfaces.StopParameters) (interfaces.StopReply, error) {
			<-ctx.Done()
			waits <- context.Cause(ctx)
			return interfaces.StopReply{}, ctx.Err()
		}),
		"Signal": Single(func(context.Context, service.Caller, interfaces.SignalParameters) (interfaces.SignalReply, error) {
			return interfaces.SignalReply{}, interfaces.ErrPermissionDenied
		}),
	}
}

func sidecar(profile string, context *interfaces.Context) interfaces.Sidecar {
	id := interfaces.NewID("neutron", profile, "key")
	return interfaces.Sidecar{
		ID: id.String(), Context: context,
		Runtime: interfaces.Runtime{State: interfaces.StateReady, Unit: id.Unit(), Engine: interfaces.EnginePodman, Image: "i"},
	}
}

const (
	hostLaunch  = `{"profile":"dnsmasq","arguments":["--pid-file=/ä"]}`
	hostSidecar = `{"sidecar":{"id":"neutron.dnsmasq.2c70e12b7a06","context":{"profile":"dnsmasq","arguments":["--pid-file=/ä"],"agent":"neutron"},` +
		`"runtime":{"state":"ready","unit":"sidecar-neutron.dnsmasq.2c70e12b7a06.service","engine":"podman","image":"i","imageOutdated":false,"frozen":false,"restarts":0}}}` + "\n"
)

func hostServing(t *testing.T) (path string, waits <-chan error) {
	t.Helper()
	causes := make(chan error, 1)
	server, err := NewServer(Config{
		Vendor: "TripleO", Product: "Sidecar", Version: "7", URL: "https://tripleo.io",
		Interface: Interface{interfaces.Name, interfaces.Description, hostMethods(causes)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return (&serving{Server: server}).listen(t, "neutron"), causes
}

// program runs a client and returns what it prints.
func program(t *testing.T, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestVarlinkctl(t *testing.T) {
	if _, err := exec.LookPath("varlinkctl"); err != nil {
		t.Skip("varlinkctl comes with systemd 255; this host has an older one")
	}
	path, waits := hostServing(t)
	call := func(method, parameters string, flags ...string) []string {
		return append(append([]string{"--json=short"}, flags...), "call", path, "io.tripleo.Sidecar."+method, parameters)
	}
	for name, test := range map[string]struct {
		args           []string
		stdout, stderr string // stdout: all of it, or with "…" a part; stderr: a part
		code           int
	}{
		"info":              {[]string{"info", path}, "…Vendor: TripleO", "", 0},
		"info, interfaces":  {[]string{"info", path}, "…io.tripleo.Sidecar", "", 0},
		"list interfaces":   {[]string{"list-interfaces", path}, "io.tripleo.Sidecar\norg.varlink.service\n", "", 0},
		"list methods":      {[]string{"list-methods", path, "io.tripleo.Sidecar"}, "…io.tripleo.Sidecar.Launch\n", "", 0},
		"introspect":        {[]string{"introspect", path, "io.tripleo.Sidecar"}, "…method Launch(", "", 0},
		"introspect, all":   {[]string{"introspect", path}, "…interface org.varlink.service", "", 0},
		"address":           {[]string{"--json=short", "call", "unix:" + path, "io.tripleo.Sidecar.Launch", hostLaunch}, hostSidecar, "", 0},
		"call":              {call("Launch", hostLaunch), hostSidecar, "", 0},
		"more":              {call("List", "{}", "--more"), "…neutron.radvd.", "", 0},
		"more, collect":     {call("List", "{}", "--collect"), `…"restarts":0}}},{"sidecar":{"id":"neutron.radvd.`, "", 0},
		"no more":           {call("List", "{}"), "{}\n", "org.varlink.service.ExpectedMore", 1},
		"error":             {call("Launch", `{"profile":"p","arguments":[]}`), `{"index":-1,"argument":"","reason":"--pid-file is missing"}` + "\n", "io.tripleo.Sidecar.ArgumentNotAllowed", 1},
		"error, graceful":   {call("List", `{"id":"x"}`, "--graceful=io.tripleo.Sidecar.NoSuchSidecar"), `{"id":"x"}` + "\n", "", 0},
		"invalid parameter": {call("Launch", `{"profile":"p","argument":[]}`), `…"parameter":"argument","reason":"no such field; there are profile,`, "org.varlink.service.InvalidParameter", 1},
		"denied":            {call("Signal", `{"id":"x","signal":"SIGHUP"}`), "{}\n", "org.varlink.service.PermissionDenied", 1},
		"no such method":    {call("Destroy", "{}"), `{"method":"io.tripleo.Sidecar.Destroy"}` + "\n", "org.varlink.service.MethodNotFound", 1},
		"oneway":            {call("Launch", hostLaunch, "--oneway"), "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := program(t, "varlinkctl", test.args...)
			if code != test.code || !printed(test.stdout, stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("exit code %d, want %d\n%s\n%s", code, test.code, stdout, stderr)
			}
		})
	}
	t.Run("hang-up", func(t *testing.T) {
		if stdout, stderr, code := program(t, "varlinkctl", call("Stop", `{"id":"x"}`, "--timeout=1s")...); code == 0 {
			t.Errorf("%s\n%s", stdout, stderr)
		}
		if cause := receive(t, waits); !errors.Is(cause, errHangup) {
			t.Errorf("cause: %v", cause)
		}
	})
	t.Run("the file is valid", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "idl")
		if err := os.WriteFile(file, []byte(interfaces.Description), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := program(t, "varlinkctl", "validate-idl", file); code != 0 || stderr != "" {
			t.Errorf("exit code %d\n%s", code, stderr)
		}
	})
}

func printed(want, got string) bool {
	if part, ok := strings.CutPrefix(want, "…"); ok {
		return strings.Contains(got, part)
	}
	return got == want
}

// pythonCalls does with the Python client what TestVarlinkctl does. That client
// (31.0) drops keywords without a word when there are positional arguments too.
const pythonCalls = `
import json, sys, varlink
with varlink.Client("unix:" + sys.argv[1]) as client:
    print(client.get_interfaces())
    with client.open("io.tripleo.Sidecar") as sidecar:
        print(sidecar.Launch("dnsmasq", ["--pid-file=/x"])["sidecar"]["context"]["arguments"])
        print([reply["sidecar"]["id"].split(".")[1] for reply in sidecar.List(_more=True)])
        for call in [lambda: sidecar.List(), lambda: sidecar.Launch("p", []), lambda: sidecar.Launch(profile="p", arguments=["a"], timeoutUSec=2**70), lambda: sidecar.Signal("x", "SIGHUP")]:
            try:
                print("answered", call())
            except varlink.VarlinkError as error:
                print(error.error(), json.dumps(error.parameters()))
        print(sidecar.Launch("p", ["again"])["sidecar"]["context"]["arguments"])
`

const pythonPrints = `['org.varlink.service', 'io.tripleo.Sidecar']
['--pid-file=/x']
['dnsmasq', 'haproxy', 'radvd']
org.varlink.service.ExpectedMore {}
io.tripleo.Sidecar.ArgumentNotAllowed {"index": -1, "argument": "", "reason": "--pid-file is missing"}
org.varlink.service.InvalidParameter {"parameter": "timeoutUSec"}
org.varlink.service.PermissionDenied {}
['again']
`

func TestVarlinkPython(t *testing.T) {
	if err := exec.Command("python3", "-c", "import varlink").Run(); err != nil {
		t.Skip("python3-varlink is not in this host")
	}
	path, _ := hostServing(t)
	stdout, stderr, code := program(t, "python3", "-c", pythonCalls, path)
	if diff := cmp.Diff(pythonPrints, stdout); diff != "" || code != 0 {
		t.Errorf("exit code %d (-want +got):\n%s\n%s", code, diff, stderr)
	}
	stdout, stderr, code = program(t, "python3", "-m", "varlink.cli", "call", "unix:"+path+"/io.tripleo.Sidecar.Launch", hostLaunch)
	if code != 0 || !strings.Contains(stdout, "neutron.dnsmasq.") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
}
