//go:build testhost

package ansible

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// migrate runs the module on this machine, on files below the directory of the fleet.
func (f *fleet) migrate(t *testing.T, parameters string) play {
	t.Helper()
	f.write(t, "ansible.cfg", "[defaults]\ncollections_path = "+absolute(t, collections)+"\n")
	f.write(t, "play.yml", `- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - tripleo.sidecar.migrate:
        backup: `+f.directory+`/backup
`+parameters)
	return f.playFile(t, f.directory+"/play.yml")
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMigrateInSteps(t *testing.T) {
	f := &fleet{directory: t.TempDir()}
	f.write(t, "vars.yml", "{}\n")
	f.write(t, "a.container", before)
	const quadlets = "        podman_arguments: [--cap-drop=all]\n        quadlets: ["
	for _, what := range []string{"engine_sockets", "privileges"} {
		if p := f.migrate(t, quadlets+f.directory+"/a.container]\n        "+what+": true\n"); p.failed {
			t.Fatal(p.output)
		}
	}
	if got := read(t, f.directory+"/a.container"); strings.Contains(got, "podman.sock") || strings.Contains(got, "--privileged") {
		t.Errorf("after both steps:\n%s", got)
	}
	f.migrate(t, "        rollback: true\n")
	if got := read(t, f.directory+"/a.container"); got != before {
		t.Errorf("the rollback of two steps gives\n%s", got)
	}
}

func TestMigrateRefusesWhatItCannotRead(t *testing.T) {
	for _, line := range []string{
		"PodmanArgs=--privileged \\\n  --pid=host",
		"PodmanArgs=--label \"a  b\" --privileged",
		"PodmanArgs=--log-driver=journald \\\n  --cgroupns=host",
		"Volume = /sys/fs/cgroup:/sys/fs/cgroup",
		"Mount=type=bind,source=/run/podman,target=/run/podman",
	} {
		f := &fleet{directory: t.TempDir()}
		f.write(t, "vars.yml", "{}\n")
		text := "[Container]\n" + line + "\nImage=x\n"
		f.write(t, "a.container", text)
		p := f.migrate(t, "        quadlets: ["+f.directory+"/a.container]\n        engine_sockets: true\n        privileges: true\n        podman_arguments: [--cap-drop=all]\n")
		if !p.failed || !strings.Contains(p.output, "change this line by hand") || read(t, f.directory+"/a.container") != text {
			t.Errorf("%q: %s\n%s", line, p.output, read(t, f.directory+"/a.container"))
		}
	}
}

// A rollback moves everything in the backup to /, and removes the directory.
func TestBackupIsADirectoryOfItsOwn(t *testing.T) {
	f := &fleet{directory: t.TempDir()}
	f.write(t, "vars.yml", "{}\n")
	if err := os.Mkdir(f.directory+"/backup", 0o755); err != nil {
		t.Fatal(err)
	}
	f.write(t, "backup/precious", "somebody's")
	f.write(t, "a.container", before)
	for _, parameters := range []string{"rollback: true", "quadlets: [" + f.directory + "/a.container]\n        engine_sockets: true"} {
		p := f.migrate(t, "        "+parameters+"\n")
		if !p.failed || !strings.Contains(p.output, "want a directory of its own") {
			t.Errorf("%s: %s", parameters, p.output)
		}
		if read(t, f.directory+"/backup/precious") != "somebody's" || read(t, f.directory+"/a.container") != before {
			t.Errorf("%s: something has changed", parameters)
		}
	}
}

// An agent owns the directory of its wrappers.
func TestRollbackFollowsNoLink(t *testing.T) {
	f := &fleet{directory: t.TempDir()}
	f.write(t, "vars.yml", "{}\n")
	for _, name := range []string{"/agent", "/elsewhere"} {
		if err := os.Mkdir(f.directory+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	wrapper := f.directory + "/agent/wrapper"
	f.write(t, "agent/wrapper", "script")
	if p := f.migrate(t, "        wrappers: ["+wrapper+"]\n"); p.failed {
		t.Fatal(p.output)
	}
	if err := os.Symlink(f.directory+"/elsewhere", wrapper); err != nil {
		t.Fatal(err)
	}
	if p := f.migrate(t, "        rollback: true\n"); p.failed {
		t.Fatal(p.output)
	}
	if _, err := os.Lstat(f.directory + "/elsewhere/wrapper"); err == nil {
		t.Error("the wrapper went to where a link of the agent leads")
	}
	if info, err := os.Lstat(wrapper); err != nil || !info.Mode().IsRegular() || read(t, wrapper) != "script" {
		t.Errorf("the wrapper: %v, %v", info, err)
	}
}

// A host that is lost in the middle of a batch ends the roll-out.
func TestLostHostEndsTheRollOut(t *testing.T) {
	f := &fleet{directory: t.TempDir()}
	f.write(t, "vars.yml", "{}\n")
	const local = " ansible_connection=local\n"
	f.write(t, "hosts", "one"+local+"two ansible_host=127.0.0.1 ansible_port=1\nthree"+local+"four"+local)
	f.write(t, "ansible.cfg", "[defaults]\ninventory = hosts\n")
	f.write(t, "play.yml", `- hosts: all
  serial: 2
  max_fail_percentage: 0
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        sidecar_batch: "{{ ansible_play_batch }}"
    - ansible.builtin.command: "true"
    - ansible.builtin.include_tasks: `+absolute(t, collection+"roles/sidecar/tasks/batch.yml")+"\n")
	p := f.playFile(t, f.directory+"/play.yml")
	if !p.failed || !strings.Contains(p.output, "could no longer be reached: two") || p.changes()["three"] != "" {
		t.Errorf("got\n%s", p.output)
	}
}
