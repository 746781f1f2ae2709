package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/runtime-spec/specs-go"

	"tripleo.io/sidecar/interfaces"
)

// store is the directory of templates, root's own. It has
//
//   - NAME.json: a template;
//   - current: the names of the templates that the policy needs, a line each;
//   - images/ID: an image that is mounted for templates ([mountNote]);
//   - users/SIDECAR: the template and the image of a sidecar's last launch ([useNote]);
//   - lock: shared by launches, exclusive while prune looks what is needed. Nobody holds it while
//     podman runs;
//   - images.lock: exclusive while images are mounted and unmounted.
type store struct {
	directory string
	units     string // has a file for every transient unit that systemd has loaded, also for one that waits for its restart or has failed
}

// hostStore is the store of the host.
var hostStore = store{"/run/sidecar/templates", "/run/systemd/transient"}

const (
	imagesName  = "images"
	usersName   = "users"
	currentName = "current"
	suffix      = ".json"

	lockName       = "lock"
	imagesLockName = "images.lock"

	// lockLimit bounds the wait for a lock.
	lockLimit = 20 * time.Second
	lockPause = time.Millisecond
)

// template is what the launches of one kind have in common.
type template struct {
	Podman string            `json:"podman"` // path of the program that has mounted it
	Image  string            `json:"image"`  // its ID
	Root   string            `json:"root"`   // where it is mounted
	Files  map[string]string `json:"files"`  // what podman put into files of the container, by their places
	Config specs.Spec        `json:"config"` // without what each launch has of its own
}

func (s store) path(words ...string) string {
	return filepath.Join(append([]string{s.directory}, words...)...)
}

// lock takes a lock and makes the directories.
func (s store) lock(ctx context.Context, name string, exclusive bool) (unlock func(), err error) {
	for _, directory := range []string{s.directory, s.path(imagesName), s.path(usersName)} {
		if err := os.MkdirAll(directory, 0o700); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	l := flock.New(s.path(name))
	take := l.TryRLockContext
	if exclusive {
		take = l.TryLockContext
	}
	if _, err := take(ctx, lockPause); err != nil {
		return nil, fmt.Errorf("waiting for %s: %w", l.Path(), err)
	}
	return func() { _ = l.Close() }, nil
}

// read reads a template.
func (s store) read(name string) (*template, error) {
	text, err := os.ReadFile(s.path(name + suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New(Unprepared + ": reload sidecard, and see the log of sidecar-prepare-*.service")
	}
	if err != nil {
		return nil, err
	}
	var t template
	err = json.Unmarshal(text, &t)
	if err == nil && (t.Config.Process == nil || t.Config.Linux == nil || !filepath.IsAbs(t.Root)) {
		err = errors.New("it has no process, no linux or no root")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %v", s.path(name+suffix), err)
	}
	return &t, nil
}

// write replaces a template: there is the old one or the new one at every moment.
func (s store) write(name string, t *template) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return replaceFile(s.path(name+suffix), text)
}

func replaceFile(path string, text []byte) error {
	err := os.WriteFile(path+".new", text, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		_ = os.Remove(path + ".new") // a full disk
	}
	return err
}

// mountNote is about an image that is mounted.
type mountNote struct {
	Podman string `json:"podman"` // path of the program that has mounted it
	Root   string `json:"root"`   // "" before it was mounted
}

// useNote is about a sidecar's last launch.
type useNote struct {
	Template string `json:"template"`
	Image    string `json:"image"`
}

func writeNote(path string, note any) error {
	text, err := json.Marshal(note)
	if err != nil {
		return err
	}
	return replaceFile(path, text)
}

func readNote(path string, note any) error {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, note)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Unprepared begins the error of a launch without a template.
const Unprepared = "the image is not prepared"

// Keep says which templates the policy needs, for [Prune], or that it needs more than so far. It
// reports whether there may be something to prune.
func Keep(templates []string, more bool) (bool, error) { return hostStore.keep(templates, more) }

func (s store) keep(templates []string, more bool) (bool, error) {
	if _, err := os.Lstat(s.directory); len(templates) == 0 && errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	unlock, err := s.lock(context.Background(), lockName, true)
	if err != nil {
		return false, err
	}
	defer unlock()
	if more {
		old, err := os.ReadFile(s.path(currentName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		templates = append(strings.Fields(string(old)), templates...)
	}
	return true, replaceFile(s.path(currentName), []byte(strings.Join(templates, "\n")))
}

// Prune removes templates that neither the policy nor a sidecar needs, and unmounts images that
// no template and no sidecar needs.
func Prune(ctx context.Context) error { return hostStore.prune(ctx) }

func (s store) prune(ctx context.Context) error {
	if _, err := os.Lstat(s.path(currentName)); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever prepared
	}
	unlock, err := s.lock(ctx, imagesLockName, true)
	if err != nil {
		return err
	}
	defer unlock()
	needed, err := s.needed(ctx)
	if err != nil {
		return err
	}
	return s.unmount(ctx, needed)
}

// needed removes the templates that nobody needs, and lists the images that somebody needs. No
// launch comes to need another one, because it would read a template first.
func (s store) needed(ctx context.Context) ([]string, error) {
	unlock, err := s.lock(ctx, lockName, true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	users, err := s.users()
	if err != nil {
		return nil, err
	}
	if err := s.removeTemplates(users); err != nil {
		return nil, err
	}
	return s.neededImages(users)
}

// Forget removes the notes of sidecars whose units do not exist any more. It leaves them to
// [Prune] if launches keep it from looking.
func Forget(sidecars []string) { hostStore.forget(sidecars) }

// forgetLimit bounds the wait for launches: whoever calls Forget watches all units.
const forgetLimit = 100 * time.Millisecond

func (s store) forget(sidecars []string) {
	noted := slices.DeleteFunc(slices.Clone(sidecars), func(sidecar string) bool {
		_, err := os.Lstat(s.path(usersName, sidecar))
		return err != nil
	})
	if len(noted) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), forgetLimit)
	defer cancel()
	unlock, err := s.lock(ctx, lockName, true)
	if err != nil {
		return
	}
	defer unlock()
	for _, sidecar := range noted {
		if !s.hasUnit(sidecar) {
			_ = os.Remove(s.path(usersName, sidecar))
		}
	}
}

// hasUnit reports whether systemd has a sidecar's unit.
func (s store) hasUnit(sidecar string) bool {
	id, err := interfaces.ParseID(sidecar)
	if err == nil {
		_, err = os.Lstat(filepath.Join(s.units, id.Unit()))
	}
	return err == nil
}

// users reads the notes of the sidecars whose units exist, and removes the others'.
func (s store) users() ([]useNote, error) {
	sidecars, err := names(s.path(usersName))
	if err != nil {
		return nil, err
	}
	var users []useNote
	for _, sidecar := range sidecars {
		if !s.hasUnit(sidecar) { // or half-written by a process that was killed
			_ = os.Remove(s.path(usersName, sidecar)) // or next time
			continue
		}
		var user useNote
		if readNote(s.path(usersName, sidecar), &user) == nil { // a damaged note says nothing
			users = append(users, user)
		}
	}
	return users, nil
}

// removeTemplates removes the templates that nobody needs.
func (s store) removeTemplates(users []useNote) error {
	current, err := os.ReadFile(s.path(currentName))
	if err != nil {
		return err
	}
	needed := strings.Fields(string(current))
	for _, user := range users {
		needed = append(needed, user.Template)
	}
	templates, err := s.templates()
	for _, name := range templates {
		if !slices.Contains(needed, name) {
			err = errors.Join(err, os.Remove(s.path(name+suffix)))
		}
	}
	return err
}

// unmount unmounts the images that nobody needs, and lets podman remove them.
func (s store) unmount(ctx context.Context, needed []string) error {
	images, err := names(s.path(imagesName))
	var kept []string
	var podman string
	for _, image := range images {
		var note mountNote
		switch noteErr := readNote(s.path(imagesName, image), &note); {
		case noteErr != nil:
			err = errors.Join(err, noteErr, os.Remove(s.path(imagesName, image)))
			continue
		case slices.Contains(needed, image):
			kept = append(kept, image)
		default:
			err = errors.Join(err, s.unmountImage(ctx, image, note))
		}
		podman = note.Podman
	}
	if podman != "" {
		err = errors.Join(err, preparation{podman, s}.releaseOthers(ctx, kept))
	}
	return err
}

// neededImages lists the images of templates and sidecars.
func (s store) neededImages(users []useNote) ([]string, error) {
	var needed []string
	for _, user := range users {
		needed = append(needed, user.Image)
	}
	templates, err := s.templates()
	for _, name := range templates {
		if t, err := s.read(name); err == nil { // a damaged one cannot be launched with
			needed = append(needed, t.Image)
		}
	}
	return needed, err
}

func (s store) unmountImage(ctx context.Context, image string, note mountNote) error {
	p := preparation{note.Podman, s}
	// An image that podman does not have any more is not mounted.
	if _, err := p.podman(ctx, "image", "exists", image); err == nil && (note.Root == "" || isMountPoint(note.Root)) {
		if _, err := p.podman(ctx, "image", "unmount", "--force", image); err != nil {
			return err
		}
	}
	if err := p.release(ctx, image); err != nil {
		return err
	}
	return os.Remove(s.path(imagesName, image))
}

// templates lists the names of all templates.
func (s store) templates() ([]string, error) {
	all, err := names(s.directory)
	var templates []string
	for _, name := range all {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			templates = append(templates, base)
		}
	}
	return templates, err
}

// names lists the files of a directory.
func names(directory string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	var all []string
	for _, entry := range entries {
		if !entry.IsDir() {
			all = append(all, entry.Name())
		}
	}
	return all, err
}
