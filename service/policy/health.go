package policy

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"
	"time"

	"tripleo.io/sidecar/service/document"
)

// Times and numbers of [health] that a profile does not name, and their bounds.
const (
	defaultInterval     = 30 * time.Second
	defaultProbeTimeout = 5 * time.Second
	defaultFailures     = 3

	maxInterval     = time.Hour
	maxProbeTimeout = time.Minute
	maxFailures     = 100
)

// instanceHole stands for the value of the instance's argument.
const instanceHole = "{instance}"

type rawHealth struct {
	Command  []string `toml:"command"`
	TCP      any      `toml:"tcp"` // a port or ADDRESS:PORT
	UDP      any      `toml:"udp"`
	Unix     *string  `toml:"unix"`
	Interval *string  `toml:"interval"`
	Timeout  *string  `toml:"timeout"`
	Failures *int64   `toml:"failures"`
	Action   *string  `toml:"action"`
}

// health checks how a profile's process is probed. The words of the result may be templates.
func (r *report) health(p *Profile, raw *rawHealth) {
	if raw == nil {
		return
	}
	ways := 0
	for _, given := range []bool{raw.Command != nil, raw.TCP != nil, raw.UDP != nil, raw.Unix != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		r.errorf("health", "must have exactly one of command, tcp, udp and unix")
	}
	h := &document.Health{
		Command:      raw.Command,
		TCP:          r.address("health.tcp", raw.TCP),
		UDP:          r.address("health.udp", raw.UDP),
		IntervalUSec: r.duration("health.interval", raw.Interval, defaultInterval, time.Second, maxInterval).Microseconds(),
		TimeoutUSec:  r.duration("health.timeout", raw.Timeout, defaultProbeTimeout, 100*time.Millisecond, maxProbeTimeout).Microseconds(),
		Failures:     defaultFailures,
		Restart:      r.choice("health.action", raw.Action, "mark", "restart") == "restart",
	}
	if raw.Failures != nil {
		h.Failures = int(r.number("health.failures", raw.Failures, 1, maxFailures))
	}
	if raw.Unix != nil {
		h.Unix = *raw.Unix
		r.inContainer(p, "health.unix", h.Unix)
	}
	if h.Restart && p.Restart.When == RestartNo {
		r.errorf("health.action", `"restart" needs restart = "on-failure" or "always": systemd restarts the sidecar as that says`)
	}
	r.probe(p, raw.Command)
	p.Health = h
}

// probe checks the command of a probe, if there is one.
func (r *report) probe(p *Profile, words []string) {
	const key = "health.command"
	if words == nil {
		return
	}
	if len(words) == 0 {
		r.errorf(key, "is an empty list")
		return
	}
	r.inContainer(p, key, words[0])
	for i, word := range words {
		if reason := checkText(word); reason != "" {
			r.errorf(element(key, i), "%s", reason)
		}
		r.holesOf(p, element(key, i), word)
	}
}

// inContainer checks a path in the container, which may be a template.
func (r *report) inContainer(p *Profile, key, s string) {
	name := s
	for _, hole := range []string{stateHole, dirHole} {
		if rest, ok := strings.CutPrefix(name, hole); ok {
			name = rest
			break
		}
	}
	if reason := checkPath(strings.ReplaceAll(name, stemHole, "x")); reason != "" {
		r.errorf(key, "%q is neither a path in the container nor a template of one: %s", s, reason)
		return
	}
	r.holesOf(p, key, s)
}

var braces = regexp.MustCompile(`\{[^{}]*\}`)

// holesOf checks the templates in a word of a probe.
func (r *report) holesOf(p *Profile, key, word string) {
	_, h, ok := p.valueRule(p.Instance)
	for _, hole := range braces.FindAllString(word, -1) {
		switch hole {
		case instanceHole:
		case stateHole, dirHole, stemHole:
			if ok && !h.path { // instance reports an unknown one
				r.errorf(key, "%s is known only if the instance %s names a path", hole, p.Instance)
			}
		default:
			r.errorf(key, "%s is none of %s, %s, %s, %s", hole, stateHole, dirHole, stemHole, instanceHole)
		}
	}
}

// address reads a port of this host, or an address and a port.
func (r *report) address(key string, raw any) string {
	text, isText := raw.(string)
	if port, ok := raw.(int64); ok && port > 0 && port <= 65535 {
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	if raw == nil {
		return ""
	}
	if a, err := netip.ParseAddrPort(text); !isText || err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
		r.errorf(key, `%v is neither a port, such as 53, nor an address and a port, such as "169.254.169.254:80" or "[::1]:53"`, raw)
	}
	return text
}

// health returns how the process of the launch is probed: the profile's templates with the
// launch's values.
func (c *choice) health() (*document.Health, *refusal) {
	if c.profile.Health == nil {
		return nil, nil
	}
	at := c.key.at
	base := path.Base(at.Path)
	replace := strings.NewReplacer(stateHole, at.Root, dirHole, at.dir, instanceHole, c.key.value,
		stemHole, strings.TrimSuffix(base, path.Ext(base))).Replace
	h := *c.profile.Health
	h.Command = nil
	for _, word := range c.profile.Health.Command {
		h.Command = append(h.Command, replace(word))
	}
	name := replace(h.Unix)
	h.Unix = name
	if len(h.Command) > 0 {
		name = h.Command[0]
	}
	if reason := checkPath(name); name != "" && reason != "" {
		return nil, refuse(c.key.index, c.key.rule.text, "health: it makes %s, which is not accepted: %s", cut(name), reason)
	}
	return &h, nil
}
