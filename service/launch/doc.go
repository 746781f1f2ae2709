// Package launch is the part that runs as root inside every unit, around the
// container engine. A plan says what to prepare and what to wait for; four functions
// carry it out:
//
//   - [Launcher.Run] (ExecStart) pins the network namespace and the mount sources,
//     removes old pid files and an old socket, starts the payload through the engine,
//     waits until it is ready, turns the numbers in its pid files into the host's, and
//     tells the service manager;
//   - [Launcher.Clean] (in Run, and again as ExecStopPost) takes the pins away;
//   - [Launcher.Remove] (ExecStopPost) runs what removes the engine's left-overs, and
//     [Launcher.Sweep] (sidecar-clean.service) runs again what has failed.
//
// The engine's client is any program that starts the payload, sends MAINPID= and
// READY=1 to its NOTIFY_SOCKET, and ends (sd_notify(3)).
//
// Everything in an agent's state directory is hostile and may change at any
// moment. So a path is walked once, beneath its root and without links, and
// from then on only the file descriptor counts: what is checked is what is
// mounted, read or replaced. The pins lie below a directory that only root can
// enter.
//
// Nothing here knows which engine runs the container. Deciding what may be
// launched is not done here either: the plan comes from the service.
package launch
