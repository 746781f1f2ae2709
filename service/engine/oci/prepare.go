package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine/podman"
)

// Prepare mounts the image, and writes the template. d is a [Engine.Preparation]. If it fails
// or is killed, the old template stays; its unit's clean-up removes podman's container.
func (Engine) Prepare(ctx context.Context, d *document.Document) error {
	if d.Template == "" {
		return errors.New("the document is not of a preparation")
	}
	p := preparation{d.Program, hostStore}
	image, err := p.podman(ctx, "image", "inspect", "--format={{.Id}}", d.Image)
	if err != nil {
		return err
	}
	named := *d
	named.ImageID = image // a name could come to mean another image meanwhile
	if named.Init, err = os.Executable(); err != nil {
		return err // any program that is there: the runtime looks for it, and nothing runs it
	}
	config, files, err := p.configuration(ctx, &named)
	if err != nil {
		return err
	}
	unlock, err := p.store.lock(ctx, imagesLockName, true)
	if err != nil {
		return err
	}
	defer unlock()
	root, err := p.mount(ctx, image)
	if err == nil {
		err = p.keep(ctx, image)
	}
	if err != nil {
		return err
	}
	return p.store.write(d.Template, &template{d.Program, image, root, files, *config})
}

// preparation runs podman.
type preparation struct {
	program string
	store   store
}

// podman runs a command of podman, and returns the last line of its output.
func (p preparation) podman(ctx context.Context, words ...string) (string, error) {
	text, err := p.output(ctx, words...)
	return text[strings.LastIndexByte(text, '\n')+1:], err
}

// output runs a command of podman, and returns its output, or what it said for an error.
func (p preparation) output(ctx context.Context, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, podmanLimit)
	defer cancel()
	stdout, err := p.temporary()
	if err != nil {
		return "", err
	}
	defer stdout.Close()
	stderr, err := p.temporary()
	if err != nil {
		return "", err
	}
	defer stderr.Close()
	cmd := exec.CommandContext(ctx, p.program, words...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = podmanGrace
	if err := cmd.Run(); err != nil {
		said, _, _ := strings.Cut(written(stderr), "\n\ngoroutine ") // podman panics if its storage is read-only
		return "", fmt.Errorf("%s: %w: %s", cmd.Path, err, said)
	}
	return written(stdout), nil
}

// temporary returns a file without a name, for output. A pipe would stay open as long as the
// container's process, which inherits it; memory (memfd_create(2)) has no label of ours in
// SELinux.
func (p preparation) temporary() (*os.File, error) {
	return os.OpenFile(filepath.Dir(p.store.directory), os.O_RDWR|unix.O_TMPFILE, 0o600)
}

func written(f *os.File) string {
	text, _ := io.ReadAll(io.NewSectionReader(f, 0, maxOutput)) // a file of /run can be read
	return string(bytes.TrimSpace(text))
}

const (
	// podmanLimit bounds one command of podman. It takes a tenth of a second on an idle host.
	podmanLimit = time.Minute
	// podmanGrace is how long podman may take to exit after SIGTERM.
	podmanGrace = 5 * time.Second
)

// maxOutput is how much of podman's output is read, in bytes.
const maxOutput = 64 << 10

// mount mounts an image, unless it is mounted.
func (p preparation) mount(ctx context.Context, image string) (string, error) {
	path := p.store.path(imagesName, image)
	var note mountNote
	if err := readNote(path, &note); err == nil && isMountPoint(note.Root) {
		return note.Root, nil
	}
	// Before podman mounts it, so that the mount of a preparation that is killed is known.
	note = mountNote{Podman: p.program}
	if err := writeNote(path, note); err != nil {
		return "", err
	}
	var err error
	if note.Root, err = p.podman(ctx, "image", "mount", image); err != nil {
		return "", err
	}
	return note.Root, writeNote(path, note)
}

// podman removes an image that is mounted, but not one that a container uses, and it prunes
// containers that do not run, but not those in a pod. So a container that is never started, in
// a pod of its own kind, keeps an image.
const (
	keepersPod    = "sidecar-images"
	keepersPrefix = "sidecar-image-"
)

// keeper returns the name of the container that keeps an image.
func keeper(image string) string { return keepersPrefix + image[:min(len(image), hashDigits)] }

// keep makes the container that keeps an image, unless it exists.
func (p preparation) keep(ctx context.Context, image string) error {
	if _, err := p.podman(ctx, "container", "exists", keeper(image)); err == nil {
		return nil
	}
	err := p.makeKeeper(ctx, image)
	// podman can lose the state of a pod, for example when its temporary directory is removed, and
	// makes no container in it then.
	if err == nil || !strings.Contains(err.Error(), "cgroup is not set") {
		return err
	}
	if _, err := p.podman(ctx, "pod", "rm", "-f", keepersPod); err != nil {
		return err
	}
	others, _ := names(p.store.path(imagesName))
	for _, other := range others {
		if other != image {
			_ = p.makeKeeper(ctx, other) // or at its next preparation
		}
	}
	return p.makeKeeper(ctx, image)
}

func (p preparation) makeKeeper(ctx context.Context, image string) error {
	if _, err := p.podman(ctx, "pod", "exists", keepersPod); err != nil {
		if _, err := p.podman(ctx, "pod", "create", "--infra=false", "--name="+keepersPod); err != nil {
			return err
		}
	}
	_, err := p.podman(ctx, "--events-backend=none", "create", "--pod="+keepersPod, "--name="+keeper(image),
		"--pull=never", "--log-driver=none", "--image-volume=ignore", "--no-healthcheck", "--entrypoint=[]", image, "/")
	return err
}

// release lets podman remove an image.
func (p preparation) release(ctx context.Context, image string) error {
	_, err := p.podman(ctx, "--events-backend=none", "rm", "-f", "-i", keeper(image))
	return err
}

// releaseOthers lets podman remove the images that are kept since before the last boot.
func (p preparation) releaseOthers(ctx context.Context, images []string) error {
	text, err := p.output(ctx, "ps", "-a", "--filter=name=^"+keepersPrefix, "--format={{.Names}}")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(text) {
		if strings.HasPrefix(name, keepersPrefix) && !slices.ContainsFunc(images, func(image string) bool { return keeper(image) == name }) {
			if err := p.release(ctx, strings.TrimPrefix(name, keepersPrefix)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isMountPoint reports whether something is mounted on path (statx(2)).
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// configuration has podman make a container, up to the point where its process would start,
// and returns what podman tells the runtime, without what each launch has of its own.
func (p preparation) configuration(ctx context.Context, d *document.Document) (config *specs.Spec, files map[string]string, err error) {
	create := podman.Engine{}.Creation(d)
	if d.NetworkNamespace() != "" {
		namespace, err := newNamespace()
		if err != nil {
			return nil, nil, fmt.Errorf("making a network namespace: %w", err)
		}
		defer namespace.Close()
		for i, word := range create {
			create[i] = strings.Replace(word, document.NetworkNamespacePath(d.ID), fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), namespace.Fd()), 1)
		}
	}
	if _, err := p.podman(ctx, create[1:]...); err != nil {
		return nil, nil, err
	}
	remove := podman.Engine{}.Removal(d)
	defer func() {
		_, removeErr := p.podman(context.WithoutCancel(ctx), remove[1:]...)
		err = errors.Join(err, removeErr)
	}()
	if _, err := p.podman(ctx, "--events-backend=none", "init", podman.Name(d)); err != nil {
		return nil, nil, err
	}
	path, err := p.podman(ctx, "container", "inspect", "--format={{.OCIConfigPath}}", podman.Name(d))
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	config = &specs.Spec{}
	if err := json.Unmarshal(text, config); err != nil {
		return nil, nil, fmt.Errorf("%s: %v", path, err)
	}
	files, err = reduce(config, filepath.Base(filepath.Dir(filepath.Dir(path))))
	return config, files, err
}

// addLimits adds the limits that podman would set by raising its own: before version 5 it does
// not write them into the configuration.
func addLimits(config *specs.Spec) error {
	for _, limit := range []struct {
		name     string
		resource int
	}{{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE}, {"RLIMIT_NPROC", unix.RLIMIT_NPROC}} {
		if slices.ContainsFunc(config.Process.Rlimits, func(r specs.POSIXRlimit) bool { return r.Type == limit.name }) {
			continue
		}
		var own unix.Rlimit
		if err := unix.Getrlimit(limit.resource, &own); err != nil {
			return err
		}
		config.Process.Rlimits = append(config.Process.Rlimits, specs.POSIXRlimit{Type: limit.name, Hard: own.Max, Soft: own.Max})
	}
	return nil
}

// newNamespace makes a network namespace. The launches have their own; podman's container needs
// one, because podman decides by the kind of network.
func newNamespace() (*os.File, error) {
	type result struct {
		namespace *os.File
		err       error
	}
	made := make(chan result)
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		var r result
		if r.err = err; err == nil {
			r.namespace, r.err = os.Open("/proc/thread-self/ns/net")
		}
		made <- r
	}()
	r := <-made
	return r.namespace, r.err
}

// ownFiles are the files of its own that podman mounts into a container and that launches keep.
// The others are /etc/passwd and /etc/group, which "podman run" is told to leave out, and
// /run/.containerenv, which is about podman's container.
var ownFiles = []string{"/etc/hosts", resolvConf, hostnameFile}

const (
	resolvConf   = "/etc/resolv.conf"
	hostnameFile = "/etc/hostname"
	shmDirectory = "/dev/shm"
)

// reduce takes out of a configuration what each launch has of its own, what needs podman at run
// time, and the control group, because the unit has the limits. container is the ID of podman's
// container: mounts of its files get their contents from the result.
func reduce(config *specs.Spec, container string) (map[string]string, error) {
	if config.Process == nil || config.Root == nil || config.Linux == nil || container == "" {
		return nil, errors.New("podman's configuration of the container has no process, root or linux")
	}
	if err := addLimits(config); err != nil {
		return nil, err
	}
	config.Process.Args = nil
	config.Hooks = nil
	config.Linux.CgroupsPath, config.Linux.Resources = "", nil
	files := map[string]string{}
	var mounts []specs.Mount
	for _, m := range config.Mounts {
		switch {
		case m.Destination == document.InitPath:
		case !strings.Contains(m.Source, "/"+container+"/"):
			mounts = append(mounts, m)
		case m.Destination == shmDirectory:
			mounts = append(mounts, sharedMemory(m))
		case slices.Contains(ownFiles, m.Destination):
			text, err := os.ReadFile(m.Source)
			if err != nil {
				return nil, err
			}
			files[m.Destination] = string(text)
			mounts = append(mounts, m)
		}
	}
	config.Mounts = mounts
	config.Process.Env = slices.DeleteFunc(config.Process.Env, func(variable string) bool {
		return strings.HasPrefix(variable, "SIDECAR_COMMAND=") // document.Process adds it to the launches that need it
	})
	return files, nil
}

// sharedMemory returns a mount of a file system of the container's own, in place of the one
// that podman would make, of the same size and with the same options.
func sharedMemory(m specs.Mount) specs.Mount {
	options := slices.DeleteFunc(slices.Clone(m.Options), func(option string) bool { return option == "bind" || option == "rbind" })
	return specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "shm", Options: append(options, "mode=1777", "size=65536000")}
}
