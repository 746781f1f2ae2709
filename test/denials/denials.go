// Package denials finds what AppArmor and SELinux have refused in a virtual machine (make vm-test).
package denials

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// deniedOnPurpose are the refusals of security modules that the tests may cause, each
// with its reason. All others fail the run.
var deniedOnPurpose = []struct {
	pattern *regexp.Regexp
	ours    bool // it may be about what is sidecar's, too
	reason  string
}{
	{
		regexp.MustCompile(`scontext=\S+:(podman|podman_conmon|initrc|ifconfig|systemd_journal_init)_t:\S* .*permissive=1`), true,
		"podman and the tests are not confined in this machine (images.toml)",
	},
	{
		regexp.MustCompile(`\{ (append|read) \} .*comm="dnsmasq" name="log" .*scontext=\S+:sidecar_payload_t:\S+ tcontext=\S+:container_file_t:`), true,
		"another agent's file: TestSELinuxKeepsAgentsApart",
	},
	{
		regexp.MustCompile(`operation="ptrace" .*profile="[^"]*hiding-agent[^"]*" .*peer="sidecard"`), true,
		"an agent whose profile does not let the service look: TestConfinementOfAgents",
	},
	{
		regexp.MustCompile(`\{ getattr \} .*comm="\(sidecard\)" path="/sys/kernel/config" .*scontext=\S+:init_t:`), true,
		"systemd makes the service's file systems read-only; it goes on without this one",
	},
	{
		regexp.MustCompile(`(name|path)="/" dev="vda" .*tcontext=\S+:unlabeled_t:s0 tclass=dir permissive=1`), true,
		"the root directory has its label from the start script of the machine on",
	},
	{
		regexp.MustCompile(`\{ write \} .*comm="sidecar\.[a-z]+" path="pipe:.*scontext=\S+:dpkg_script_t:`), true,
		"the output of a package's script, which the test reads",
	},
	{
		regexp.MustCompile(`scontext=\S+:(systemd_[a-z_]+|getty|auditctl|auditd|syslogd|system_dbusd|udev|policykit|init|kernel|ldconfig|dpkg|dpkg_script)_t:`), false,
		"Debian's own services, under Debian's policy",
	},
}

var (
	denial = regexp.MustCompile(`apparmor="DENIED"|avc: +denied`)
	// changing is what differs between two denials of a kind.
	changing = regexp.MustCompile(`^.*?(audit\([0-9.:]+\): ?|avc: )| (pid|ino|name|path|requested_mask|dev)=("[^"]*"|\S+)|:c[0-9]+(,c[0-9]+)?`)
)

// Check returns what AppArmor and SELinux have refused since the host booted, a
// line for each kind. In a host that shares the machine's kernel there is nothing to see.
func Check() error {
	text, err := exec.Command("journalctl", "--boot", "--dmesg", "--quiet", "--no-pager", "--output=cat").Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	audit, _ := os.ReadFile("/var/log/audit/audit.log") // where there is an auditd
	kinds := map[string]string{}
	for line := range strings.Lines(string(text) + "\n" + string(audit)) {
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
		if d.pattern.MatchString(line) && (d.ours || !strings.Contains(line, "sidecar")) {
			return true
		}
	}
	return false
}
