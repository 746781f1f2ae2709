package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/client/clienttest"
	"tripleo.io/sidecar/interfaces"
)

// serve answers the examples' calls in place of the service.
func serve(text string) (address string, stop func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	script, err := clienttest.ParseScript(text)
	if err != nil {
		panic(err)
	}
	path := filepath.Join(dir, "s")
	server, err := clienttest.Listen(path, script)
	if err != nil {
		panic(err)
	}
	return path, func() {
		if err := errors.Join(server.Close(), os.RemoveAll(dir)); err != nil {
			panic(err)
		}
	}
}

// Start a DHCP server in a network namespace, as an agent would.
func ExampleClient_Launch() {
	address, stop := serve(`
> {"method": "io.tripleo.Sidecar.Launch", "parameters": {
    "profile": "dnsmasq", "arguments": ["--no-hosts", "--pid-file=/var/lib/neutron/dhcp/1/pid"],
    "networkNamespace": "qdhcp-1"}}
< {"parameters": {"sidecar": {"id": "neutron-dhcp.dnsmasq.3f1f5b0a6a5e", "runtime": {
    "state": "ready", "unit": "sidecar-neutron-dhcp.dnsmasq.3f1f5b0a6a5e.service", "image": "localhost/neutron-sidecars:1",
    "imageOutdated": false, "processId": 4242, "restarts": 0}}}}
`)
	defer stop()

	c, err := client.New(address) // "" for the default address
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	namespace := "qdhcp-1"
	sidecar, err := c.Launch(ctx, interfaces.LaunchParameters{
		Profile:          "dnsmasq",
		Arguments:        []string{"--no-hosts", "--pid-file=/var/lib/neutron/dhcp/1/pid"},
		NetworkNamespace: &namespace,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sidecar.ID, sidecar.Runtime.State, *sidecar.Runtime.ProcessID)
	// Output: neutron-dhcp.dnsmasq.3f1f5b0a6a5e ready 4242
}

// Tell a refusal from a program that fails.
func ExampleClient_Launch_errors() {
	address, stop := serve(`
> {"method": "io.tripleo.Sidecar.Launch", "parameters": {"profile": "dnsmasq", "arguments": ["--dhcp-script=/bin/sh"]}}
< {"error": "io.tripleo.Sidecar.ArgumentNotAllowed", "parameters": {
    "index": 0, "argument": "--dhcp-script=/bin/sh", "reason": "no rule begins like it"}}
> {"method": "io.tripleo.Sidecar.Launch", "parameters": {"profile": "dnsmasq", "arguments": ["--port=53"]}}
< {"error": "io.tripleo.Sidecar.LaunchFailed", "parameters": {
    "exitCode": 2, "output": ["dnsmasq: failed to create listening socket: Address in use"]}}
`)
	defer stop()

	c, err := client.New(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, argument := range []string{"--dhcp-script=/bin/sh", "--port=53"} {
		_, err := c.Launch(context.Background(), interfaces.LaunchParameters{
			Profile:   "dnsmasq",
			Arguments: []string{argument},
		})
		var refused *interfaces.ArgumentNotAllowedError
		var failed *interfaces.LaunchFailedError
		switch {
		case errors.As(err, &refused):
			fmt.Printf("argument %d is refused: %s\n", refused.Index, refused.Reason)
		case errors.As(err, &failed) && failed.ExitCode != nil:
			fmt.Printf("exit code %d: %s\n", *failed.ExitCode, failed.Output)
		}
	}
	// Output:
	// argument 0 is refused: no rule begins like it
	// exit code 2: [dnsmasq: failed to create listening socket: Address in use]
}

// List what runs for an agent. Nothing is an empty list, not an error.
func ExampleClient_List() {
	address, stop := serve(`
> {"method": "io.tripleo.Sidecar.List", "parameters": {"agent": "neutron-l3"}, "more": true}
< {"error": "io.tripleo.Sidecar.NoSuchSidecar", "parameters": {}}
`)
	defer stop()

	c, err := client.New(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	agent := "neutron-l3"
	sidecars, err := c.List(context.Background(), interfaces.ListParameters{Agent: &agent})
	fmt.Println(len(sidecars), err)
	// Output: 0 <nil>
}

// Wait until a sidecar is ready, whoever launches it.
func ExampleClient_Monitor() {
	address, stop := serve(`
> {"method": "io.tripleo.Sidecar.Monitor", "parameters": {"profile": "dnsmasq"}, "more": true}
< {"continues": true, "parameters": {"event": {"kind": "synchronized"}}}
< {"continues": true, "parameters": {"event": {"kind": "started", "id": "neutron-dhcp.dnsmasq.3f1f5b0a6a5e", "sidecar": {
    "id": "neutron-dhcp.dnsmasq.3f1f5b0a6a5e", "runtime": {"state": "starting", "unit": "u", "image": "i", "imageOutdated": false, "restarts": 0}}}}}
< {"continues": true, "parameters": {"event": {"kind": "ready", "id": "neutron-dhcp.dnsmasq.3f1f5b0a6a5e", "sidecar": {
    "id": "neutron-dhcp.dnsmasq.3f1f5b0a6a5e", "runtime": {"state": "ready", "unit": "u", "image": "i", "imageOutdated": false, "processId": 4242, "restarts": 0}}}}}
`)
	defer stop()

	c, err := client.New(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	profile := "dnsmasq"
	for event, err := range c.Monitor(context.Background(), interfaces.MonitorParameters{Profile: &profile}) {
		if err != nil { // client.ErrInterrupted: the service restarts, begin again
			fmt.Println(err)
			return
		}
		if s := event.Sidecar; s != nil && s.Runtime.State == interfaces.StateReady {
			fmt.Println(*event.ID, *s.Runtime.ProcessID)
			return
		}
	}
	// Output: neutron-dhcp.dnsmasq.3f1f5b0a6a5e 4242
}

// Without a service, the error says what to do.
func ExampleUnreachableError() {
	c, err := client.New("/nonexistent/io.tripleo.Sidecar")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Info(context.Background())
	var unreachable *client.UnreachableError
	fmt.Println(errors.As(err, &unreachable), errors.Is(err, os.ErrNotExist))
	// Output: true true
}
