package launcher

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode"

	"tripleo.io/sidecar/service/document"
)

// maxConfiguration is how much of a configuration is checked, in bytes.
const maxConfiguration = 1 << 20

// checkConfiguration refuses a configuration with which the program would fail silently, or
// never be ready: keepalived counts a script that it cannot run as a success, and haproxy
// writes no pid file if its configuration names none. It guards against mistakes only: a
// hostile agent can write the same in a form that is not recognised. A file that cannot be
// read is accepted, and the program reports the error.
func checkConfiguration(d *document.Document) error {
	c := d.Configuration
	if c == nil {
		return nil
	}
	file, err := openRegular(c.File)
	if err != nil || file == nil {
		return nil //nolint:nilerr // the program reports it
	}
	defer file.Close()
	named, pidFile := c.PIDFile == "", ""
	if !named {
		pidFile = d.PIDFiles[0].String()
	}
	text := &io.LimitedReader{R: file, N: maxConfiguration}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, maxConfiguration)
	for n := 1; lines.Scan(); n++ {
		words := strings.FieldsFunc(lines.Text(), func(c rune) bool { return unicode.IsSpace(c) || c == '{' })
		if len(words) == 0 {
			continue
		}
		if reason, refused := c.Refused[words[0]]; refused {
			return fmt.Errorf("%s:%d: %s: %s", c.File, n, words[0], reason)
		}
		switch word := unquote.Replace(words[0]); {
		case named:
		case word == c.PIDFile && len(words) > 1:
			named = true
			if other := unquote.Replace(words[1]); path.Base(other) != path.Base(pidFile) && !strings.Contains(other, "$") {
				return fmt.Errorf("%s:%d: %s: it is %.300q, and %q is waited for", c.File, n, c.PIDFile, other, pidFile)
			}
		case strings.Contains(word, "$"): // a variable can stand for any word
			named = true
		}
	}
	if !named && lines.Err() == nil && text.N > 0 {
		return fmt.Errorf("%s: %s: no line names the pid file, which would never be there: add \"%s %s\"",
			c.File, c.PIDFile, c.PIDFile, pidFile)
	}
	return nil
}

// unquote removes the quotes and backslashes of a word.
var unquote = strings.NewReplacer(`"`, "", `'`, "", `\`, "")
