package imagestore

import (
	"os"
	"sync"
	"syscall"
)

// Cache has the list of a store, and reads it again when it has changed. It asks the kernel
// once each time.
type Cache struct {
	store Store

	mu   sync.Mutex
	seen stamp
	ids  map[string]string
}

// stamp tells two versions of a list apart: podman replaces the file.
type stamp struct {
	name     string
	inode    uint64
	size     int64
	modified syscall.Timespec
	changed  syscall.Timespec
	deviceID uint64
}

// NewCache returns a cache of the store.
func NewCache(s Store) *Cache { return &Cache{store: s} }

// IDs returns the ID of the image that each name stands for, and nil if the list cannot be read.
// The caller must not change it.
func (c *Cache) IDs() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, ok := c.store.stamp()
	switch {
	case !ok:
		c.seen, c.ids = stamp{}, nil
	case now != c.seen:
		c.seen = now
		c.ids, _ = c.store.IDs() // nil until the list changes
	}
	return c.ids
}

// stamp looks at the list.
func (s Store) stamp() (stamp, bool) {
	for _, name := range s.Files {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		raw := info.Sys().(*syscall.Stat_t)
		return stamp{name, raw.Ino, raw.Size, raw.Mtim, raw.Ctim, raw.Dev}, true
	}
	return stamp{}, false
}
