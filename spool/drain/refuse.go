package drain

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/spool"
)

const (
	refusedCount = 100 // how many refused entries are kept, the newest
	// maxLogged is how many refusals and failures of one run are logged: their
	// number is the agent's choice.
	maxLogged = 100

	reasonSuffix = ".reason"
	reasonMode   = 0o600
	// asideTime begins the names in refused, so that they sort by age.
	asideTime = "20060102T150405.000000"
)

// refuse moves an entry to refused under a new name, since its own may be
// anything, and says beside it what it was called and why it is there.
func (d *drain) refuse(from *os.File, file string, reason error) verdict {
	aside := d.asideName(file)
	err := move(from, file, d.tree.refused, aside)
	switch {
	case errors.Is(err, unix.ENOENT):
		return gone
	case err != nil:
		return d.cannotMove(file, err)
	}
	d.log("a request is refused", "name", file, "as", aside, "reason", reason.Error())
	text := fmt.Sprintf("name: %q\nreason: %q\n", file, reason.Error()) // both are the agent's words
	if err := writeNew(d.tree.refused, aside+reasonSuffix, []byte(text), reasonMode); err != nil {
		d.log("the reason cannot be written", "as", aside, "error", err)
	}
	if d.aside.Add(1)%refusedCount == 0 {
		d.tidyRefused()
	}
	return moved
}

// asideName makes a name that no other entry has: the time, and what the request
// is called if that is known to be harmless.
func (d *drain) asideName(file string) string {
	name, ok := spool.ParseFile(file)
	if !ok {
		name = "name"
	}
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails
	return d.now().UTC().Format(asideTime) + "-" + name + "-" + hex.EncodeToString(salt[:])
}

// cannotMove tells of an entry that stays where it is.
func (d *drain) cannotMove(file string, err error) verdict {
	d.log("an entry can be neither claimed nor moved aside; it stays, and the others go on", "name", file, "error", err)
	return stuck
}

// log writes a warning, up to a number of them.
func (d *drain) log(message string, args ...any) {
	switch n := d.logged.Add(1); {
	case n < maxLogged:
		d.Logger.Warn(message, args...)
	case n == maxLogged:
		d.Logger.Warn("there are many refusals and failures; no more of them are logged in this run")
	}
}
