package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"

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
	unlock, err := p.store.lock(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	root, err := p.mount(ctx, image)
	if err != nil {
		return err
	}
	return p.store.write(d.Template, &template{image, root, files, *config})
}

// preparation runs podman.
type preparation struct {
	program string
	store   store
}

// podman runs a command of podman, and returns the last line of its output. The output goes to a
// file: a pipe would stay open as long as the container's process, which inherits it.
func (p preparation) podman(ctx context.Context, words ...string) (string, error) {
	fd, err := unix.MemfdCreate("podman", unix.MFD_CLOEXEC)
	if err != nil {
		return "", err
	}
	output := os.NewFile(uintptr(fd), "podman")
	defer output.Close()
	cmd := exec.CommandContext(ctx, p.program, words...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err = cmd.Run()
	text, readErr := io.ReadAll(io.NewSectionReader(output, 0, maxOutput))
	if err != nil || readErr != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd.Path, errors.Join(err, readErr), bytes.TrimSpace(text))
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return lines[len(lines)-1], nil
}

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

// isMountPoint reports whether something is mounted on path (statx(2)).
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// configuration has podman make a container, up to the point where its process would start,
// and returns what podman tells the runtime, without what each launch has of its own.
func (p preparation) configuration(ctx context.Context, d *document.Document) (config *specs.Spec, files map[string]string, err error) {
	if d.NetworkNamespace() != "" {
		if err := newNamespace(document.NetworkNamespacePath(d.ID)); err != nil {
			return nil, nil, fmt.Errorf("making a network namespace: %w", err)
		}
	}
	create := podman.Engine{}.Creation(d)
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

// newNamespace makes a network namespace and mounts it on path. The launches have their own;
// podman's container needs one, because podman decides by the kind of network.
func newNamespace(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o400); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	failed := make(chan error)
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		failed <- err
	}()
	return <-failed
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
