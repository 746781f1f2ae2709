package server

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/spool"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSpoolServerHostileEntries puts beside each hostile entry a good one. The good
// one is carried out, the hostile one is moved aside with the reason, and if it has
// the name of a request, its writer hears why.
func TestSpoolServerHostileEntries(t *testing.T) {
	t.Parallel()
	file := spool.File(nameOf(7))
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(text), 0o600)) }
	}
	cases := map[string]struct {
		name   string
		make   func(t *testing.T, path string)
		reason string
		result string // the error's name without its interface; empty: nobody can hear it
	}{
		"directory": {file, func(t *testing.T, p string) {
			must(t, os.MkdirAll(p+"/a/b/c", 0o700))
			must(t, os.WriteFile(p+"/a/x", nil, 0))
		}, "a directory", "InvalidParameter"},
		"fifo":           {file, func(t *testing.T, p string) { must(t, unix.Mkfifo(p, 0o600)) }, "a fifo", "InvalidParameter"},
		"socket":         {file, func(t *testing.T, p string) { must(t, unix.Mknod(p, unix.S_IFSOCK|0o600, 0)) }, "a socket", "InvalidParameter"},
		"link":           {file, func(t *testing.T, p string) { must(t, os.Symlink("/etc/passwd", p)) }, "a symbolic link", "InvalidParameter"},
		"dangling link":  {file, func(t *testing.T, p string) { must(t, os.Symlink("/nowhere", p)) }, "a symbolic link", "InvalidParameter"},
		"link to itself": {file, func(t *testing.T, p string) { must(t, os.Symlink(filepath.Base(p), p)) }, "a symbolic link", "InvalidParameter"},
		"hard link": {file, func(t *testing.T, p string) {
			write(launchText("/bad"))(t, p)
			must(t, os.Link(p, filepath.Join(p, "../../../other")))
		}, "2 names", "InvalidParameter"},
		"sparse giant":     {file, func(t *testing.T, p string) { write("")(t, p); must(t, os.Truncate(p, 1<<40)) }, "1099511627776 bytes", "InvalidParameter"},
		"too large":        {file, write(strings.Repeat(" ", spool.MaxRequest) + "x"), "which is more than", "InvalidParameter"},
		"empty":            {file, write(""), "request", "InvalidParameter"},
		"no JSON":          {file, write("launch dnsmasq, please"), "request", "InvalidParameter"},
		"two objects":      {file, write(launchText("/bad") + launchText("/bad")), "request", "InvalidParameter"},
		"an array":         {file, write("[" + launchText("/bad") + "]"), "request", "InvalidParameter"},
		"deep":             {file, write(strings.Repeat("[", 100_000)), "request", "InvalidParameter"},
		"unknown member":   {file, write(`{"method":"io.tripleo.Sidecar.List","more":true}`), "more", "InvalidParameter"},
		"repeated member":  {file, write(`{"method":"io.tripleo.Sidecar.List","method":"io.tripleo.Sidecar.Launch"}`), "duplicate", "InvalidParameter"},
		"other letters":    {file, write(`{"Method":"io.tripleo.Sidecar.List"}`), "Method", "InvalidParameter"},
		"unknown field":    {file, write(`{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"p","arguments":["/bad"],"image":"evil"}}`), "image", "InvalidParameter"},
		"escape in a name": {file, write(`{"method":"io.tripleo.Sidecar.List","parameters":{"a\u001b[2J\nname: b":1}}`), `a\x1b[2J\nname: b`, "InvalidParameter"},
		"repeated field":   {file, write(`{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"p","profile":"q","arguments":["/bad"]}}`), "duplicate", "InvalidParameter"},
		"wrong type":       {file, write(`{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"p","arguments":"/bad"}}`), "arguments", "InvalidParameter"},
		"no object":        {file, write(`{"method":"io.tripleo.Sidecar.List","parameters":[]}`), "must be an object", "InvalidParameter"},
		"not UTF-8":        {file, write(`{"method":"io.tripleo.Sidecar.Launch","parameters":{"profile":"` + "\xff" + `","arguments":[]}}`), "UTF-8", "InvalidParameter"},
		"other method":     {file, write(`{"method":"io.tripleo.Sidecar.Explain","parameters":{}}`), "Explain", "MethodNotFound"},
		"other interface":  {file, write(`{"method":"org.varlink.service.GetInfo"}`), "GetInfo", "MethodNotFound"},

		"name without digits": {"request.json", write(launchText("/bad")), "the name is not a request's", ""},
		"name with newline":   {"a\nreason: it was fine\n.json", write(launchText("/bad")), `name: "a\nreason: it was fine\n.json"`, ""},
		"name not UTF-8":      {"\xff\xfe.json", write(launchText("/bad")), `name: "\xff\xfe.json"`, ""},
		"longest name":        {strings.Repeat("n", 255), write(launchText("/bad")), "the name is not a request's", ""},
		"hidden name":         {"." + file, write(launchText("/bad")), "the name is not a request's", ""},
		"hidden directory":    {".d", func(t *testing.T, p string) { must(t, os.MkdirAll(p+"/x", 0)) }, "the name is not a request's", ""},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir, fake := newSpool(t), newFake()
			c.make(t, filepath.Join(dir, spool.New, c.name))
			put(t, dir, spool.New, spool.File(nameOf(1)), launchText("/good"))
			serveOnce(t, dir, fake)
			checkEmpty(t, dir)
			if fake.started("/good") != 1 || fake.started("/bad") != 0 {
				t.Errorf("starts %v", fake.starts)
			}
			if got := reasons(t, dir); len(got) != 1 || !strings.Contains(got[0], c.reason) || !strings.Contains(got[0], fmt.Sprintf("name: %q\n", c.name)) {
				t.Errorf("reasons %q, want %q", got, c.reason)
			}
			if got := entries(t, dir, spool.Refused); len(got) != 2 {
				t.Errorf("refused are %q", got)
			}
			checkTold(t, dir, c.name, c.result)
		})
	}
}

// checkTold holds that whoever waits for a refused request has an answer.
func checkTold(t *testing.T, dir, file, want string) {
	t.Helper()
	name, ok := spool.ParseFile(file)
	if !ok {
		if got := entries(t, dir, spool.Results); len(got) != 1 {
			t.Errorf("results %q", got)
		}
		return
	}
	r := resultOf(t, dir, name)
	if r == nil || !strings.HasSuffix(r.Error, "."+want) || !json.Valid(r.Parameters) {
		t.Errorf("result %+v, want %s", r, want)
	}
}

func TestSpoolServerForeignOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	parent := t.TempDir()
	must(t, Prepare(parent, "agent", 4242))
	dir, fake := filepath.Join(parent, "agent"), newFake()
	for i, user := range []int{4242, 4243, 0} {
		path := put(t, dir, spool.New, spool.File(nameOf(i)), launchText(fmt.Sprintf("/%d", user)))
		must(t, os.Chown(path, user, user))
	}
	serveOnce(t, dir, fake)
	if fake.started("/4242") != 1 || fake.started("/0") != 1 || fake.started("/4243") != 0 {
		t.Errorf("starts %v", fake.starts)
	}
	if got := reasons(t, dir); len(got) != 1 || !strings.Contains(got[0], "it belongs to user 4243, and the spool to user 4242") {
		t.Errorf("reasons %q", got)
	}
}

// TestSpoolServerSameName shows that a name is good for one request.
func TestSpoolServerSameName(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	file := spool.File(nameOf(1))
	put(t, dir, spool.New, file, launchText("/first"))
	serveOnce(t, dir, fake)
	first := resultOf(t, dir, nameOf(1))
	put(t, dir, spool.New, file, launchText("/second"))
	serveOnce(t, dir, fake)
	if fake.started("/second") != 0 || string(resultOf(t, dir, nameOf(1)).Parameters) != string(first.Parameters) {
		t.Errorf("starts %v", fake.starts)
	}
	if got := reasons(t, dir); len(got) != 1 || !strings.Contains(got[0], "answered already") {
		t.Errorf("reasons %q", got)
	}
}

// TestSpoolServerLease shows that a file that its owner holds a lease on keeps
// nobody waiting: opening it would, for up to 45 seconds (fcntl(2)).
func TestSpoolServerLease(t *testing.T) {
	t.Parallel()
	dir, fake := newSpool(t), newFake()
	f, err := os.OpenFile(put(t, dir, spool.New, spool.File(nameOf(7)), launchText("/bad")), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no leases on this file system: %v", err)
	}
	put(t, dir, spool.New, spool.File(nameOf(1)), launchText("/good"))
	began := time.Now()
	serveOnce(t, dir, fake)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if fake.started("/good") != 1 {
		t.Errorf("starts %v", fake.starts)
	}
	checkTold(t, dir, spool.File(nameOf(7)), "InvalidParameter")
}

// TestSpoolServerReplacedDirectories shows that an agent which can write the whole
// spool cannot lead the server out of it.
func TestSpoolServerReplacedDirectories(t *testing.T) {
	t.Parallel()
	for _, sub := range []string{spool.Requests, spool.New, spool.Temporary, spool.Claimed, spool.Results, spool.Refused} {
		t.Run(sub, func(t *testing.T) {
			t.Parallel()
			dir, outside := newSpool(t), t.TempDir()
			path := filepath.Join(dir, sub)
			must(t, os.RemoveAll(path))
			must(t, os.Symlink(outside, path))
			if sub == spool.Requests {
				must(t, os.MkdirAll(filepath.Join(outside, "new"), 0o700))
				must(t, os.MkdirAll(filepath.Join(outside, "tmp"), 0o700))
			}
			if err := Run(t.Context(), quick(dir, newFake())); err == nil {
				t.Error("a link is followed")
			}
		})
	}
}
