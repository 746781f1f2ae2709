package netns

import (
	"fmt"
	"os"
	"strings"
)

// NameOf returns the name of the network namespace f, and false when it has
// none. Of several names it returns the first in alphabetical order. The host's
// own namespace never has a name, whatever it is mounted on: ask [IsHost].
//
// It looks for the name among the mounts of our mount namespace: the root of a
// namespace's mount is "net:[INODE]" (proc_pid_mountinfo(5)). The directory is not
// read, since an agent can put as many other names into it as it likes, and mount
// there what does not answer when it is asked what it is (fuse(4)).
func (d Directory) NameOf(f *os.File) (string, bool, error) {
	want, err := identify(f)
	if err != nil {
		return "", false, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", false, err
	}
	var first string
	for _, name := range d.names(string(mounts), fmt.Sprintf("net:[%d]", want.inode)) {
		if (first == "" || name < first) && d.named(name, want) {
			first = name
		}
	}
	return first, first != "", nil
}

// names lists the names in the directory that the text of a mountinfo says to be mounts
// of network namespaces whose root begins with this. Of a mount below another one, or
// one whose file was removed, that is not so.
func (d Directory) names(mountinfo, root string) []string {
	var names []string
	for line := range strings.Lines(mountinfo) {
		if !strings.Contains(line, root) {
			continue // nearly all: a host with many sidecars has thousands of mounts
		}
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[3], root) {
			continue
		}
		if name, ok := strings.CutPrefix(fields[4], d.path()+"/"); ok {
			names = append(names, name)
		}
	}
	return names
}

// named reports whether name is the namespace want.
func (d Directory) named(name string, want identity) bool {
	f, err := d.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	got, err := identify(f)
	return err == nil && got == want
}
