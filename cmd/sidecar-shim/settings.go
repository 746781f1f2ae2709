package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/spool"
)

// settingsFile is where an image says what differs from the defaults. It is a
// file because sudo and rootwrap do not pass environment variables on.
const settingsFile = "/etc/sidecar/shim.toml"

// settings are where things are. Each can be given in the file, or by an
// environment variable, which wins.
type settings struct {
	Address  string   `toml:"address"`  // of the service: unix:/PATH; SIDECAR_ADDRESS
	Spool    string   `toml:"spool"`    // directory, if there is no socket; SIDECAR_SPOOL
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

// readSettings returns the settings of this image: those of the file at path, if
// there is one, and of the environment.
func readSettings(path string) (settings, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return settings{}, err
	}
	s, err := parseSettings(string(text))
	if err != nil {
		return settings{}, fmt.Errorf("%s: %w", path, err)
	}
	return s.withEnvironment(os.LookupEnv).checked()
}

// parseSettings reads the text of a settings file. A key that is not known is an
// error: a misspelt one would silently do nothing.
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

// checked refuses paths that mean something else in every working directory.
func (s settings) checked() (settings, error) {
	for _, directory := range append([]string{s.Spool}, s.Programs...) {
		if !filepath.IsAbs(directory) {
			return settings{}, fmt.Errorf("settings: %q is not an absolute path", directory)
		}
	}
	return s, nil
}
