package launcher

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probe makes one probe. What it connects to, or runs, is hostile: it may answer never, slowly,
// endlessly and with anything.
func (p Prober) probe(ctx context.Context, payload *mainProcess) error {
	about := p.Document.Health
	switch {
	case about.TCP != "":
		return probeTCP(ctx, about.TCP)
	case about.UDP != "":
		return probeDNS(ctx, about.UDP)
	case about.Unix != "":
		return p.probeUnix(ctx, payload, about.Unix)
	}
	return p.probeCommand(ctx, about.Command)
}

// probeTCP connects, and hangs up. The kernel accepts for a process that hangs until its queue
// is full (listen(2)).
func probeTCP(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// dnsQuery asks for version.bind, TXT, in class CHAOS, which a server knows itself (RFC 4892).
const dnsQuery = "\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03"

// maxAnswers is how many datagrams are looked at for an answer.
const maxAnswers = 64

// probeDNS sends a query to a DNS server. Any response to it will do, a refusal as well.
func probeDNS(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	query := []byte(dnsQuery)
	id := uint16(rand.Uint32())
	binary.BigEndian.PutUint16(query, id)
	if _, err := conn.Write(query); err != nil {
		return err
	}
	for range maxAnswers {
		answer := make([]byte, 512)
		n, err := conn.Read(answer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("udp %s: no answer to a DNS query", address)
		}
		if err != nil {
			return err
		}
		const header, response = 12, 0x80
		if n >= header && binary.BigEndian.Uint16(answer) == id && answer[2]&response != 0 {
			return nil
		}
	}
	return fmt.Errorf("udp %s: %d datagrams do not answer a DNS query", address, maxAnswers)
}

// probeUnix connects to a stream socket that the payload sees at path, and hangs up. Links lead
// to what the payload sees, too.
func (p Prober) probeUnix(ctx context.Context, payload *mainProcess, path string) error {
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", p.Payload.PID), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	if payload.ended() { // root may be another process's
		return ErrMainEnded
	}
	file, err := openat2(int(root.Fd()), path, path, unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return err
	}
	defer file.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", throughProc(file))
	if err != nil {
		return fmt.Errorf("%s: %w", path, errors.Unwrap(err)) // without the path of the descriptor
	}
	return conn.Close()
}

const (
	// probeGroup is the control group of a probe's command, below the payload's.
	probeGroup = "sidecar-probe"
	// maxOutput is how much of a command's output is kept, in bytes.
	maxOutput = 512
)

// probeCommand runs a program in the container, by the OCI runtime, and then kills what is left
// of it. It succeeds if the program's exit code is 0 and nobody has its output open any more, for
// which runc waits, too.
func (p Prober) probeCommand(ctx context.Context, program []string) error {
	group, err := makeGroup(p.group)
	if err != nil {
		return err
	}
	defer group.end()
	argv, err := p.Exec(p.monitor, probeGroup, program)
	if err != nil {
		return err
	}
	input, err := noInput()
	if err != nil {
		return err
	}
	defer input.Close()
	output := &head{}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Start(); err != nil {
		return err
	}
	// cmd.Cancel would not be called when the runtime has ended, and what is left has the output.
	defer context.AfterFunc(ctx, func() { _ = group.kill() })()
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s has not ended", program[0])
	case err == nil:
		return nil
	case output.text == nil:
		return fmt.Errorf("%s: %w", program[0], err)
	}
	return fmt.Errorf("%s: %w: %s", program[0], err, output.text)
}

// monitor returns the command line of the unit's main process. It returns nil if that is a process
// of the payload, which could say anything.
func monitor(table ProcessTable, pid int) ([]string, error) {
	main, err := watchMain(pid, table)
	if err != nil {
		return nil, err
	}
	defer main.Close()
	process, ok, err := readProcess("/proc", pid)
	if err != nil || !ok || process.inChildNamespace() {
		return nil, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil && main.ended() { // it may be another process's
		err = ErrMainEnded
	}
	return strings.Split(string(text), "\x00"), err
}

// head keeps the beginning of what is written to it.
type head struct{ text []byte }

func (h *head) Write(text []byte) (int, error) {
	h.text = append(h.text, text[:min(len(text), maxOutput-len(h.text))]...)
	return len(text), nil
}

// group is the directory of a control group.
type group struct{ *os.File }

// groupBelow returns the directory of [probeGroup], below the control group of a process.
func groupBelow(process *mainProcess, pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	if process.ended() { // it may be another process's
		return "", ErrMainEnded
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	_, name, _ := strings.Cut(strings.TrimSpace(string(text)), "0::")
	return cgroupDirectory(string(mountinfo), filepath.Join(name, probeGroup))
}

// makeGroup makes a control group, if it is not left from the last probe.
func makeGroup(directory string) (group, error) {
	if err := os.Mkdir(directory, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return group{}, err
	}
	dir, err := os.Open(directory)
	return group{dir}, err
}

// kill kills all processes in the group.
func (g group) kill() error {
	file, err := os.OpenFile(g.Name()+"/cgroup.kill", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString("1")
	return err
}

// end kills all processes and removes the group. A process that SIGKILL does not end keeps it.
func (g group) end() {
	defer g.Close()
	for range 100 {
		if g.kill() != nil || os.Remove(g.Name()) == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
