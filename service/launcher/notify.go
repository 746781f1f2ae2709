package launcher

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/sdnotify"
)

// A unit's status text (STATUS= of sd_notify(3)) is one of these lines, without ", image ID" if the
// image's ID is not known. The prober sends the second and the third.
//
//	Ready: process PID, image ID
//	Ready: process PID, image ID; healthy since TIME
//	Ready: process PID, image ID; unhealthy since TIME: REASON
//	Failed in PHASE: REASON
//	Out of memory: limit of the LIMIT
const (
	readyPrefix  = "Ready: process "
	imageInfix   = ", image "
	failedPrefix = "Failed in "
	memoryPrefix = "Out of memory: limit of the "
)

// maxReason is how much of an error a unit's status text shows, in bytes.
const maxReason = 400

// FormatFailure returns the status text of a unit whose launch has failed.
func FormatFailure(phase interfaces.LaunchPhase, reason error) string {
	return fmt.Sprintf("%s%s: %.*s", failedPrefix, phase, maxReason, strings.ReplaceAll(reason.Error(), "\n", "; "))
}

// ParseFailure returns the phase and the reason of a text of [FormatFailure], and no phase for
// any other text.
func ParseFailure(text string) (phase interfaces.LaunchPhase, reason string) {
	rest, _ := strings.CutPrefix(text, failedPrefix)
	word, reason, _ := strings.Cut(rest, ": ")
	if phase = interfaces.LaunchPhase(word); rest == text || !slices.Contains(interfaces.LaunchPhases, phase) {
		return "", ""
	}
	return phase, reason
}

// FormatStatus returns the status text of a unit whose payload is ready. pid is the payload's
// main process in the host's pid namespace, image the ID of the image that it runs in, "" if it is
// not known.
func FormatStatus(pid int, image string) string {
	text := readyPrefix + strconv.Itoa(pid)
	if image != "" {
		text += imageInfix + image
	}
	return text
}

// ParseOutOfMemory returns the limit in a text of [Launcher.TellOutOfMemory], and "" for any other
// text.
func ParseOutOfMemory(text string) interfaces.MemoryLimit {
	word, ok := strings.CutPrefix(text, memoryPrefix)
	if limit := interfaces.MemoryLimit(word); ok && slices.Contains(interfaces.MemoryLimits, limit) {
		return limit
	}
	return ""
}

// imageID is the ID of an image.
var imageID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ParseStatus returns the process and the image's ID of a text of [FormatStatus], with or without
// a [Health], and false for any other text.
func ParseStatus(text string) (pid int, image string, ok bool) {
	text, _, _ = strings.Cut(text, healthInfix)
	number, _ := strings.CutPrefix(text, readyPrefix)
	number, image, _ = strings.Cut(number, imageInfix)
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || n == 0 || FormatStatus(int(n), image) != text || image != "" && !imageID.MatchString(image) {
		return 0, "", false
	}
	return int(n), image, true
}

// Notify sends the service manager a new state, lines as in sd_notify(3), and waits until the
// manager has read it (BARRIER=1): the manager looks up the unit of the sender, which it cannot
// find once the sender has exited. socket is NOTIFY_SOCKET; Notify does nothing if it is "".
// It takes limit at most.
func Notify(socket, state string, limit time.Duration) error {
	if socket == "" {
		return nil
	}
	deadline := time.Now().Add(limit)
	if err := sdnotify.Send(socket, state, limit); err != nil {
		return err
	}
	return barrier(socket, deadline)
}

// NotifyFailure has systemctl status show in which phase a launch failed, and why; the core
// reads it, too.
func NotifyFailure(socket string, phase interfaces.LaunchPhase, reason error) error {
	return Notify(socket, "STATUS="+FormatFailure(phase, reason), notifyLimit)
}

// ExtendTimeout asks the service manager to wait until limit from now before it kills the
// caller, a process of a unit that stops (EXTEND_TIMEOUT_USEC= of sd_notify(3)): the unit's
// stop time-out is for the payload, and a removal may take longer. socket is NOTIFY_SOCKET.
func ExtendTimeout(socket string, limit time.Duration) error {
	return sdnotify.Send(socket, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", limit.Microseconds()), time.Second)
}

// barrier sends one end of a pipe and waits until the manager has closed it. The manager reads
// messages in the order in which they were sent.
func barrier(socket string, deadline time.Time) error {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	err = sdnotify.Send(socket, "BARRIER=1", time.Until(deadline), int(theirs.Fd()))
	theirs.Close()
	if err != nil {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(ours.Fd())}}
	for {
		timeout := unix.NsecToTimespec(max(0, int64(time.Until(deadline))))
		n, err := unix.Ppoll(fds, &timeout, nil)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = unix.ETIMEDOUT
		}
		if err != nil {
			return fmt.Errorf("waiting for the service manager to read its messages: %v", err)
		}
		return nil
	}
}
