package records

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/interfaces"
)

var id = interfaces.NewID("neutron-dhcp", "dnsmasq", "/var/lib/neutron/dhcp/1/pid")

func record(argument string) Record {
	return Record{Boot: "b1", Context: interfaces.Context{
		Profile: id.Profile, Agent: id.Agent, Arguments: []string{argument, "", "-ä"}, NetworkNamespace: new("qdhcp-1"),
	}}
}

func write(t *testing.T, d *Directory, r Record) {
	t.Helper()
	if err := d.Write(id, r); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsReadWhatWasWritten(t *testing.T) {
	t.Parallel()
	d := New(filepath.Join(t.TempDir(), "records"))
	if all, err := d.All(); len(all) != 0 || err != nil {
		t.Errorf("All without a directory: %v, %v", all, err)
	}
	if r, err := d.Read(id); r != nil || err != nil {
		t.Errorf("Read without a directory: %v, %v", r, err)
	}
	write(t, d, record("--old"))
	write(t, d, record("--new"))
	got, err := d.Read(id)
	if want := record("--new"); err != nil || cmp.Diff(&want, got) != "" {
		t.Errorf("Read: %v\n%s", err, cmp.Diff(&want, got))
	}
	all, err := d.All()
	if want := map[interfaces.ID]Record{id: record("--new")}; err != nil || cmp.Diff(want, all) != "" {
		t.Errorf("All: %v\n%s", err, cmp.Diff(want, all))
	}
	for _, path := range []string{d.path, d.file(id)} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %v, %v", path, info.Mode(), err)
		}
	}
	for range 2 {
		if err := d.Remove(id); err != nil {
			t.Error(err)
		}
	}
	if all, err := d.All(); len(all) != 0 || err != nil {
		t.Errorf("All after Remove: %v, %v", all, err)
	}
}

// TestRecordsPowerLoss: what the disk can hold after each step of a write is the old or the
// new record.
func TestRecordsPowerLoss(t *testing.T) {
	t.Parallel()
	text := func(d *Directory) []byte {
		text, err := os.ReadFile(d.file(id))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, test := range map[string]struct {
		disk func(d *Directory, next []byte) error // as the power loss leaves it
		want string
	}{
		"before the write": {func(*Directory, []byte) error { return nil }, "--old"},
		"after the open":   {func(d *Directory, _ []byte) error { return os.WriteFile(d.file(id)+temporary, nil, 0o600) }, "--old"},
		"in the middle":    {func(d *Directory, next []byte) error { return os.WriteFile(d.file(id)+temporary, next[:20], 0o600) }, "--old"},
		"zeros after the write": {func(d *Directory, next []byte) error {
			return os.WriteFile(d.file(id)+temporary, make([]byte, len(next)), 0o600)
		}, "--old"},
		"before the rename": {func(d *Directory, next []byte) error { return os.WriteFile(d.file(id)+temporary, next, 0o600) }, "--old"},
		"after the rename": {func(d *Directory, next []byte) error {
			if err := os.WriteFile(d.file(id)+temporary, next, 0o600); err != nil {
				return err
			}
			return os.Rename(d.file(id)+temporary, d.file(id))
		}, "--new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other, d := New(t.TempDir()), New(t.TempDir())
			write(t, other, record("--new"))
			write(t, d, record("--old"))
			if err := test.disk(d, text(other)); err != nil {
				t.Fatal(err)
			}
			all, err := d.All()
			if want := map[interfaces.ID]Record{id: record(test.want)}; err != nil || cmp.Diff(want, all) != "" {
				t.Errorf("%v\n%s", err, cmp.Diff(want, all))
			}
			write(t, d, record("--newer")) // whatever was left does not matter
			if r, err := d.Read(id); err != nil || r.Context.Arguments[0] != "--newer" {
				t.Errorf("the next write: %v, %v", r, err)
			}
		})
	}
}

// TestRecordsKilled kills a process that writes without a pause.
func TestRecordsKilled(t *testing.T) {
	const variable = "SIDECAR_TEST_RECORDS"
	if dir := os.Getenv(variable); dir != "" {
		d := New(dir)
		for n := 0; ; n++ {
			write(t, d, record(fmt.Sprint("--", n)))
			fmt.Println("written", n)
		}
	}
	t.Parallel()
	dir := t.TempDir()
	for range 10 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRecordsKilled$", "-test.v")
		cmd.Env = append(os.Environ(), variable+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last, seen := -1, 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, err := fmt.Sscanf(lines.Text(), "written %d", &last); n != 1 || err != nil {
				continue
			}
			if seen++; seen == 20 {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		var got int
		r, err := New(dir).Read(id)
		if err != nil || r == nil {
			t.Fatalf("after a kill: %v, %v", r, err)
		}
		if _, err := fmt.Sscanf(r.Context.Arguments[0], "--%d", &got); err != nil || got != last && got != last+1 {
			t.Errorf("record %d after a kill, the last that was reported is %d (%v)", got, last, err)
		}
	}
}

// TestRecordsUnreadable: a file that cannot be read is set aside, and the others are there.
func TestRecordsUnreadable(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(func() string { d := New(t.TempDir()); write(t, d, record("--x")); return d.file(id) }())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":         "",
		"cut":           string(good[:len(good)-5]),
		"zeros":         strings.Repeat("\x00", len(good)),
		"unknown field": strings.Replace(string(good), `"boot"`, `"boots"`, 1),
		"other agent":   strings.Replace(string(good), "neutron-dhcp", "neutron-l3", 1),
		"large":         strings.Replace(string(good), "--x", strings.Repeat("x", maxSize), 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t.TempDir())
			bad := interfaces.NewID(id.Agent, id.Profile, "bad")
			write(t, d, record("--x"))
			if err := os.WriteFile(d.file(bad), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			all, err := d.All()
			if len(all) != 1 || err == nil || !strings.Contains(err.Error(), bad.String()) {
				t.Errorf("All: %v, %v", all, err)
			}
			if _, err := os.Stat(d.file(bad) + unreadable); err != nil {
				t.Error(err)
			}
			if all, err := d.All(); len(all) != 1 || err != nil {
				t.Errorf("All again: %v, %v", all, err)
			}
		})
	}
}

// TestRecordsHang: a directory that does not answer holds up one sidecar, and not for ever.
func TestRecordsHang(t *testing.T) {
	t.Parallel()
	d := New(t.TempDir())
	fifo := filepath.Join(d.path, id.String()+suffix)
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	start := time.Now()
	if _, err := d.Read(id); err == nil {
		t.Error("a fifo without a writer was read")
	}
	if took := time.Since(start); took > 4*limit {
		t.Errorf("it took %v", took)
	}
	other := interfaces.NewID(id.Agent, id.Profile, "other")
	if r, err := d.Read(other); r != nil || err != nil {
		t.Errorf("another sidecar: %v, %v", r, err)
	}
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // lets the call end
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
}
