package interfaces

// Signals lists the names of the signals that the method Signal takes, as
// signal(7) writes them. All of them mean something to the payloads; stopping
// for debugging (SIGSTOP) is not among them, for it would look like an outage.
var Signals = []string{"SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGKILL", "SIGWINCH"}
