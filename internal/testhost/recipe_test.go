package testhost

import "testing"

func TestRecipeNamesFollowWhatTheyDependOn(t *testing.T) {
	t.Parallel()
	base := Config{Release: "trixie", Spec: Spec{
		Packages: []string{"jq", "zstd"},
		Images:   []Image{{Name: "localhost/a:1", Programs: []string{"jq"}}},
	}}
	tests := map[string]struct {
		change              func(*Config)
		sameTree, sameStore bool
	}{
		"nothing": {func(*Config) {}, true, true},
		"order of packages": {
			func(c *Config) { c.Spec.Packages = []string{"zstd", "jq"} }, true, true,
		},
		"place and mirror": {
			func(c *Config) { c.CacheDir, c.Mirror = "/x", "http://example.org" }, true, true,
		},
		"masked units": {func(c *Config) { c.Spec.Mask = []string{"a.service"} }, true, true},
		"another release's packages": {
			func(c *Config) {
				c.Spec.Release = map[string]ReleaseSpec{"bookworm": {Packages: []string{"zstd"}}}
			}, true, true,
		},
		"release":  {func(c *Config) { c.Release = "bookworm" }, false, false},
		"packages": {func(c *Config) { c.Spec.Packages = []string{"jq"} }, false, false},
		"images": {
			func(c *Config) {
				c.Spec.Images = []Image{{Name: "localhost/a:2", Programs: []string{"jq"}}}
			}, true, false,
		},
		"programs": {
			func(c *Config) {
				c.Spec.Images = []Image{{Name: "localhost/a:1", Programs: []string{"tar"}}}
			}, true, false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := base
			test.change(&changed)
			if same := treeName(changed) == treeName(base); same != test.sameTree {
				t.Errorf("same tree: %t, want %t", same, test.sameTree)
			}
			if same := storeName(changed) == storeName(base); same != test.sameStore {
				t.Errorf("same store: %t, want %t", same, test.sameStore)
			}
		})
	}
}
