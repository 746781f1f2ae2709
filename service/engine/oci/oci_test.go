package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

const (
	testID   = "neutron-dhcp.dnsmasq.0123456789ab"
	testCtr  = "c0ffee"
	testImg  = "bdf85e032ef68a5f01c7afe5a3063b01d77f237fd3f9d69a41861eefcea937a9"
	podmanAt = "/usr/bin/podman"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func documentOf(change func(*document.Document)) *document.Document {
	d := document.New(interfaces.Context{Arguments: []string{"-a"}, NetworkNamespace: new("qdhcp-1")}, []string{"-a"}, document.Plan{
		ID: testID, Engine: "runtime", Program: "/usr/bin/crun", Image: "localhost/x:1",
		Command: []string{"/bin/x"}, User: 5, Group: 6, PIDNamespace: document.Private,
	})
	if change != nil {
		change(d)
	}
	return d
}

// TestPreparation: launches that differ only in what each has of its own share a template, and
// everything else that podman decides by makes another one.
func TestPreparation(t *testing.T) {
	t.Parallel()
	plain := Engine{}.Preparation(documentOf(nil), podmanAt)
	must(t, plain.Validate())
	if id, err := interfaces.ParseID(plain.ID); err != nil || id.Agent != "neutron-dhcp" || id.Profile != "dnsmasq" || id.Hash != plain.Template {
		t.Errorf("ID %q, template %q, %v", plain.ID, plain.Template, err)
	}
	for name, change := range map[string]func(*document.Document){
		"another sidecar":   func(d *document.Document) { d.ID = "neutron-dhcp.dnsmasq.ffffffffffff" },
		"another namespace": func(d *document.Document) { d.Context.NetworkNamespace = new("qdhcp-2") },
		"arguments":         func(d *document.Document) { d.Context.Arguments = []string{"-b"} },
		"a tag":             func(d *document.Document) { d.Context.ProcessTag = new("t") },
		"mounts":            func(d *document.Document) { d.Mounts = []document.Mount{{Root: "/s", Path: "."}} },
		"tmpfs":             func(d *document.Document) { d.Tmpfs = []string{"/tmp"} },
		"pid files":         func(d *document.Document) { d.PIDFiles = []document.File{{Root: "/s", Path: "p"}} },
		"a time-out":        func(d *document.Document) { d.TimeoutUSec = 7 },
		"sidecar-init":      func(d *document.Document) { d.Init = "/i" },
	} {
		if diff := cmp.Diff(plain, Engine{}.Preparation(documentOf(change), podmanAt)); diff != "" {
			t.Errorf("%s makes another template (-plain +changed):\n%s", name, diff)
		}
	}
	for name, change := range map[string]func(*document.Document){
		"agent":          func(d *document.Document) { d.ID = "neutron-l3.dnsmasq.0123456789ab" },
		"host's network": func(d *document.Document) { d.Context.NetworkNamespace = nil },
		"runtime":        func(d *document.Document) { d.Program = "/usr/bin/krun" },
		"image":          func(d *document.Document) { d.Image = "localhost/x:2" },
		"user":           func(d *document.Document) { d.User = 7 },
		"group":          func(d *document.Document) { d.Group = 7 },
		"capabilities":   func(d *document.Document) { d.Capabilities = []string{"NET_RAW"} },
		"pids":           func(d *document.Document) { d.PIDNamespace = document.Host },
		"seccomp":        func(d *document.Document) { d.Seccomp = "/s.json" },
		"AppArmor":       func(d *document.Document) { d.AppArmor = "sidecar" },
		"level":          func(d *document.Document) { d.SELinuxLevel = "s0:c1" },
		"type":           func(d *document.Document) { d.SELinuxType = "t" },
		"syslog":         func(d *document.Document) { d.Syslog = "/l" },
		"environment":    func(d *document.Document) { d.Environment = []string{"A=b"} },
		"limit of files": func(d *document.Document) { d.OpenFiles = 99 },
		"OOM score":      func(d *document.Document) { d.OOMScore = new(-7) },
	} {
		if changed := (Engine{}).Preparation(documentOf(change), podmanAt); changed.Template == plain.Template {
			t.Errorf("another %s makes no other template", name)
		}
	}
}

// podmanConfig is a configuration as podman writes it, with files of the container in directory.
func podmanConfig(t *testing.T, directory string) *specs.Spec {
	t.Helper()
	own := filepath.Join(directory, testCtr, "userdata")
	must(t, os.MkdirAll(own, 0o755))
	for name, text := range map[string]string{"resolv.conf": "nameserver 192.0.2.1\n", "hostname": testCtr, ".containerenv": "x", "passwd": "root"} {
		must(t, os.WriteFile(filepath.Join(own, name), []byte(text), 0o644))
	}
	mount := func(destination, source string) specs.Mount {
		return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: []string{"bind", "ro"}}
	}
	return &specs.Spec{
		Hostname: testCtr,
		Root:     &specs.Root{Path: "/elsewhere"},
		Process:  &specs.Process{Args: []string{document.InitPath}, Env: []string{"A=b", "HOSTNAME=" + testCtr, "SIDECAR_COMMAND=[]"}},
		Hooks:    &specs.Hooks{},
		Linux: &specs.Linux{
			CgroupsPath: "/x", Resources: &specs.LinuxResources{}, MaskedPaths: []string{"/proc/keys"},
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace, Path: "/run/n"}},
		},
		Mounts: []specs.Mount{
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
			{Destination: "/proc", Type: "proc", Source: "proc"},
			mount("/dev/shm", own+"/shm"), mount("/dev/log", "/run/dev-log"), mount(document.InitPath, "/usr/libexec/i"),
			mount("/etc/passwd", own+"/passwd"), mount("/run/.containerenv", own+"/.containerenv"),
			mount("/etc/hostname", own+"/hostname"), mount("/etc/resolv.conf", own+"/resolv.conf"),
		},
	}
}

// TestTemplate: what podman wrote, reduced and completed, is podman's container but for what
// each launch has of its own.
func TestTemplate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := podmanConfig(t, dir)
	files, err := reduce(config, testCtr)
	must(t, err)
	if diff := cmp.Diff(map[string]string{"/etc/resolv.conf": "nameserver 192.0.2.1\n", "/etc/hostname": testCtr}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	tmpl := &template{Image: testImg, Root: dir, Files: files, Config: *config}
	d := documentOf(func(d *document.Document) {
		d.Tmpfs, d.Init = []string{"/tmp"}, dir
		d.Context.ProcessTag = new("tag")
	})
	must(t, tmpl.complete(d, dir))
	got := tmpl.Config
	if got.Hostname != "0123456789ab" || got.Hooks != nil || got.Linux.CgroupsPath != "" || got.Linux.Resources != nil {
		t.Errorf("hostname %q, hooks %v, %+v", got.Hostname, got.Hooks, got.Linux)
	}
	if diff := cmp.Diff([]string{"A=b", "PROCESS_TAG=tag", `SIDECAR_COMMAND=["/bin/x","-a"]`, "HOSTNAME=0123456789ab"}, got.Process.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if !slices.Equal(got.Process.Args, []string{document.InitPath}) || !got.Root.Readonly || got.Root.Path != rootfs(testID) {
		t.Errorf("arguments %q, root %+v", got.Process.Args, got.Root)
	}
	if got.Linux.Namespaces[1].Path != document.NetworkNamespacePath(testID) || !slices.Equal(got.Linux.MaskedPaths, []string{"/proc/keys"}) {
		t.Errorf("%+v", got.Linux)
	}
	var places []string
	for _, m := range got.Mounts {
		places = append(places, m.Destination+" "+m.Type+" "+m.Source)
	}
	if diff := cmp.Diff([]string{
		"/dev tmpfs tmpfs", "/proc proc proc", "/tmp tmpfs tmpfs",
		"/dev/shm tmpfs shm", "/dev/log bind /run/dev-log",
		"/etc/hostname bind " + dir + "/hostname", "/etc/resolv.conf bind " + dir + "/resolv.conf", document.InitPath + " bind " + dir,
	}, places); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(dir + "/hostname"); string(text) != "0123456789ab\n" || err != nil {
		t.Errorf("hostname %q, %v", text, err)
	}
}

// TestMountPoints: only what the image lacks is made, where the image's links lead to.
func TestMountPoints(t *testing.T) {
	t.Parallel()
	image, points, file := t.TempDir(), t.TempDir(), t.TempDir()+"/file"
	must(t, os.WriteFile(file, nil, 0o644))
	must(t, os.MkdirAll(image+"/run", 0o755))
	must(t, os.MkdirAll(image+"/var/lib", 0o755))
	must(t, os.Chmod(image+"/var/lib", 0o711))
	must(t, os.Symlink("/run", image+"/var/run"))
	must(t, os.Symlink("/../../../../..", image+"/out"))
	for _, destination := range []string{"/run", "/var/run/x", "/var/lib/neutron/dhcp", "/out/y"} {
		must(t, makePoint(image, points, specs.Mount{Destination: destination, Type: "tmpfs"}))
	}
	must(t, makePoint(image, points, specs.Mount{Destination: "/etc/resolv.conf", Type: "bind", Source: file}))
	var made []string
	must(t, filepath.WalkDir(points, func(path string, entry fs.DirEntry, err error) error {
		made = append(made, strings.TrimPrefix(path, points)+" "+entry.Type().String())
		return err
	}))
	if diff := cmp.Diff([]string{
		" d---------", "/etc d---------", "/etc/resolv.conf ----------", "/run d---------", "/run/x d---------", "/var d---------", "/var/lib d---------", "/var/lib/neutron d---------",
		"/var/lib/neutron/dhcp d---------", "/y d---------",
	}, made); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if info, err := os.Stat(points + "/var/lib"); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("/var/lib has mode %v, %v; the image's has 0711", info.Mode(), err)
	}
}

// TestProgram: a program that the image lacks is told apart from one that cannot be run.
func TestProgram(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	must(t, os.WriteFile(root+"/program", nil, 0o755))
	must(t, os.WriteFile(root+"/text", nil, 0o644))
	must(t, os.Symlink("/program", root+"/link"))
	for program, want := range map[string]int{"/program": 0, "/link": 0, "/text": 126, "/": 126, "/none": 127, "/mounted/none": 0} {
		tmpl := &template{Root: root, Config: specs.Spec{Process: &specs.Process{Args: []string{program}}, Mounts: []specs.Mount{{Destination: "/mounted"}}}}
		err := tmpl.checkProgram()
		missing, ok := errors.AsType[*ProgramError](err)
		if got := 0; ok && missing.Code != want || !ok && (err != nil || want != got) {
			t.Errorf("%s: %v, want code %d", program, err, want)
		}
	}
}
