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
// /run/sidecar, so [DefaultAddress] is right there as well as on the host. An
// agent's socket implies the agent; on the host's socket it must be named.
//
// # Promises
//
//   - A [Client] holds no connection between calls. Every call has one of its own,
//     so that calls of many goroutines do not wait for each other, and a Client
//     outlives a restart of the service. At most 32 calls are under way at once,
//     the others wait: the service serves 64 connections of an agent at a time,
//     which other programs of the agent need too.
//   - The end of a context ends its call, in dialling, writing or reading. The
//     connection is closed, and the service notices that. A launch that has begun
//     may still be carried through; List tells.
//   - Every call ends. Without a deadline in its context it ends after
//     [DefaultTimeout], plus the time-out that it asks the service for. Only
//     [Client.Monitor], and [Client.ReadLog] that follows, go on once they have begun.
//   - No call is repeated without the caller's knowledge. Only a connection that
//     the kernel refuses because the service's queue is full is tried again.
//   - A reply of more than 16 MiB is an error, and costs no more memory than that.
//
// # Errors
//
// The service's errors are in package interfaces, for errors.Is, and for
// errors.As where they have parameters. A name that package interfaces does not
// know is an [*UnknownError]. Without a service the error is an
// [*UnreachableError]: no call was made. After [ErrInterrupted] it is not known
// whether the call was carried out; repeating a Launch is safe, because it replaces
// the instance, and [LaunchAgain] repeats one without starting anything twice.
// [ErrProtocol] means that the peer is not the service. The end of a context is
// found with errors.Is as ever.
//
// # Out of scope
//
// Other transports than unix sockets, passing of file descriptors. Package client/dbus calls the
// service on the system bus.
package client
