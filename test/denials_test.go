//go:build testhost

package test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// deniedOnPurpose are the refusals of security modules that the tests may cause, each
// with its reason. All others fail the run.
var deniedOnPurpose = []struct {
	pattern *regexp.Regexp
	reason  string
}{
	{
		regexp.MustCompile(`scontext=\S+:(podman|podman_conmon)_t:\S* .*permissive=1`),
		"podman is not confined in this machine (images.toml)",
	},
	{
		regexp.MustCompile(`scontext=\S+:(systemd_[a-z_]+|getty|initrc|auditctl|auditd|syslogd|system_dbusd|udev|policykit|init)_t:\S* tcontext=\S+:(unlabeled|tmpfs|configfs|bin|container_var_lib|var_log|etc_runtime|etc|systemd_journal|root)_t:`),
		"Debian's own services at boot, under Debian's policy; most before the root directory has its label",
	},
}

var (
	denial = regexp.MustCompile(`apparmor="DENIED"|avc: +denied`)
	// changing is what differs between two denials of a kind.
	changing = regexp.MustCompile(`^.*?(audit\([0-9.:]+\): ?|avc: )| (pid|ino|name|path|requested_mask|dev)=("[^"]*"|\S+)|:c[0-9]+(,c[0-9]+)?`)
)

// checkDenials returns what AppArmor and SELinux have refused since the host booted, a
// line for each kind. In a host that shares the machine's kernel there is nothing to see.
func checkDenials() error {
	text, err := output("journalctl", "--boot", "--dmesg", "--quiet", "--no-pager", "--output=cat")
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	audit, _ := os.ReadFile("/var/log/audit/audit.log") // where there is an auditd
	kinds := map[string]string{}
	for line := range strings.Lines(text + "\n" + string(audit)) {
		if denial.MatchString(line) && !isOnPurpose(line) {
			kinds[changing.ReplaceAllString(line, "")] = strings.TrimSpace(line)
		}
	}
	if len(kinds) == 0 {
		return nil
	}
	var lines []string
	for _, line := range kinds {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return fmt.Errorf("a security module has refused:\n%s", strings.Join(lines, "\n"))
}

func isOnPurpose(line string) bool {
	for _, d := range deniedOnPurpose {
		if d.pattern.MatchString(line) {
			return true
		}
	}
	return false
}
