// Package dbusserver serves the core on the system bus: the twin of the varlink interface, for
// busctl, for scripts, and for users other than root whom polkit authorises.
//
// One object has the methods of the varlink interface, and each sidecar is an object with
// properties. One table lists objects, methods and properties; the dispatcher and the
// introspection are made from it. Names and types follow from the varlink contract
// (package dict).
//
// The dispatcher is our own: godbus's starts goroutines without a limit and walks its map
// of objects without a lock. Nothing is exported at run time: the form of a path tells that
// it is a sidecar's, and the core tells whether the sidecar exists. Everybody on the bus may
// call, so calls are bounded in size and number for each sender before they are decoded, and
// each has a deadline and a recover of its own.
//
// The bus tells who a sender is. When a sender leaves the bus, its calls are cancelled.
//
// Everybody on the bus gets the signals, whatever polkit says. So they carry no more than
// systemd tells everybody: the IDs of the sidecars and their states. For the rest there are
// calls, for which polkit is asked.
//
// Out of scope: what a method means, and who may call it. The core decides both.
package dbusserver
