package testhost

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestConfigRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config Config
		want   string
	}{
		"no release":        {Config{}, `release ""`},
		"release as path":   {Config{Release: "../x"}, `release "../x"`},
		"release as option": {Config{Release: "-x"}, `release "-x"`},
		"missing directory": {Config{Release: "trixie", Install: []string{"/no/such"}}, "/no/such"},
		"relative cache":    {Config{Release: "trixie", CacheDir: "x"}, "absolute"},
		"bad spec":          {Config{Release: "trixie", Spec: Spec{Mask: []string{"x"}}}, `unit "x"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := test.config.validate(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
}

func TestConfigTakesPlacesFromEnvironment(t *testing.T) {
	t.Setenv(CacheEnv, "/elsewhere")
	t.Setenv(MirrorEnv, "http://example.org/debian")
	c, err := Config{Release: "trixie"}.validate()
	if err != nil {
		t.Fatal(err)
	}
	if c.CacheDir != "/elsewhere" || c.BootTimeout <= 0 || c.StopTimeout <= 0 || c.Log == nil {
		t.Errorf("defaults are missing: %+v", c)
	}
	argv := c.debootstrap("/t")
	if want := []string{"trixie", "/t", "http://example.org/debian"}; !slices.Equal(argv[len(argv)-3:], want) {
		t.Errorf("debootstrap command %q does not end in %q", argv, want)
	}
}

func TestConfigFindsMissingPackages(t *testing.T) {
	t.Parallel()
	found := missingPackages(outerPrograms, func(program string) (string, error) {
		if program == "debootstrap" {
			return "", errors.New("not found")
		}
		return "/usr/bin/" + program, nil
	})
	if want := []string{"debootstrap"}; !slices.Equal(found, want) {
		t.Errorf("missing %q, want %q", found, want)
	}
}

func TestLastLinesCounts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "a\n": "a", "a\nb\nc\n": "b\nc"} {
		if got := lastLines(text, 2); got != want {
			t.Errorf("lastLines(%q) = %q, want %q", text, got, want)
		}
	}
}
