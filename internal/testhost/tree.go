package testhost

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// policyScript keeps packages from starting services while they install:
// invoke-rc.d takes 101 as "action forbidden by policy".
const (
	policyFile   = "usr/sbin/policy-rc.d"
	policyScript = "#!/bin/sh\nexit 101\n"
)

// How often a download is tried, and how much longer each pause is than the one
// before.
const (
	downloads     = 3
	downloadPause = 10 * time.Second
)

// tree returns the directory of the configuration's tree, and makes it when
// it is not there yet.
func (c Config) tree(ctx context.Context) (string, error) {
	return c.makeOnce(ctx, treeName(c), func(dir string) error {
		c.logf("making the tree of %s with debootstrap: once, one to three minutes", c.Release)
		return c.buildTree(ctx, dir)
	})
}

// buildTree fills dir with a release and its packages. It works in two
// stages, as for a foreign architecture, so that policyScript is in place
// before the first package is configured.
func (c Config) buildTree(ctx context.Context, dir string) error {
	log, err := os.Create(filepath.Join(c.CacheDir, treeName(c)+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	if err := c.download(ctx, log, dir); err != nil {
		return err
	}
	if err := prepareSecondStage(dir); err != nil {
		return err
	}
	if err := runOuter(ctx, log, "chroot", dir, "/debootstrap/debootstrap", "--second-stage"); err != nil {
		return err
	}
	return finishTree(dir)
}

// download runs the first stage. A mirror can fail for a moment: what is there
// already is not fetched again.
func (c Config) download(ctx context.Context, log io.Writer, dir string) error {
	var err error
	for wait := range downloads {
		if err = runOuter(ctx, log, c.debootstrap(dir)...); err == nil || ctx.Err() != nil {
			return err
		}
		c.logf("debootstrap failed: %v", err)
		if wait < downloads-1 {
			time.Sleep(time.Duration(wait+1) * downloadPause)
		}
	}
	return err
}

// debootstrap returns the command of the first stage. Only the base system
// is needed: minbase leaves out all that is merely important.
func (c Config) debootstrap(dir string) []string {
	argv := []string{
		"debootstrap", "--foreign", "--variant=minbase",
		"--include=" + strings.Join(c.Spec.packages(c.Release), ","),
		c.Release, dir,
	}
	if c.Mirror != "" {
		argv = append(argv, c.Mirror)
	}
	return argv
}

// prepareSecondStage writes what must be there before packages are
// configured.
func prepareSecondStage(dir string) error {
	return errors.Join(
		writeFile(dir, policyFile, policyScript, 0o755),
		// The tree is made again if the machine dies: no need to sync each file.
		writeFile(dir, "etc/dpkg/dpkg.cfg.d/testhost", "force-unsafe-io\n", 0o644),
	)
}

// finishTree removes what only the making needed.
func finishTree(dir string) error {
	archives, err := filepath.Glob(filepath.Join(dir, "var/cache/apt/archives/*.deb"))
	if err != nil {
		return err
	}
	for _, archive := range archives {
		err = errors.Join(err, os.Remove(archive))
	}
	// The machine's resolver is no use in a host without a network.
	return errors.Join(err, os.RemoveAll(filepath.Join(dir, "etc/resolv.conf")))
}

// writeFile writes a file below root and makes its directory.
func writeFile(root, name, content string, mode os.FileMode) error {
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), mode)
}
