package launch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// maxConfiguration is how much of a configuration is looked through.
const maxConfiguration = 1 << 20

// check refuses a configuration with which a start does harm that nobody hears of:
// keepalived takes a script that it cannot run for one that succeeds. It is no boundary, and
// an agent that wants to can write what is not recognised. A file that cannot be read is the
// program's business, which says so.
func (c *Configuration) check() error {
	if c == nil {
		return nil
	}
	file, err := openRegular(c.File)
	if err != nil || file == nil {
		return nil //nolint:nilerr // see above
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, maxConfiguration))
	lines.Buffer(nil, maxConfiguration)
	for n := 1; lines.Scan(); n++ {
		words := strings.FieldsFunc(lines.Text(), func(c rune) bool { return unicode.IsSpace(c) || c == '{' })
		if len(words) == 0 {
			continue
		}
		if reason, refused := c.Refused[words[0]]; refused {
			return fmt.Errorf("%s:%d: %s: %s", c.File, n, words[0], reason)
		}
	}
	return nil
}

// openRegular opens a plain file for reading, and returns nil for anything else, which could
// keep us waiting.
func openRegular(f File) (*os.File, error) {
	pinned, err := openBeneath(f.Root, f.Path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer pinned.Close()
	st, err := statOf(pinned)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(err)
	}
	return os.OpenFile(throughProc(pinned), os.O_RDONLY|unix.O_NONBLOCK, 0)
}
