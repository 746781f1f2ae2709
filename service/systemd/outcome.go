package systemd

import "time"

// Outcome says what becomes of a job of the [Fake]. The zero value is success: a
// started unit runs and is ready, a stopped one ended on SIGTERM.
type Outcome struct {
	// Delay is how long the job takes.
	Delay time.Duration
	// Job is its result; "" is "failed" if the unit failed, else "done".
	Job string
	// Change makes the unit what it is after the job, starting from success. It
	// may be nil.
	Change func(u *Unit)
}

func (o Outcome) apply(u *Unit) {
	if o.Change != nil {
		o.Change(u)
	}
}

func (o Outcome) result(u Unit) string {
	switch {
	case o.Job != "":
		return o.Job
	case u.ActiveState == "failed":
		return "failed"
	}
	return jobDone
}

// ReadyAs is a start with this STATUS= of sd_notify(3).
func ReadyAs(status string) Outcome {
	return Outcome{Change: func(u *Unit) { u.StatusText = status }}
}

// FailedWith is a start, or a stop, whose main process exits with this code.
func FailedWith(code int32) Outcome {
	return Outcome{Change: func(u *Unit) { exited(u, code) }}
}

// TimedOut is a start that does not become ready in time.
func TimedOut() Outcome {
	return Outcome{Change: func(u *Unit) {
		killedBy(u, 15)
		fail(u, "timeout")
	}}
}

// Codes of waitid(2).
const (
	cldExited = 1
	cldKilled = 2
)

// exited makes u a unit whose main process exited with code.
func exited(u *Unit, code int32) {
	ended(u, cldExited, code)
	if code != 0 {
		fail(u, "exit-code")
	}
}

// killedBy makes u a unit whose main process a signal ended.
func killedBy(u *Unit, signal int32) {
	ended(u, cldKilled, signal)
	if signal == 9 {
		fail(u, "signal")
	}
}

func ended(u *Unit, code, status int32) {
	u.ActiveState, u.SubState, u.Result = "inactive", "dead", "success"
	u.MainPID, u.ControlGroup = 0, ""
	u.ExecMainCode, u.ExecMainStatus = code, status
	u.ExitedUSec = nowUSec()
}

func fail(u *Unit, result string) {
	u.ActiveState, u.SubState, u.Result = "failed", "failed", result
}

func running(u *Unit) {
	u.ActiveState, u.SubState = "active", "running"
	u.ReadyUSec = nowUSec()
}

func nowUSec() uint64 { return uint64(time.Now().UnixMicro()) }
