// Package imagestore reads which image each name stands for in podman's store on this host. It
// reads the list that podman keeps (containers/storage, images.go) and not the images.
//
// Out of scope: additional image stores, and resolving short names. An image that is only there
// has no known ID.
package imagestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Root is where podman keeps its store by default (containers-storage.conf(5), graphroot).
const Root = "/var/lib/containers/storage"

// maxList is the largest list that is read, in bytes. An image takes one or two kilobytes.
const maxList = 16 << 20

// Store is a store of podman. Files are where its list may be: the first that exists counts.
// Without a file no image is known.
type Store struct{ Files []string }

// Host returns the store of this host's root, and one without files if podman's configuration
// moves the store.
func Host() Store {
	files := []string{"/usr/share/containers/storage.conf", "/etc/containers/storage.conf"}
	for _, dir := range []string{"/usr/share/containers", "/etc/containers"} {
		more, _ := filepath.Glob(dir + "/storage.conf.d/*.conf") // the pattern is good
		files = append(files, more...)
	}
	return configured(Root, files)
}

// configured returns the store below root, which configuration files may move away.
func configured(root string, files []string) Store {
	drivers := []string{"overlay", "vfs"}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || moves(string(text), root) {
			return Store{}
		}
		if driver := value(string(text), "driver"); driver != "" {
			drivers = []string{driver}
		}
	}
	var s Store
	for _, driver := range drivers {
		s.Files = append(s.Files, filepath.Join(root, filepath.Base(driver)+"-images", "images.json"))
	}
	return s
}

// moves reports whether a storage.conf places the store or its images outside of root.
func moves(text, root string) bool {
	place := value(text, "graphroot")
	return place != "" && place != root || value(text, "imagestore") != ""
}

// value returns the last value of a key in a TOML file that has it on one line, in any table: no
// other table of storage.conf has the keys asked for.
func value(text, key string) string {
	found := ""
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, "=")
		if ok && strings.TrimPrefix(strings.Trim(strings.TrimSpace(name), `"'`), "storage.") == key {
			rest, _, _ = strings.Cut(rest, "#")
			found = strings.Trim(strings.TrimSpace(rest), `"'`)
		}
	}
	return found
}

// Image is an image of the store.
type Image struct {
	ID      string    `json:"id"`
	Names   []string  `json:"names"`
	Created time.Time `json:"created"` // the zero time: not known
}

// IDs returns the ID of the image that each name stands for.
func (s Store) IDs() (map[string]string, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	return ids(images)
}

// Images returns all images. The error is fs.ErrNotExist if the store has no list.
func (s Store) Images() ([]Image, error) {
	for _, name := range s.Files {
		file, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return read(file)
	}
	return nil, fs.ErrNotExist
}

// read parses a list.
func read(r io.Reader) ([]Image, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxList {
		return nil, fmt.Errorf("the list of images has more than %d bytes", maxList)
	}
	var images []Image
	if err := json.Unmarshal(text, &images); err != nil {
		return nil, fmt.Errorf("the list of images: %v", err)
	}
	return images, nil
}

// ids returns the image that each name stands for.
func ids(images []Image) (map[string]string, error) {
	ids := map[string]string{}
	for _, i := range images {
		if !ValidID(i.ID) {
			return nil, fmt.Errorf("the list of images: %.80q is not the ID of an image", i.ID)
		}
		for _, name := range i.Names {
			if other, ok := ids[name]; ok && other != i.ID {
				return nil, fmt.Errorf("the list of images: %.200q stands for two images", name)
			}
			ids[name] = i.ID
		}
	}
	return ids, nil
}

// ValidID reports whether s is an image's ID: 64 hexadecimal digits.
func ValidID(s string) bool {
	return len(s) == 64 && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}
