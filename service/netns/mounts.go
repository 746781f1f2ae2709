package netns

import (
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
)

// NameOf returns the name of the network namespace f, or "" if it has none. Of several
// names it returns the first good one in alphabetical order, or the first one if none
// is good. The host's own namespace never has a name, even if it is mounted on a file:
// ask [Directory.IsHost].
//
// It finds names among the mounts of this process's mount namespace, in which the root
// of a namespace is "net:[INODE]" (proc_pid_mountinfo(5)). It does not read the
// directory: an agent can fill it with other names, and mount file systems there that
// do not answer (fuse(4)).
func (d Directory) NameOf(f *os.File, good func(name string) bool) (string, error) {
	want, err := identify(f)
	if err != nil {
		return "", err
	}
	mounted, err := d.mounted(fmt.Sprintf("net:[%d]", want.inode))
	if err != nil {
		return "", err
	}
	first := ""
	for name, named := range mounted {
		if got, err := identify(named); err != nil || got != want {
			continue
		}
		if good(name) {
			return name, nil
		}
		if first == "" {
			first = name
		}
	}
	return first, nil
}

// Each opens every named network namespace and calls do with it, until do returns an
// error, which it returns. Like [Directory.NameOf] it looks for names among the mounts,
// and does not read the directory.
func (d Directory) Each(do func(name string, f *os.File) error) error {
	mounted, err := d.mounted("net:[")
	if err != nil {
		return err
	}
	for name, f := range mounted {
		if err := do(name, f); err != nil {
			return err
		}
	}
	return nil
}

// mounted opens, in alphabetical order, the named namespaces whose mount has a root that
// starts with root. Each file is closed after its turn of the loop. The names that
// [Directory.Open] refuses are left out, which are all names if it refuses the directory.
func (d Directory) mounted(root string) (iter.Seq2[string, *os.File], error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return func(yield func(string, *os.File) bool) {
		dir, err := d.open()
		if err != nil {
			return
		}
		defer dir.Close()
		for _, name := range d.names(string(mounts), root) {
			if ValidName(name) != nil {
				continue
			}
			f, err := d.openNamespace(dir, name)
			if err != nil {
				continue // no longer a namespace, or the host's
			}
			more := yield(name, f)
			f.Close()
			if !more {
				return
			}
		}
	}, nil
}

// unescape reads what mountinfo escapes in a path.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// names returns, in alphabetical order, the names in the directory on which mountinfo
// shows a mount whose root starts with root. The names must be opened to be sure: another
// mount can cover this one, and the file below it can have been removed.
func (d Directory) names(mountinfo, root string) []string {
	var names []string
	for line := range strings.Lines(mountinfo) {
		if !strings.Contains(line, root) {
			continue // most lines: a host with many sidecars has thousands of mounts
		}
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[3], root) {
			continue
		}
		if name, ok := strings.CutPrefix(fields[4], d.path()+"/"); ok {
			names = append(names, unescape.Replace(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
