package testhost

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

const (
	// CacheEnv names the environment variable that overrides the cache's place.
	CacheEnv = "SIDECAR_TESTHOST_CACHE"
	// MirrorEnv names the environment variable with another Debian mirror.
	MirrorEnv = "SIDECAR_TESTHOST_MIRROR"

	defaultCacheDir    = "/var/cache/sidecar-testhost"
	defaultBootTimeout = 5 * time.Minute
	defaultStopTimeout = time.Minute
)

// Config says which host to boot.
type Config struct {
	// Release is the code name of a Debian release: "bookworm", "trixie".
	Release string
	// Spec lists packages, units to mask and container images.
	Spec Spec
	// Install lists staged directories. The content of each is copied over
	// the host's root before it boots, and is owned by root there.
	Install []string
	// CacheDir holds trees, images and the directories of running hosts. It
	// must be on a disk, not on an overlay. Default: the variable CacheEnv,
	// else /var/cache/sidecar-testhost.
	CacheDir string
	// Mirror is the Debian mirror of a new tree. Default: the variable
	// MirrorEnv, else debootstrap's own choice.
	Mirror string
	// Log receives progress, one line a step. Default: nowhere.
	Log io.Writer
	// Quiet leaves out of Log what happens at every boot. What takes long,
	// changes the machine or went wrong is still reported.
	Quiet bool
	// BootTimeout bounds the time from start to a running system (5 min; it takes
	// some 4 s, and a minute on a machine that has much else to do).
	BootTimeout time.Duration
	// StopTimeout bounds the orderly shutdown, after which the host is
	// killed (1 min).
	StopTimeout time.Duration
}

// releasePattern keeps the release usable as a word of a command line and as
// a part of a path.
var releasePattern = regexp.MustCompile(`^[a-z]{1,32}$`)

// validate returns the configuration with its defaults, or what is wrong.
func (c Config) validate() (Config, error) {
	if !releasePattern.MatchString(c.Release) {
		return c, fmt.Errorf("release %q: want a Debian code name such as trixie", c.Release)
	}
	if err := c.Spec.validate(); err != nil {
		return c, err
	}
	for _, dir := range c.Install {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return c, fmt.Errorf("install %q: not a directory", dir)
		}
	}
	c.CacheDir = firstOf(c.CacheDir, os.Getenv(CacheEnv), defaultCacheDir)
	if !filepath.IsAbs(c.CacheDir) {
		return c, fmt.Errorf("cache directory %q: want an absolute path", c.CacheDir)
	}
	c.Mirror = firstOf(c.Mirror, os.Getenv(MirrorEnv))
	if c.Log == nil {
		c.Log = io.Discard
	}
	if c.BootTimeout <= 0 {
		c.BootTimeout = defaultBootTimeout
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = defaultStopTimeout
	}
	return c, nil
}

// logf reports one step of progress.
func (c Config) logf(format string, args ...any) {
	fmt.Fprintf(c.Log, "testhost: "+format+"\n", args...)
}

// firstOf returns the first of values that is not empty.
func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
