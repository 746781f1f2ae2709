package policy

import (
	"errors"
	"fmt"
	"math"
	"os/user"
	"strconv"
)

// User is the user and group of the host that a sidecar runs as.
type User struct{ UID, GID uint32 }

// defaultUser is the user of an agent's sidecars when the agent's file names none:
// neutron in kolla's images, which edpm and TripleO use too. The number is fixed,
// because every way to find one at run time (the owner of the state directory, the
// user of the caller) would let the agent choose.
var defaultUser = User{42435, 42435}

// String returns "UID:GID".
func (u User) String() string { return fmt.Sprintf("%d:%d", u.UID, u.GID) }

// root is the user of profiles that ask for it.
const root = "root"

// UserOf returns the user that an agent's sidecars of a profile run as.
func (a *Agent) UserOf(p *Profile) User {
	if p.User == root {
		return User{}
	}
	return a.SidecarUser
}

// profileUser checks a profile's user: root, or nothing, which is the agent's.
func (r *report) profileUser(name *string) string {
	if name == nil {
		return ""
	}
	if *name != root {
		r.errorf("user", `%q is not "root"; without the key, sidecars run as the agent's sidecar-user`, *name)
	}
	return *name
}

// sidecarUser reads a user of the host, by number or by name. The group is the user's
// own in /etc/passwd; a number that is not there is its own group.
func (r *report) sidecarUser(value any) User {
	const key = "sidecar-user"
	switch v := value.(type) {
	case nil:
		return defaultUser
	case int64:
		uid := uint32(r.number(key, &v, 0, math.MaxInt32)) // the most that OCI runtimes take
		if known, err := lookUp(user.LookupId(strconv.FormatUint(uint64(uid), 10))); err == nil {
			return known
		}
		return User{uid, uid}
	case string:
		known, err := lookUp(user.Lookup(v))
		if err != nil {
			r.errorf(key, "%q is not a user of this host: %v; name one in /etc/passwd, or give its number without quotes", v, err)
		}
		return known
	}
	r.errorf(key, "%v is neither a user's number nor a user's name", value)
	return defaultUser
}

func lookUp(known *user.User, err error) (User, error) {
	if err != nil {
		return User{}, err
	}
	uid, uidErr := strconv.ParseUint(known.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(known.Gid, 10, 32)
	return User{uint32(uid), uint32(gid)}, errors.Join(uidErr, gidErr)
}

// asRoot warns of sidecars that run as the host's user 0.
func (r *report) asRoot(a *Agent, profiles map[string]*Profile) {
	switch {
	case a.SidecarUser.UID == 0:
		r.warnf("sidecar-user", "the agent's sidecars run as the host's user 0; name a user that the state directory belongs to")
		return
	case a.SidecarUser.GID == 0:
		r.warnf("sidecar-user", "the agent's sidecars run in the host's group 0, the user's group in /etc/passwd; name a user with a group of its own")
	}
	for _, name := range a.Profiles {
		if p := profiles[name]; p != nil && a.UserOf(p).UID == 0 {
			r.warnf("profiles", "sidecars of profile %s run as the host's user 0, because the profile says user = \"root\"", name)
		}
	}
}
