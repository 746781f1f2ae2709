package testhost

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// Spec lists what a host holds beyond its base. It is usually read from a
// TOML file with [ReadSpec].
type Spec struct {
	// Packages are Debian packages, installed in every release.
	Packages []string `toml:"packages"`
	// Mask lists units that must not start in the host: those that packages
	// enable for daemons of which only the program is wanted.
	Mask []string `toml:"mask"`
	// Images are container images in the host's podman storage.
	Images []Image `toml:"image"`
	// Release holds what only one release has, by its code name.
	Release map[string]ReleaseSpec `toml:"release"`
	// Machine holds what makes a host a virtual machine, by a name for it.
	Machine map[string]MachineSpec `toml:"machine"`
}

// MachineSpec says how a virtual machine differs from a host.
type MachineSpec struct {
	// Packages are installed in addition to the packages of the host.
	Packages []string `toml:"packages"`
	// Kernel is added to the kernel's command line.
	Kernel string `toml:"kernel"`
	// Prepare is a shell script that runs once in the machine's tree, with the packages
	// installed; Install one that runs in the tree of each machine, with all of its
	// files; Start one that runs in each machine before its program.
	Prepare string `toml:"prepare"`
	Install string `toml:"install"`
	Start   string `toml:"start"`
}

// ReleaseSpec lists what only one release has.
type ReleaseSpec struct {
	// Packages are installed beside the packages of every release.
	Packages []string `toml:"packages"`
}

// Image is a container image that is made of files of the host's own tree.
type Image struct {
	// Name is the image's full name with its tag: "localhost/tools:1".
	Name string `toml:"name"`
	// Programs are copied with the shared libraries that ldd(1) names for
	// them. A program without a slash is looked for in PATH.
	Programs []string `toml:"programs"`
	// Files are copied as they are. A shell pattern may match nothing.
	Files []string `toml:"files"`
	// Applets are links in /usr/bin to the program busybox, which must be
	// one of Programs.
	Applets []string `toml:"applets"`
}

// ReadSpec reads a specification file. An unknown key is an error that names
// its line.
func ReadSpec(path string) (Spec, error) {
	file, err := os.Open(path)
	if err != nil {
		return Spec{}, err
	}
	defer file.Close()
	var spec Spec
	if err := toml.NewDecoder(file).DisallowUnknownFields().Decode(&spec); err != nil {
		return Spec{}, fmt.Errorf("%s: %s", path, describeTOML(err))
	}
	if err := spec.validate(); err != nil {
		return Spec{}, fmt.Errorf("%s: %w", path, err)
	}
	return spec, nil
}

// describeTOML returns the library's long description, which shows the line.
func describeTOML(err error) string {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		return "unknown key\n" + strict.String()
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		return decode.Error() + "\n" + decode.String()
	}
	return err.Error()
}

// The words of a specification end up on command lines and in paths.
var (
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	unitPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:_.@-]*\.[a-z]+$`)
	imagePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9./_-]*:[A-Za-z0-9._-]+$`)
	programPattern = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9+._/-]*$`)
	filePattern    = regexp.MustCompile(`^/[A-Za-z0-9+._/*-]+$`)
	appletPattern  = regexp.MustCompile(`^[a-z0-9\[][a-z0-9_-]*$`)
)

// validate returns the first word that cannot be what it stands for.
func (s Spec) validate() error {
	errs := []error{
		each("package", s.Packages, packagePattern),
		each("unit", s.Mask, unitPattern),
	}
	for name, release := range s.Release {
		errs = append(errs,
			each("release", []string{name}, releasePattern),
			each("package", release.Packages, packagePattern))
	}
	for name, machine := range s.Machine {
		errs = append(errs,
			each("machine", []string{name}, releasePattern),
			each("package", machine.Packages, packagePattern))
	}
	for _, image := range s.Images {
		errs = append(errs, image.validate())
	}
	return errors.Join(errs...)
}

// validate returns what is wrong with one image.
func (i Image) validate() error {
	err := errors.Join(
		each("image", []string{i.Name}, imagePattern),
		each("program", i.Programs, programPattern),
		each("file", i.Files, filePattern),
		each("applet", i.Applets, appletPattern))
	if err == nil && len(i.Programs) == 0 {
		return fmt.Errorf("image %q: no programs", i.Name)
	}
	return err
}

// each returns an error for the first word that does not match.
func each(kind string, words []string, pattern *regexp.Regexp) error {
	for _, word := range words {
		if !pattern.MatchString(word) {
			return fmt.Errorf("%s %q: want %s", kind, word, pattern)
		}
	}
	return nil
}

// packages returns all packages of a release, sorted, each once.
func (s Spec) packages(release string) []string {
	all := slices.Concat(basePackages, s.Packages, s.Release[release].Packages)
	slices.Sort(all)
	return slices.Compact(all)
}
