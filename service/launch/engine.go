package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lastWords is how long to look for what a client sent that has ended. It lies in
	// the socket by then.
	lastWords = 100 * time.Millisecond
)

// ExitError says that the engine's client ended without having started the payload.
// It has said why on standard error.
type ExitError struct {
	Code int // its exit code, 128 and the signal's number if one killed it
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("the container engine ended with exit code %d", e.Code)
}

// engine is the engine's client: the program that starts the payload, tells its
// service manager the unit's main process, and ends.
type engine struct {
	manager *net.UnixConn // we are its service manager
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the client has ended
}

// startEngine starts argv, with a socket of ours at path in place of systemd's, and
// with output for its standard output and error and the payload's.
func startEngine(path string, output *os.File, argv, environment []string) (*engine, error) {
	input, err := noInput()
	if err != nil {
		return nil, err
	}
	defer input.Close()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	e := &engine{manager: manager, exited: make(chan struct{})}
	e.cmd = &exec.Cmd{
		Path: argv[0], Args: argv,
		Env: append(environment, "NOTIFY_SOCKET="+path),
		// conmon writes a file where it is, see oomName.
		Dir:   filepath.Dir(filepath.Dir(path)),
		Stdin: input, Stdout: output, Stderr: output,
	}
	if err := e.cmd.Start(); err != nil {
		e.close()
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	go func() {
		_ = e.cmd.Wait() // ProcessState says it all
		close(e.exited)
	}()
	return e, nil
}

// close ends what is left: nobody listens to the client any more.
func (e *engine) close() { _ = e.manager.Close() } // nothing is written to it

// started waits until the client says READY=1 and returns the number that it gave
// as MAINPID (sd_notify(3)). If it ends first, the error is an [*ExitError]. When
// ctx ends, the client is ended first.
func (e *engine) started(ctx context.Context) (mainPID int, err error) {
	done := make(chan struct{})
	defer close(done)
	messages := e.listen(done)
	exited := e.exited
	for {
		select {
		case m := <-messages:
			if m.err != nil && exited == nil {
				return 0, e.exitError() // that was all
			}
			ready, err := notified(m.text, &mainPID)
			if err = errors.Join(m.err, err); ready || err != nil {
				return mainPID, err
			}
		case <-exited:
			exited = nil
			if err := e.manager.SetReadDeadline(time.Now().Add(lastWords)); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			e.end()
			return 0, e.exitError()
		}
	}
}

// message is what the client has sent, or why nothing more can be read.
type message struct {
	text string
	err  error
}

// listen passes the client's messages on until one cannot be read, or done.
func (e *engine) listen(done <-chan struct{}) <-chan message {
	messages := make(chan message)
	go func() {
		for {
			text, err := receive(e.manager)
			select {
			case messages <- message{text, err}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return messages
}

// receive reads one message. Descriptors that come along are closed: that answers
// BARRIER=1.
func receive(conn *net.UnixConn) (string, error) {
	text, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*16))
	n, oob, _, _, err := conn.ReadMsgUnix(text, control)
	if err != nil {
		return "", err
	}
	parsed, err := unix.ParseSocketControlMessage(control[:oob])
	if err != nil {
		return "", err
	}
	for _, c := range parsed {
		fds, _ := unix.ParseUnixRights(&c) // other control messages have none
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	return string(text[:n]), nil
}

// notified takes a message of the client. It reports whether the payload runs.
func notified(text string, mainPID *int) (ready bool, err error) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "MAINPID":
			if *mainPID, err = strconv.Atoi(value); err != nil || *mainPID <= 0 {
				return false, fmt.Errorf("the container engine sent the main process %.40q, which is no number", value)
			}
		case "READY":
			ready = value == "1"
		}
	}
	if ready && *mainPID == 0 {
		return false, errors.New("the container engine did not say which process is the main one")
	}
	return ready, nil
}

// gone waits until the client has ended: until then it shows the payload's command
// line a second time, and callers look processes up by that. podman takes some 10 ms
// for it.
func (e *engine) gone(ctx context.Context) error {
	select {
	case <-e.exited:
		return nil
	case <-ctx.Done():
		return errors.New("the container engine's client did not end")
	}
}

// end ends the client, if it has not ended. As long as it is there, nobody may remove
// what it makes: podman finishes the making of a container before it heeds SIGTERM.
// So the wait has no end of its own. When systemd's patience is over, it kills both.
func (e *engine) end() {
	_ = e.cmd.Process.Signal(unix.SIGTERM) // it may have ended
	<-e.exited
}

// exitError says how the client has ended.
func (e *engine) exitError() error {
	status, _ := e.cmd.ProcessState.Sys().(syscall.WaitStatus) // it is on Linux
	switch {
	case status.Signaled(): //nolint:misspell // the name is syscall's
		return &ExitError{128 + int(status.Signal())}
	case status.ExitStatus() == 0:
		return errors.New("the container engine ended without having started anything")
	}
	return &ExitError{status.ExitStatus()}
}

// noInput returns a standard input that ends at once. /dev/null would be the host's
// file: a payload that is root could change its mode.
func noInput() (*os.File, error) {
	input, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return input, end.Close()
}
