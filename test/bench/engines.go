package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tripleo.io/sidecar/client"
)

// The profiles that are measured are the shipped one, and a copy of it that says
// which engine runs its containers.
const (
	profile        = "dnsmasq"
	runtimeProfile = "dnsmasq-runtime"

	shippedFile = "/usr/share/sidecar/profiles.d/" + profile + ".toml"
	runtimeFile = "/etc/sidecar/profiles.d/" + runtimeProfile + ".toml"

	// overridingFile replaces the shipped profile while it exists.
	overridingFile = "/etc/sidecar/profiles.d/" + profile + ".toml"
)

// engineKey chooses the engine in a profile.
const engineKey = "engine"

// setUp makes the profile of the runtime engine and the agent, and starts the service.
func setUp(ctx context.Context, s settings) (*bench, error) {
	b := &bench{settings: s}
	profiles := []string{profile}
	text, err := onRuntime()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(runtimeFile, text, 0o644); err != nil {
		return nil, err
	}
	if b.runtime, err = hasRuntime(ctx); err != nil {
		return nil, err
	}
	if b.runtime {
		profiles = append(profiles, runtimeProfile)
	} else {
		fmt.Println("bench: the runtime engine is not there: its figures are left out")
	}
	if err := writeAgent(profiles...); err != nil {
		return nil, err
	}
	if err := writeStarts(ctx, s.starts); err != nil {
		return nil, err
	}
	if _, err := output(ctx, "systemctl", "restart", "sidecard"); err != nil {
		return nil, err
	}
	if b.agent, err = client.New(agentSocket); err == nil && b.runtime {
		err = awaitImage(ctx)
	}
	return b, err
}

// awaitImage waits until the image of the runtime engine is prepared. So does a launch, but
// not as long as that takes where the processor is emulated.
func awaitImage(ctx context.Context) error {
	const templates = "/run/sidecar/templates/*.json"
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if found, err := filepath.Glob(templates); err != nil || len(found) > 0 {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("no image was prepared (%s): %w", templates, ctx.Err())
}

// onRuntime returns the shipped profile with the runtime engine.
func onRuntime() ([]byte, error) {
	text, err := os.ReadFile(shippedFile)
	return append([]byte(engineKey+" = \"runtime\"\n"), text...), err
}

// hasRuntime reports whether the service knows the profile's engine. If it does not, the
// profile is removed.
func hasRuntime(ctx context.Context) (bool, error) {
	_, err := output(ctx, "sidecarctl", "check")
	if err == nil {
		return true, nil
	}
	if !strings.Contains(err.Error(), runtimeFile+":1: "+engineKey+": unknown key") {
		return false, err
	}
	return false, os.Remove(runtimeFile)
}

// overridden has f run while the shipped profile's name means the runtime engine: the shim
// takes the name of its program for the profile's.
func overridden(ctx context.Context, f func() error) error {
	text, err := onRuntime()
	if err != nil {
		return err
	}
	if err := os.WriteFile(overridingFile, text, 0o644); err != nil {
		return err
	}
	_, err = output(ctx, "systemctl", "reload", "sidecard")
	if err == nil {
		err = f()
	}
	err = errors.Join(err, os.Remove(overridingFile))
	_, reload := output(ctx, "systemctl", "reload", "sidecard")
	return errors.Join(err, reload)
}
