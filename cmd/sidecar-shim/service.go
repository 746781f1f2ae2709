package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// settingsFile is where an image changes the defaults. It is a file because sudo and
// rootwrap do not pass environment variables on.
const settingsFile = "/etc/sidecar/shim.toml"

// settings tell where things are. Each can be given in the file, or by an environment
// variable, which wins.
type settings struct {
	Address  string   `toml:"address"`  // of the service: unix:/PATH; SIDECAR_ADDRESS
	Spool    string   `toml:"spool"`    // directory, used without a socket; SIDECAR_SPOOL
	Programs []string `toml:"programs"` // directories with the real programs; SIDECAR_PROGRAMS, with colons between
}

func defaults() settings {
	return settings{
		Address: client.DefaultAddress,
		Spool:   spool.DefaultDirectory,
		Programs: []string{
			"/usr/libexec/sidecar/real",
			"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
		},
	}
}

// readSettings returns the settings of this image, from the environment, the file at
// path, which need not exist, and the defaults.
func readSettings(path string) (settings, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return settings{}, err
	}
	s, err := parseSettings(string(text))
	if err != nil {
		return settings{}, fmt.Errorf("%s: %w", path, err)
	}
	s = s.withEnvironment(os.LookupEnv)
	for _, directory := range append([]string{s.Spool}, s.Programs...) {
		if !filepath.IsAbs(directory) {
			return settings{}, fmt.Errorf("settings: %q is not an absolute path", directory)
		}
	}
	return s, nil
}

// parseSettings reads the text of a settings file. An unknown key is an error, because
// a misspelt one would silently do nothing.
func parseSettings(text string) (settings, error) {
	s := defaults()
	if strings.TrimSpace(text) == "" {
		return s, nil
	}
	err := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields().Decode(&s)
	var strict *toml.StrictMissingError
	var decode *toml.DecodeError
	switch {
	case errors.As(err, &strict) && len(strict.Errors) > 0:
		line, _ := strict.Errors[0].Position()
		return settings{}, fmt.Errorf("line %d: no such key: %q; there are address, spool and programs", line, strings.Join(strict.Errors[0].Key(), "."))
	case errors.As(err, &decode):
		line, _ := decode.Position()
		return settings{}, fmt.Errorf("line %d: %w", line, decode)
	}
	return s, err
}

func (s settings) withEnvironment(lookup func(string) (string, bool)) settings {
	if v, ok := lookup("SIDECAR_ADDRESS"); ok && v != "" {
		s.Address = v
	}
	if v, ok := lookup("SIDECAR_SPOOL"); ok && v != "" {
		s.Spool = v
	}
	if v, ok := lookup("SIDECAR_PROGRAMS"); ok && v != "" {
		s.Programs = strings.Split(v, ":")
	}
	return s
}

// service makes the shim's calls, over the agent's socket or through its spool. The
// errors are defined in packages interfaces, client and spool.
type service interface {
	client.Launcher
	List(context.Context, interfaces.ListParameters) ([]interfaces.Sidecar, error)
	Signal(context.Context, interfaces.SignalParameters) error
	Stop(context.Context, interfaces.StopParameters) (*interfaces.StopReply, error)
}

// connect returns the service that the settings of this image name. The spool is only
// for agents without a socket: a socket that does not work is an error.
func connect() (service, error) {
	s, err := readSettings(settingsFile)
	if err != nil {
		return nil, err
	}
	c, err := client.New(s.Address)
	if err != nil {
		return nil, err
	}
	_, err = os.Lstat(strings.TrimPrefix(c.Address(), "unix:"))
	requests, noSpool := os.Stat(filepath.Join(s.Spool, spool.Requests))
	if errors.Is(err, fs.ErrNotExist) && noSpool == nil && requests.IsDir() {
		return spooled{&spool.Client{Directory: s.Spool}}, nil
	}
	return c, nil
}

// spooled is the service behind a spool. Without a connection the service cannot tell
// the caller's network namespace, so the request names it, and the policy decides.
type spooled struct{ *spool.Client }

// LaunchReply calls Launch with the caller's network namespace.
func (s spooled) LaunchReply(ctx context.Context, p interfaces.LaunchParameters) (*interfaces.LaunchReply, error) {
	name, err := namespaceName("/run/netns", "/proc/self/ns/net", "/proc/1/ns/net")
	if err != nil {
		return nil, err
	}
	p.NetworkNamespace = name
	return s.Client.LaunchReply(ctx, p)
}

// namespaceName returns the first name in the directory (ip-netns(8)) of the network
// namespace that own leads to (namespaces(7)), or nil if it has no name, as the host's
// own. A namespace without a name is an error, because the service cannot see it, unless the
// first process of the container or of the host is in it. An agent that must not look at the
// host's first process does not get this error.
func namespaceName(directory, own, first string) (*string, error) {
	var want, other unix.Stat_t
	if err := unix.Stat(own, &want); err != nil {
		return nil, fmt.Errorf("%s: %w", own, err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, entry := range entries {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(directory, entry.Name()), &st) == nil && st.Dev == want.Dev && st.Ino == want.Ino {
			return new(entry.Name()), nil
		}
	}
	if unix.Stat(first, &other) == nil && (other.Dev != want.Dev || other.Ino != want.Ino) {
		return nil, fmt.Errorf("the caller's network namespace has no name in %s: mount the host's there, shared (rshared)", directory)
	}
	return nil, nil
}
