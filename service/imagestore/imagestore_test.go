package imagestore

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// IDs of images.
var (
	a = strings.Repeat("0a", 32)
	b = strings.Repeat("1b", 32)
)

// put writes a file in a new directory, unless it has no text.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// list is what podman 5.4 writes about two images, of which the second lost its name.
var list = `[{"id":"` + a + `","digest":"sha256:00","names":["localhost/x:1","localhost/x:latest"],` +
	`"names-history":["localhost/x:1"],"layer":"` + b + `","metadata":"{}","big-data-names":["sha256:00"],` +
	`"big-data-sizes":{"sha256:00":1},"big-data-digests":{"sha256:00":"sha256:00"},"created":"2025-01-01T00:00:00Z"},` +
	`{"id":"` + b + `","layer":"` + a + `"}]`

func TestImagesOfAStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text, err string
		ids       map[string]string
	}{
		"podman's list": {text: list, ids: map[string]string{"localhost/x:1": a, "localhost/x:latest": a}},
		"no image":      {text: `[]`, ids: map[string]string{}},
		"null":          {text: `null`, ids: map[string]string{}},
		"nothing":       {text: ``, err: "unexpected end of JSON input"},
		"half a list":   {text: list[:len(list)/2], err: "unexpected end of JSON input"},
		"no list":       {text: `{"id":"x"}`, err: "cannot unmarshal object"},
		"no ID":         {text: `[{"names":["x"]}]`, err: `"" is not the ID of an image`},
		"a short ID":    {text: `[{"id":"` + a[1:] + `"}]`, err: "is not the ID of an image"},
		"capitals":      {text: `[{"id":"` + strings.ToUpper(a) + `"}]`, err: "is not the ID of an image"},
		"two of a name": {text: `[{"id":"` + a + `","names":["x"]},{"id":"` + b + `","names":["x"]}]`, err: `"x" stands for two images`},
		"too long":      {text: `[` + strings.Repeat(" ", maxList), err: "more than 16777216 bytes"},
	} {
		file := filepath.Join(t.TempDir(), "images.json")
		put(t, file, test.text)
		ids, err := Store{[]string{file + ".not", file}}.IDs()
		if diff := cmp.Diff(test.ids, ids); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: error %v, want %q", name, err, test.err)
		}
	}
	file := filepath.Join(t.TempDir(), "images.json")
	put(t, file, list)
	images, err := Store{[]string{file}}.Images()
	if err != nil || len(images) != 2 || !images[0].Created.Equal(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)) || !images[1].Created.IsZero() {
		t.Errorf("images %v, %v", images, err)
	}
	if ids, err := (Store{}).IDs(); ids != nil || err != fs.ErrNotExist {
		t.Errorf("a store without a file: %v, %v", ids, err)
	}
}

// TestImagesConfiguration: a store that podman does not use is not read.
func TestImagesConfiguration(t *testing.T) {
	t.Parallel()
	const root = "/var/lib/containers/storage"
	overlay, vfs := root+"/overlay-images/images.json", root+"/vfs-images/images.json"
	for name, test := range map[string]struct {
		texts []string
		want  []string
	}{
		"none":         {nil, []string{overlay, vfs}},
		"usual":        {[]string{"[storage]\ndriver = \"overlay\"\nrunroot = \"/run/x\"\ngraphroot = \"" + root + "\"\n# imagestore = \"\"\n"}, []string{overlay}},
		"no driver":    {[]string{"[storage]\ndriver = \"\"\n"}, []string{overlay, vfs}},
		"vfs":          {[]string{"[storage]\ndriver='vfs' # slow\n"}, []string{vfs}},
		"a later file": {[]string{"[storage]\ndriver = \"vfs\"\n", "[storage]\ndriver = \"overlay\"\n"}, []string{overlay}},
		"moved":        {[]string{"[storage]\n  graphroot=\"/srv/x\"\n"}, nil},
		"moved, dots":  {[]string{"storage.graphroot = '/srv/x'\n"}, nil},
		"moved, quote": {[]string{"[storage]\n\"graphroot\" = \"/srv/x\"\n"}, nil},
		"images apart": {[]string{"[storage]\nimagestore = \"/srv/x\"\n"}, nil},
		"comment":      {[]string{"[storage]\n#graphroot = \"/srv/x\"\n"}, []string{overlay, vfs}},
		"a folder":     {[]string{"[storage]\ndriver = \"../../x\"\n"}, []string{root + "/x-images/images.json"}},
	} {
		files := []string{filepath.Join(t.TempDir(), "missing.conf")}
		for _, text := range test.texts {
			files = append(files, filepath.Join(t.TempDir(), "storage.conf"))
			put(t, files[len(files)-1], text)
		}
		if diff := cmp.Diff(test.want, configured(root, files).Files); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if s := configured(root, []string{t.TempDir()}); s.Files != nil {
		t.Errorf("a file that cannot be read: %v", s)
	}
}

func TestImagesCache(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "overlay-images", "images.json")
	cache := NewCache(Store{[]string{file}})
	// replace puts another file in the place, as podman does.
	replace := func(id string) {
		put(t, file+".new", `[{"id":"`+id+`","names":["x"]}]`)
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what, want string) {
		t.Helper()
		if got := cache.IDs()["x"]; got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("without a file", "")
	replace(a)
	check("a file", a)
	check("a file again", a)
	replace(b)
	check("another file", b)
	put(t, file, `[{"id":"no","names":["x"]}]`)
	check("a broken file", "")
	replace(a)
	check("a good file", a)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check("no file", "")
}

// TestImagesCacheReadsOnce: a file that has not changed is not read again.
func TestImagesCacheReadsOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "images.json")
	put(t, file, `[{"id":"`+a+`","names":["x"]}]`)
	cache := NewCache(Store{[]string{file}})
	first := cache.IDs()
	first["mark"] = "kept"
	if cache.IDs()["mark"] == "" {
		t.Error("an unchanged file is read twice")
	}
	if err := os.Chtimes(file, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if cache.IDs()["mark"] != "" {
		t.Error("a changed file is not read")
	}
}

// FuzzImages checks that whatever is in the file, every answer is an ID.
func FuzzImages(f *testing.F) {
	f.Add(list)
	f.Add(`[{"id":"` + a + `","names":null}]`)
	f.Add(`[[]]`)
	f.Fuzz(func(t *testing.T, text string) {
		images, err := read(strings.NewReader(text))
		var names map[string]string
		if err == nil {
			names, err = ids(images)
		}
		if (names == nil) == (err == nil) {
			t.Errorf("%v, %v", names, err)
		}
		for name, id := range names {
			if !ValidID(id) {
				t.Errorf("%q: %q", name, id)
			}
		}
	})
}
