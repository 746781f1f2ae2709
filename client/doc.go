// Package client asks the service for side processes, from Go.
//
//	c, err := client.New("") // the default address
//	…
//	sidecar, err := c.Launch(ctx, interfaces.LaunchParameters{
//		Profile:   "dnsmasq",
//		Arguments: []string{"--no-hosts", "--pid-file=/var/lib/neutron/dhcp/1/pid"},
//	})
//	var refused *interfaces.ArgumentNotAllowedError
//	switch {
//	case errors.As(err, &refused):
//		log.Printf("argument %d: %s", refused.Index, refused.Reason)
//	case errors.Is(err, interfaces.ErrLaunchFailed):
//		…
//	}
//
// # Address
//
// An agent's container has the directory of its own socket mounted as
// /run/sidecar, so [DefaultAddress] is right there as well as on the host. On an
// agent's socket the agent is implied; on the host's one it must be named.
//
// # Promises
//
//   - A [Client] holds no connection between calls. Every call has one of its own,
//     so that calls of many goroutines do not wait for each other, and a Client
//     outlives a restart of the service. Of more than 32 calls at once, the rest
//     wait here: the service serves 64 connections of an agent at a time, and
//     other programs of the agent shall have their share.
//   - A context that ends ends its call, in dialling, writing or reading. The
//     connection is closed, by which the service notices. This takes back the
//     wait only: a launch that was begun may still come to be. List tells.
//   - No call waits for ever. Without a deadline in its context it ends after
//     [DefaultTimeout], plus the time-out that it asks the service for. Only
//     [Client.Monitor] goes on once it has begun.
//   - A call is never repeated behind the caller's back. Only a connection that
//     the kernel refuses because the service's queue is full is tried again.
//   - A reply of more than 16 MiB is an error, and costs no more memory than that.
//
// # Errors
//
// What the service refuses comes back as the errors of package interfaces, for
// errors.Is, and for errors.As where they have parameters. A name that package
// interfaces does not know is an [*UnknownError]. Where there is no service, the
// error is an [*UnreachableError]: nothing was asked. After [ErrInterrupted] it
// is not known whether the call was carried out; a repeated Launch is safe, for
// it replaces the instance. [ErrProtocol] means that whoever answers is not the
// service. A context that ended is found with errors.Is as ever.
//
// # Out of scope
//
// Reading logs, other transports than unix sockets, passing of file
// descriptors. Package client/dbus asks the service's twin on the system bus.
package client
