package policy

import (
	"slices"
	"time"
)

const (
	// A sidecar that comes back after a boot waits for its network namespace, which its agent
	// makes: it has to be started itself.
	defaultRestoreTimeout = 10 * time.Minute
	maxRestoreTimeout     = 24 * time.Hour
)

// restore returns how long a sidecar of a profile waits after a boot, 0 if it does not come
// back.
func (r *report) restore(boot, timeout *string) time.Duration {
	const key = "restore-timeout"
	comesBack := r.choice("boot", boot, "forget", "restore") == "restore"
	switch {
	case timeout == nil && comesBack:
		return defaultRestoreTimeout
	case timeout == nil:
		return 0
	case !comesBack:
		r.errorf(key, `needs boot = "restore"`)
		return 0
	}
	d, err := time.ParseDuration(*timeout)
	if err != nil || d < time.Second || d > maxRestoreTimeout {
		r.errorf(key, `%q is not a time between 1s and 24h, such as "10m"`, *timeout)
	}
	return d
}

// order checks that the profiles which a profile names in its key after exist, and that no
// profile comes after itself.
func (r *report) order(p *Profile, profiles map[string]*Profile) {
	for i, name := range p.After {
		key := element("after", i)
		other, ok := profiles[name]
		switch {
		case !ok:
			r.errorf(key, "profile %q does not exist%s", name, didYouMean(name, names(profiles)))
		case slices.Contains(p.After[:i], name):
			r.errorf(key, "%s is listed twice", name)
		case comesAfter(other, p, profiles, nil):
			r.errorf(key, "%s comes after %s already", name, p.Name)
		}
	}
}

// comesAfter reports whether p is b, or comes after it by way of others. seen are the profiles
// that were looked at.
func comesAfter(p, b *Profile, profiles map[string]*Profile, seen map[*Profile]bool) bool {
	if p == b || p == nil || seen[p] {
		return p == b
	}
	if seen == nil {
		seen = map[*Profile]bool{}
	}
	seen[p] = true
	return slices.ContainsFunc(p.After, func(name string) bool { return comesAfter(profiles[name], b, profiles, seen) })
}
