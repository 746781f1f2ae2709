package launch

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/netns"
)

// Launcher carries plans out. The zero value works on the host; the fields
// exist for tests.
type Launcher struct {
	Base       string // where the pins lie; "" means [document.PinsDirectory]
	Namespaces netns.Directory
	Journal    string // socket that journald takes streams on; "" means the host's
}

func (l Launcher) base() string {
	if l.Base == "" {
		return document.PinsDirectory
	}
	return l.Base
}

// openBase opens the directory of all pins, and makes it first if it is not
// there. It must be root's alone, or what lies in it could be swapped.
func (l Launcher) openBase() (*os.File, error) {
	base := l.base()
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(base, 0o700); err != nil && !os.IsExist(err) {
		return nil, err
	}
	dir, err := openFixed(base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	st, err := statOf(dir)
	if err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0) {
		err = fmt.Errorf("%s: others can write there (owner %d, mode %#o)", base, st.Uid, st.Mode&0o777)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// subdirectory opens the directory name in dir, which only root can write to.
func subdirectory(dir *os.File, name string) (*os.File, error) {
	return openat2(int(dir.Fd()), name, dir.Name()+"/"+name, unix.O_RDONLY|unix.O_DIRECTORY, resolveBeneath)
}

// makeDirectory makes the directory name in dir and opens it.
func makeDirectory(dir *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o700); err != nil {
		return nil, fmt.Errorf("making %s/%s: %v", dir.Name(), name, err)
	}
	return subdirectory(dir, name)
}
