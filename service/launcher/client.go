package launcher

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

	"tripleo.io/sidecar/internal/sdnotify"
)

// lastMessagesLimit is how long a client's messages are read after its exit. They lie in the socket
// by then.
const lastMessagesLimit = 100 * time.Millisecond

// ExitError means that the engine's client exited without having started the payload. The
// client has said why on standard error.
type ExitError struct {
	Code int // its exit code; if a signal killed it, 128 and the signal's number
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("the container engine ended with exit code %d", e.Code)
}

// client is the engine's client process: it starts the payload, sends the unit's main process,
// and exits.
type client struct {
	container Container
	manager   *net.UnixConn // the client's NOTIFY_SOCKET
	output    *os.File      // the payload's
	cmd       *exec.Cmd
	exited    chan struct{} // closed when the client has exited
}

// startClient starts the container's command with path as its NOTIFY_SOCKET and output as its
// standard output and error, which the payload inherits. A command that leaves a PIDFile gets no
// NOTIFY_SOCKET: crun would mount it into the container.
func startClient(path string, output *os.File, container Container, environment []string) (*client, error) {
	input, err := noInput()
	if err != nil {
		return nil, err
	}
	defer input.Close()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	if !container.startsLater() {
		environment = append(environment, "NOTIFY_SOCKET="+path)
	}
	c := &client{container: container, manager: manager, output: output, exited: make(chan struct{})}
	argv := container.Command()
	c.cmd = &exec.Cmd{
		Path: argv[0], Args: argv,
		Env:   environment,
		Dir:   filepath.Dir(filepath.Dir(path)), // see oomName
		Stdin: input, Stdout: output, Stderr: output,
	}
	if err := c.cmd.Start(); err != nil {
		c.close()
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	go func() {
		_ = c.cmd.Wait() // ProcessState has it all
		close(c.exited)
	}()
	return c, nil
}

// noInput returns a standard input that ends at once. /dev/null is the host's file: a payload
// that is root could change its mode.
func noInput() (*os.File, error) {
	input, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return input, end.Close()
}

// close closes what we write nothing to.
func (c *client) close() {
	_ = c.manager.Close()
	_ = c.output.Close()
}

// started waits until the client has made the container, and returns the unit's main process. If
// the client fails, the error is an [*ExitError], or another one for a client that leaves a
// PIDFile: its exit code is not the engine's usual one. When ctx ends, started ends the client.
func (c *client) started(ctx context.Context) (mainPID int, err error) {
	if !c.container.startsLater() {
		return c.notified(ctx)
	}
	select {
	case <-c.exited:
	case <-ctx.Done():
		c.end()
	}
	if status := c.cmd.ProcessState.ExitCode(); status != 0 {
		return 0, fmt.Errorf("%s: %v", c.cmd.Path, c.cmd.ProcessState)
	}
	text, err := os.ReadFile(c.container.PIDFile)
	if err != nil {
		return 0, err
	}
	return parsePID(string(text))
}

// announce sends the service manager the unit's main process. If the payload starts later, it
// waits until the manager has read that: a payload that exits at once must be its child by then.
func (c *client) announce(socket string, mainPID int) error {
	state := fmt.Sprintf("MAINPID=%d", mainPID)
	if c.container.startsLater() {
		return Notify(socket, state, notifyLimit)
	}
	return sdnotify.Send(socket, state, notifyLimit)
}

// start starts the payload, if the client has not done so.
func (c *client) start(ctx context.Context) error {
	if !c.container.startsLater() {
		return nil
	}
	cmd := exec.CommandContext(ctx, c.container.Start[0], c.container.Start[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.cmd.Env, c.output, c.output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("starting the payload: %s: %w", cmd.Path, err)
	}
	return nil
}

// notified waits until the client sends READY=1, and returns the number that it sent as MAINPID
// (sd_notify(3)).
func (c *client) notified(ctx context.Context) (mainPID int, err error) {
	done := make(chan struct{})
	defer close(done)
	messages := c.listen(done)
	exited := c.exited
	for {
		select {
		case m := <-messages:
			if m.err != nil && exited == nil {
				return 0, c.exitError() // there are no more messages
			}
			ready, err := parseMessage(m.text, &mainPID)
			if err = errors.Join(m.err, err); ready || err != nil {
				return mainPID, err
			}
		case <-exited:
			exited = nil
			if err := c.manager.SetReadDeadline(time.Now().Add(lastMessagesLimit)); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			c.end()
			return 0, c.exitError()
		}
	}
}

// message is a message of the client, or why no more can be read.
type message struct {
	text string
	err  error
}

// listen passes the client's messages on until one cannot be read, or done is closed.
func (c *client) listen(done <-chan struct{}) <-chan message {
	messages := make(chan message)
	go func() {
		for {
			text, err := receive(c.manager)
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

// receive reads one message. It closes descriptors in the message, which answers BARRIER=1.
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

// parseMessage reads MAINPID and READY from a message of the client.
func parseMessage(text string, mainPID *int) (ready bool, err error) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "MAINPID":
			if *mainPID, err = strconv.Atoi(value); err != nil || *mainPID <= 0 {
				return false, fmt.Errorf("the container engine sent the main process %.40q, which is not a number", value)
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

// waitExit waits until the client has exited: until then its command line shows the payload's,
// by which callers look up processes. podman takes some 10 ms.
func (c *client) waitExit(ctx context.Context) error {
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return errors.New("the container engine's client did not end")
	}
}

// end ends the client and waits for its exit. The wait has no time-out: nobody may remove a
// container that the client still makes, and podman finishes it before it heeds SIGTERM. At
// the unit's time-out systemd kills both.
func (c *client) end() {
	_ = c.cmd.Process.Signal(unix.SIGTERM) // it may have exited
	<-c.exited
}

// exitError returns an error with the exit status of the client, which has exited.
func (c *client) exitError() error {
	status, _ := c.cmd.ProcessState.Sys().(syscall.WaitStatus) // on Linux it is one
	switch {
	case status.Signaled(): //nolint:misspell // the name is syscall's
		return &ExitError{128 + int(status.Signal())}
	case status.ExitStatus() == 0:
		return errors.New("the container engine ended without having started anything")
	}
	return &ExitError{status.ExitStatus()}
}
