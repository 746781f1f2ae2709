package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os/user"
	"slices"
	"strconv"

	"tripleo.io/sidecar/interfaces"
)

const (
	defaultMaxSidecars = 1000
	mostSidecars       = 100_000
)

// Agent is a containerised service that may start sidecars.
type Agent struct {
	Name              string
	Profiles          []string // granted, sorted
	NetworkNamespaces []string // patterns with '*'
	StateDirectories  []string // absolute
	Subdirectories    []string // the only parts of the state directories that arguments may name; none: all
	HostNetwork       bool     // its sidecars may run in the host's network
	MaxSidecars       int
	Limits            Limits            // of all its sidecars together
	StandIns          bool              // it has a pid namespace of its own, where stand-ins represent the sidecars
	SidecarUser       User              // its sidecars run as this user, unless a profile asks for root
	SELinuxLevel      string            // of its sidecars: sensitivity and categories
	LinkedNamespaces  string            // what a launch does when its namespace is linked to another one: "check", "warn" or "refuse"
	SpoolUser         *uint32           // host's user that writes requests into its spool; nil: it has no spool
	Images            map[string]string // by profile, in place of the profile's own
}

// rawAgent is an agent's file as it is written.
type rawAgent struct {
	Profiles          []string `toml:"profiles"`
	NetworkNamespaces []string `toml:"network-namespaces"`
	HostNetwork       bool     `toml:"host-network"`
	StateDirectories  []string `toml:"state-directories"`
	Subdirectories    []string `toml:"subdirectories"`
	MaxSidecars       *int64   `toml:"max-sidecars"`
	StandIns          bool     `toml:"stand-ins"`
	SpoolUser         *int64   `toml:"spool-user"`
	SidecarUser       any      `toml:"sidecar-user"` // a number or a name
	SELinuxLevel      *string  `toml:"selinux-level"`
	LinkedNamespaces  *string  `toml:"linked-namespaces"`

	Limits *rawLimits        `toml:"limits"`
	Images map[string]string `toml:"images"`
}

// parseAgent reads an agent's file. If the report has a problem afterwards, the agent
// must not be used.
func parseAgent(r *report, name string, document []byte) *Agent {
	var raw rawAgent
	if !decode(r, document, &raw) {
		return nil
	}
	a := &Agent{
		Name:              name,
		Profiles:          r.granted(raw.Profiles),
		NetworkNamespaces: r.patterns(raw.NetworkNamespaces),
		HostNetwork:       raw.HostNetwork,
		StateDirectories:  r.stateDirectories(raw.StateDirectories),
		Subdirectories:    r.subdirectories(raw.Subdirectories, raw.StateDirectories),
		MaxSidecars:       int(cmp.Or(r.number("max-sidecars", raw.MaxSidecars, 1, mostSidecars), defaultMaxSidecars)),
		StandIns:          raw.StandIns,
		SpoolUser:         r.spoolUser(raw.SpoolUser),
		SidecarUser:       r.sidecarUser(raw.SidecarUser),
		SELinuxLevel:      r.level(name, raw.SELinuxLevel),
		LinkedNamespaces:  r.choice("linked-namespaces", raw.LinkedNamespaces, "warn", "check", "refuse"),
		Images:            r.images(raw.Images, raw.Profiles),
	}
	if raw.Limits != nil {
		a.Limits = r.limits("limits.", *raw.Limits)
	}
	if a.HostNetwork {
		r.warnf("host-network", "sidecars of this agent may run in the host's own network")
	} else if len(a.NetworkNamespaces) == 0 {
		r.errorf("network-namespaces", `is missing: patterns such as "qdhcp-*"`)
	}
	return a
}

// spoolUser checks a user of the host. The highest number is not a user: chown(2)
// takes it for -1.
func (r *report) spoolUser(uid *int64) *uint32 {
	if uid == nil {
		return nil
	}
	return new(uint32(r.number("spool-user", uid, 0, math.MaxUint32-1)))
}

func (r *report) granted(names []string) []string {
	if len(names) == 0 {
		r.errorf("profiles", "is missing: the profiles that the agent may launch")
	}
	for i, name := range names {
		switch {
		case !interfaces.ValidName(name):
			r.errorf(element("profiles", i), "%q is not a profile's name: "+wantName, name)
		case slices.Contains(names[:i], name):
			r.errorf(element("profiles", i), "%s is listed twice", name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// images checks the images that an agent's file names for granted profiles.
func (r *report) images(images map[string]string, granted []string) map[string]string {
	for _, profile := range slices.Sorted(maps.Keys(images)) {
		key := "images." + profile
		r.image(key, images[profile])
		if !slices.Contains(granted, profile) {
			r.errorf(key, "profile %q is not in profiles, so the agent has no sidecars with this image%s", profile, didYouMean(profile, granted))
		}
	}
	return images
}

// withImage returns the profile as the agent's launches have it.
func (a *Agent) withImage(p *Profile) *Profile {
	image, ok := a.Images[p.Name]
	if !ok {
		return p
	}
	own := *p
	own.Image = image
	return &own
}

// User is the host's user and group that a sidecar runs as.
type User struct{ UID, GID uint32 }

// defaultUser is neutron in kolla's images, which edpm and TripleO use too. The number
// is fixed because every way to find a user at run time (the owner of the state
// directory, the user of the caller) would let the agent choose.
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
// group in /etc/passwd; a number that is not there is its own group.
func (r *report) sidecarUser(value any) User {
	const key = "sidecar-user"
	switch v := value.(type) {
	case nil:
		return defaultUser
	case int64:
		uid := uint32(r.number(key, &v, 0, math.MaxInt32)) // OCI runtimes accept no higher number
		if known, err := lookUp(user.LookupId(strconv.FormatUint(uint64(uid), 10))); err == nil {
			return known
		}
		return User{uid, uid}
	case string:
		known, err := lookUp(user.Lookup(v))
		if err != nil {
			r.errorf(key, "%q is not a user of this host: %v; name a user in /etc/passwd, or give its number without quotes", v, err)
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
		r.warnf("sidecar-user", "the agent's sidecars run in the host's group 0, which is the user's group in /etc/passwd; name a user with a group of its own")
	}
	for _, name := range a.Profiles {
		if p := profiles[name]; p != nil && a.UserOf(p).UID == 0 {
			r.warnf("profiles", "sidecars of profile %s run as the host's user 0, because the profile says user = \"root\"", name)
		}
	}
}
