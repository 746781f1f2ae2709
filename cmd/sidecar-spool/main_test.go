package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/internal/mantest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestSpoolCommandRefuses(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"", "prepare", "drain", "version now", "prepare a b", "drain ../a", "prepare -a", "drain A", "clean a", "-nonsense"} {
		if err := run(t.Context(), strings.Fields(words), quiet()); err == nil {
			t.Errorf("%q was taken", words)
		}
	}
}

func TestSpoolCommandManual(t *testing.T) {
	t.Parallel()
	mantest.Options(t, "sidecar-spool.8", new(options).flagSet())
}

func TestSpoolCommandPrepare(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"profiles.d/p.toml":     "description = \"p\"\nimage = \"localhost/i:1\"\ncommand = [\"/p\"]\ninstance = \"-f\"\nready = { process = true, timeout = \"5s\" }\narguments = [\"-f {path:ro}\"]\n",
		"agents.d/with.toml":    "profiles = [\"p\"]\nnetwork-namespaces = [\"n-*\"]\nstate-directories = [\"/var/lib/p\"]\nspool-user = 0\n",
		"agents.d/without.toml": "profiles = [\"p\"]\nnetwork-namespaces = [\"n-*\"]\nstate-directories = [\"/var/lib/p\"]\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spools := filepath.Join(dir, "spool")
	if err := os.Mkdir(spools, 0o755); err != nil {
		t.Fatal(err)
	}
	prepare := func(agent string) error {
		return run(t.Context(), []string{"-vendor-directory", "/nowhere", "-host-directory", dir, "-directory", spools, "prepare", agent}, quiet())
	}
	if err := prepare("without"); err == nil || !strings.Contains(err.Error(), "has no spool-user") {
		t.Errorf("without spool-user: %v", err)
	}
	if err := prepare("stranger"); err == nil || !strings.Contains(err.Error(), "agent stranger does not exist") {
		t.Errorf("without a file: %v", err)
	}
	err := prepare("with")
	if os.Geteuid() == 0 && err != nil {
		t.Errorf("with spool-user: %v", err)
	}
	list, _ := os.ReadDir(spools)
	if len(list) != 1 || list[0].Name() != "with" {
		t.Errorf("made %v", list)
	}
}

// TestSpoolCommandOneDrain shows that a second drain of a spool waits for the first.
func TestSpoolCommandOneDrain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "locks")
	unlock, err := lock(t.Context(), dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := lock(t.Context(), dir, "b")
	if err != nil {
		t.Fatal(err)
	}
	defer other()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, dir, "a"); err == nil {
		t.Error("two drains of one spool")
	}
	time.AfterFunc(50*time.Millisecond, unlock)
	again, err := lock(t.Context(), dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	again()
}
