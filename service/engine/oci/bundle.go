package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

// ProgramError means that the image does not have the payload's program.
type ProgramError struct {
	Code int // the exit code of podman-run(1): 127, or 126 if it cannot be executed
	Err  error
}

func (e *ProgramError) Error() string { return e.Err.Error() }
func (e *ProgramError) Unwrap() error { return e.Err }

// Make mounts the container's root and writes the bundle: the runtime's configuration, and the
// files that it mounts. It returns the image's ID. Its thread must be in a mount namespace of its
// own.
func (Engine) Make(ctx context.Context, d *document.Document) (string, error) {
	t, err := hostStore.take(ctx, d)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(state(d), 0o700); err != nil {
		return "", err
	}
	if err := removeOld(ctx, d); err != nil {
		return "", err
	}
	if !isMountPoint(t.Root) { // an operator, for example, has had podman unmount all images
		if t.Root, err = mountAgain(ctx, t); err != nil {
			return "", fmt.Errorf("%s: %w", Unprepared, err)
		}
	}
	return t.Image, t.make(d)
}

// mountAgain has podman mount the template's image on the host, and mounts it here as well: a
// launch has a mount namespace of its own.
func mountAgain(ctx context.Context, t *template) (root string, err error) {
	type result struct {
		root string
		tree int
		err  error
	}
	mounted := make(chan result)
	go func() { // no thread but the launch's has left the host's mount namespace
		var r result
		if r.root, r.err = (preparation{t.Podman, hostStore}).podman(ctx, "image", "mount", t.Image); r.err == nil {
			r.tree, r.err = unix.OpenTree(unix.AT_FDCWD, r.root, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		}
		mounted <- r
	}()
	r := <-mounted
	if r.err != nil {
		return "", r.err
	}
	defer unix.Close(r.tree)
	return r.root, unix.MoveMount(r.tree, "", unix.AT_FDCWD, r.root, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// take reads the template of a launch, and notes that it is used.
func (s store) take(ctx context.Context, d *document.Document) (*template, error) {
	unlock, err := s.lock(ctx, lockName, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	t, err := s.read(d.Template)
	if err != nil {
		return nil, err
	}
	return t, writeNote(s.path(usersName, d.ID), useNote{d.Template, t.Image})
}

// removeOld removes what a clean-up that was killed has left of the sidecar's last container.
func removeOld(ctx context.Context, d *document.Document) error {
	if _, err := os.Lstat(filepath.Join(state(d), d.ID)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	removal := Engine{}.Removal(d)
	out, err := exec.CommandContext(ctx, removal[0], removal[1:]...).CombinedOutput()
	if err == nil {
		return nil
	}
	// The unit is new, so nothing of that container runs: its state is damaged.
	if removeErr := os.RemoveAll(filepath.Join(state(d), d.ID)); removeErr != nil {
		return fmt.Errorf("removing the sidecar's last container: %s: %w: %s; %w", removal[0], err, bytes.TrimSpace(out), removeErr)
	}
	return nil
}

// make makes the bundle of a launch.
func (t *template) make(d *document.Document) error {
	directory := bundle(d.ID)
	if err := os.Mkdir(directory, 0o700); err != nil {
		return err
	}
	if err := t.complete(d, directory); err != nil {
		return err
	}
	if err := t.mountRoot(document.Pins(d.ID)+"/"+document.PointsName, rootfs(d.ID)); err != nil {
		return err
	}
	text, err := json.Marshal(&t.Config)
	if err == nil {
		err = os.WriteFile(directory+"/config.json", text, 0o600)
	}
	if err != nil {
		return err
	}
	return t.checkProgram()
}

// complete adds to the configuration what the launch has of its own.
func (t *template) complete(d *document.Document, directory string) error {
	config := &t.Config
	argv, variables := d.Process()
	id, _ := interfaces.ParseID(d.ID) // the document is valid
	config.Hostname = id.Hash         // podman takes the container's
	config.Process.Args = argv
	config.Process.Env = withVariables(config.Process.Env, append(variables, "HOSTNAME="+config.Hostname))
	config.Root = &specs.Root{Path: rootfs(d.ID), Readonly: true}
	for i, namespace := range config.Linux.Namespaces {
		if namespace.Type == specs.NetworkNamespace {
			config.Linux.Namespaces[i].Path = document.NetworkNamespacePath(d.ID)
		}
	}
	if err := t.ownFiles(directory); err != nil {
		return err
	}
	if err := t.addMounts(d); err != nil {
		return err
	}
	// Outer mounts first, as podman orders them.
	slices.SortStableFunc(config.Mounts, func(a, b specs.Mount) int { return depth(a) - depth(b) })
	return nil
}

// addMounts adds the pins, the private directories and sidecar-init.
func (t *template) addMounts(d *document.Document) error {
	sources, mounts := []string{}, []document.Mount{}
	for i, m := range d.Mounts {
		if d.Outermost(i) == i {
			sources, mounts = append(sources, document.MountPath(d.ID, i)), append(mounts, m)
		}
	}
	if d.Daemonizes() {
		sources, mounts = append(sources, d.Init), append(mounts, document.Mount{Path: document.InitPath})
	}
	for i, m := range mounts {
		mount, err := bind(sources[i], m)
		if err != nil {
			return err
		}
		t.Config.Mounts = append(t.Config.Mounts, mount)
	}
	for _, dir := range d.Tmpfs {
		t.Config.Mounts = append(t.Config.Mounts, specs.Mount{Destination: dir, Type: "tmpfs", Source: "tmpfs", Options: tmpfsOptions})
	}
	return nil
}

// tmpfsOptions are those that podman passes on from the podman engine's --tmpfs.
var tmpfsOptions = []string{"rw", "noexec", "nosuid", "nodev", "size=1m", "mode=1777", "rprivate"}

// withVariables sets variables (NAME=value) in an environment.
func withVariables(environment, variables []string) []string {
	for _, variable := range variables {
		name, _, _ := strings.Cut(variable, "=")
		environment = slices.DeleteFunc(environment, func(other string) bool { return strings.HasPrefix(other, name+"=") })
	}
	return append(environment, variables...)
}

// ownFiles writes the files that podman would make for the container.
func (t *template) ownFiles(directory string) error {
	for i, m := range t.Config.Mounts {
		text, ok := t.Files[m.Destination]
		if !ok || !slices.Contains(ownFiles, m.Destination) {
			continue
		}
		if m.Destination == hostnameFile {
			text = t.Config.Hostname + "\n"
		}
		path := filepath.Join(directory, filepath.Base(m.Destination))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		if err := setLabel(path, t.Config.Linux.MountLabel); err != nil {
			return err
		}
		t.Config.Mounts[i].Source = path
	}
	return nil
}

// setLabel gives a file an SELinux label, unless that is "".
func setLabel(path, label string) error {
	if label == "" {
		return nil
	}
	if err := unix.Setxattr(path, "security.selinux", []byte(label), 0); err != nil {
		return fmt.Errorf("%s: setting the label %s: %w", path, label, err)
	}
	return nil
}

// bind returns the mount of a pin. As podman does, it names the restrictions that the pin has
// already: a runtime that mounts it again must not drop them.
func bind(pin string, m document.Mount) (specs.Mount, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(pin, &st); err != nil {
		return specs.Mount{}, fmt.Errorf("%s: %w", pin, err)
	}
	options := []string{"ro", "rprivate"}
	if m.Writable {
		options[0] = "rw"
	}
	for _, flag := range []struct {
		bit  int64
		name string
	}{{unix.ST_NOSUID, "nosuid"}, {unix.ST_NODEV, "nodev"}, {unix.ST_NOEXEC, "noexec"}} {
		if st.Flags&flag.bit != 0 {
			options = append(options, flag.name)
		}
	}
	return specs.Mount{Destination: m.Place(), Type: "bind", Source: pin, Options: append(options, "rbind")}, nil
}

func depth(m specs.Mount) int { return strings.Count(filepath.Clean(m.Destination), "/") }

// mountRoot mounts the image on root, below a file system that has the mount points that the
// image lacks: the image is read-only, and so is the result. Only the result keeps that file
// system; a directory must not be deleted while it is part of an overlay. The kernel allows an
// overlay on an overlay, which the image is already, but not a third one.
func (t *template) mountRoot(points, root string) error {
	for _, path := range []string{points, root} {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", points, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, t.labelled("mode=755")); err != nil {
		return fmt.Errorf("mounting a place for mount points: %w", err)
	}
	err := t.makePoints(points)
	if err == nil {
		err = unix.Mount("overlay", root, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, t.labelled("lowerdir="+points+":"+t.Root))
	}
	if err != nil {
		return fmt.Errorf("mounting the image: %w", err) // the pins' clean-up unmounts both
	}
	if err := unix.Unmount(points, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting the place of mount points: %w", err)
	}
	return os.Remove(points)
}

// labelled adds to mount options that all of the file system has the label of a container's
// files, as podman does.
func (t *template) labelled(options string) string {
	if label := t.Config.Linux.MountLabel; label != "" {
		options += ",context=" + strconv.Quote(label)
	}
	return options
}

// makePoints makes the mount points that the image lacks.
func (t *template) makePoints(points string) error {
	if err := copyDirectory(t.Root, points); err != nil {
		return err
	}
	for _, m := range t.Config.Mounts {
		if t.within(m.Destination) {
			continue // the runtime makes it
		}
		if err := makePoint(t.Root, points, m); err != nil {
			return fmt.Errorf("mount point %s: %w", m.Destination, err)
		}
	}
	return nil
}

// within reports whether a path lies in a mount of the container.
func (t *template) within(path string) bool {
	return slices.ContainsFunc(t.Config.Mounts, func(m specs.Mount) bool {
		return strings.HasPrefix(path, strings.TrimSuffix(m.Destination, "/")+"/")
	})
}

// makePoint makes in points what is missing in image for a mount. Links in the image are
// followed within the image, as the runtime follows them. A directory that both have looks as
// in the image.
func makePoint(image, points string, m specs.Mount) error {
	place, err := securejoin.SecureJoin(image, m.Destination)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(place); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	relative, err := filepath.Rel(image, place)
	if err != nil {
		return err
	}
	parts := strings.Split(relative, "/")
	for i := range parts[:len(parts)-1] {
		if err := copyDirectory(filepath.Join(image, filepath.Join(parts[:i+1]...)), filepath.Join(points, filepath.Join(parts[:i+1]...))); err != nil {
			return err
		}
	}
	target := filepath.Join(points, relative)
	if info, err := os.Stat(m.Source); m.Type == "bind" && err == nil && !info.IsDir() {
		return os.WriteFile(target, nil, 0o444)
	}
	return mkdir(target)
}

// copyDirectory makes a directory with the owner and the mode of the image's, if that exists.
func copyDirectory(image, point string) error {
	if err := mkdir(point); err != nil {
		return err
	}
	var st unix.Stat_t
	err := unix.Lstat(image, &st)
	if err == unix.ENOENT {
		return nil
	}
	if err == nil {
		err = os.Lchown(point, int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = unix.Chmod(point, st.Mode&0o7777)
	}
	return err
}

func mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// checkProgram looks for the first process's program, as podman does before it starts one. It
// leaves programs in mounts to the runtime.
func (t *template) checkProgram() error {
	program := t.Config.Process.Args[0]
	if t.within(program) || slices.ContainsFunc(t.Config.Mounts, func(m specs.Mount) bool { return m.Destination == program }) {
		return nil
	}
	path, err := securejoin.SecureJoin(t.Root, program)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return &ProgramError{127, fmt.Errorf("%s: no such program in image %s", program, t.Image)}
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return &ProgramError{126, fmt.Errorf("%s: not a program, in image %s", program, t.Image)}
	}
	return nil
}
