package policy_test

import (
	"fmt"
	"testing"
)

// TestPolicyAtMost64DirectoriesAreMounted shows that a launch that the unit would
// refuse for its many mounts is refused before, with the argument that is too
// much. service/launcher's tests have the same number.
func TestPolicyAtMost64DirectoriesAreMounted(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	arguments := []string{"--no-hosts", "--pid-file=" + network + "/pid"}
	for i := range 63 {
		arguments = append(arguments, fmt.Sprintf("--addn-hosts=%s/%d/hosts", network, i))
	}
	decision, err := decideArguments(set, "neutron-dhcp", "dnsmasq", "qdhcp-9d2c", arguments)
	if err != nil || len(decision.Mounts) != 64 {
		t.Fatalf("64 directories: %v", err)
	}
	same := append(arguments[:len(arguments):len(arguments)], "--addn-hosts="+network+"/62/more")
	if _, err := decideArguments(set, "neutron-dhcp", "dnsmasq", "qdhcp-9d2c", same); err != nil {
		t.Errorf("another file in one of them: %v", err)
	}
	_, err = decideArguments(set, "neutron-dhcp", "dnsmasq", "qdhcp-9d2c", append(same, "--addn-hosts="+network+"/63/hosts"))
	wantArgumentNotAllowed(t, err, 66, "--addn-hosts={path:ro}", "its directory would be the 65th that is mounted, 64 are accepted")
}
