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

// check refuses a configuration that would fail silently: keepalived counts a script that it
// cannot run as a success. It guards against mistakes only; a hostile agent can write the
// same in a form that check does not recognise. If the file cannot be read, check accepts it,
// and the program reports the error.
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
