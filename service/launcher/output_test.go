package launcher

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns/netnstest"
)

// fakeJournal takes streams as journald does, and keeps what it reads.
type fakeJournal struct {
	path  string
	texts chan string
}

func journalOf(t *testing.T) fakeJournal {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "j")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	j := fakeJournal{filepath.Join(dir, "stdout"), make(chan string, 8)}
	l, err := net.Listen("unix", j.path)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				text, _ := io.ReadAll(conn) // what came before an error counts
				j.texts <- string(text)
			}()
		}
	}()
	return j
}

// TestHardeningOutputBelongsToThePayloadsNamespace asks the payload's standard output
// for its network namespace, as a payload with CAP_NET_ADMIN can (SIOCGSKNS).
func TestHardeningOutputBelongsToThePayloadsNamespace(t *testing.T) {
	if !netnstest.Private(t) {
		return
	}
	r := newRig(t)
	journal := journalOf(t)
	r.Journal = journal.path
	netnstest.Make(t, r.Namespaces.Path+"/n")
	p := r.plan()
	p.Context.NetworkNamespace = new("n")
	must(t, r.Prepare(p))
	output, err := r.payloadOutput(p, func(err error) { t.Error(err) })
	must(t, err)
	want, err := r.Namespaces.Open("n")
	must(t, err)
	defer want.Close()
	if got := namespaceOfSocket(t, output); !sameFile(t, got, want) {
		t.Error("the socket belongs to another network namespace than the payload's")
	}
	if flags, err := unix.FcntlInt(output.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#x, %v: a program does not expect that a write is refused", flags, err)
	}
	_, err = output.WriteString("<0>hello\n")
	must(t, err)
	must(t, output.Close())
	if got, want := <-journal.texts, testID+"\nsidecar-"+testID+".service\n6\n0\n0\n0\n0\n<0>hello\n"; got != want {
		t.Errorf("journald reads %q, want %q", got, want)
	}
	must(t, r.Clean(p.ID))
}

// namespaceOfSocket is what a payload can do (SIOCGSKNS of linux/sockios.h).
func namespaceOfSocket(t *testing.T, socket *os.File) *os.File {
	t.Helper()
	fd, err := unix.IoctlRetInt(int(socket.Fd()), unix.SIOCGSKNS)
	must(t, err)
	return os.NewFile(uintptr(fd), "namespace")
}

func sameFile(t *testing.T, a, b *os.File) bool {
	t.Helper()
	first, err := a.Stat()
	must(t, err)
	second, err := b.Stat()
	must(t, err)
	return os.SameFile(first, second)
}

// TestHardeningOutputWithoutAJournal shows that a launch does not need one.
func TestHardeningOutputWithoutAJournal(t *testing.T) {
	t.Parallel()
	var said []string
	output, err := Launcher{Journal: "/nonexistent/stdout"}.payloadOutput(documentOf(document.Plan{ID: testID, User: someUser}), func(err error) { said = append(said, err.Error()) })
	must(t, err)
	defer output.Close()
	if _, err := output.WriteString("lost"); err != nil || len(said) != 1 || !strings.Contains(said[0], "/nonexistent/stdout") {
		t.Errorf("%v, said %q", err, said)
	}
	if _, err := (Launcher{Journal: "/nonexistent/stdout"}).payloadOutput(documentOf(document.Plan{ID: testID}), func(err error) { t.Error(err) }); err == nil {
		t.Error("a payload that is root got /dev/null of the host")
	}
}

func TestHardeningInputEnds(t *testing.T) {
	t.Parallel()
	input, err := noInput()
	must(t, err)
	defer input.Close()
	if text, err := io.ReadAll(input); len(text) > 0 || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
