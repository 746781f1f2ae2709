package lsm

import (
	"fmt"
	"testing"
)

const selinuxPayload = `audit: type=1400 audit(1795981860.123:45): avc:  denied  { append } for  pid=812 comm="dnsmasq" name="log" dev="vda" ino=41 scontext=system_u:system_r:container_t:s0:c1,c2 tcontext=system_u:object_r:container_file_t:s0:c733,c792 tclass=file permissive=0`

func TestDenialIsToldToWhomItConcerns(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		selinuxPayload: "SELinux denied dnsmasq to container_t: append of a file that is container_file_t",
		`AVC avc:  denied  { mounton read } for pid=7 comm="podman" path="/var/lib" scontext=system_u:system_r:podman_t:s0-s0:c0.c1023 tcontext=system_u:object_r:var_t:s0 tclass=dir permissive=0`: "SELinux denied podman to podman_t: mounton read of a dir that is var_t",
		`apparmor="DENIED" operation="signal" class="signal" profile="sidecar" pid=9 comm="dnsmasq" requested_mask="receive" denied_mask="receive" signal=hup peer="x"`:                             "AppArmor denied signal to a sidecar's dnsmasq on this host",
		`apparmor="DENIED" operation="open" profile="crun//&sidecar" comm="runc:[2:INIT]"`:                                                                                                          "AppArmor denied open to a sidecar's runc on this host",
		`apparmor="DENIED" operation="mount" profile="crun" comm="crun"`:                                                                                                                            "AppArmor denied mount to crun on this host",
		// The runtime, when it becomes the payload.
		`avc:  denied  { entrypoint } for comm="runc:[2:INIT]" scontext=u:r:container_t:s0:c1,c2 tcontext=u:r:bin_t:s0 tclass=file permissive=0`: "SELinux denied runc to container_t: entrypoint of a file that is bin_t",
		`avc:  denied  { read } for comm=ABCDEF"x scontext=u:r:container_t:s0:c1,c2 tcontext=u:r:bin_t:s0 tclass=file permissive=0`:              "SELinux denied a program to container_t: read of a file that is bin_t",
		// A text that somebody has the kernel print.
		`avc:  denied  { x } comm="podman" scontext=a:b:c:s0 tcontext=a:b:d:s0 tclass="any text"`: "",
		`apparmor="DENIED" operation="send money" profile="crun" comm="crun"`:                     "",
		`apparmor="DENIED" operation="open" profile="/usr/bin/secret" comm="dnsmasq"`:             "",
		// Another agent's payload, also one that calls itself podman.
		`avc:  denied  { append } for comm="dnsmasq" scontext=u:r:container_t:s0:c1,c3 tcontext=u:r:t:s0 tclass=file permissive=0`: "",
		`avc:  denied  { append } for comm="podman" scontext=u:r:container_t:s0:c1,c3 tcontext=u:r:t:s0 tclass=file permissive=0`:  "",
		// Not of ours, not denied, nothing at all.
		`avc:  denied  { read } for comm="cron" scontext=u:r:cron_t:s0 tcontext=u:r:t:s0 tclass=file permissive=0`:     "",
		`avc:  denied  { read } for comm="podman" scontext=u:r:podman_t:s0 tcontext=u:r:t:s0 tclass=file permissive=1`: "",
		`avc:  granted  { read } for comm="podman" scontext=u:r:podman_t:s0 tcontext=u:r:t:s0 tclass=file`:             "",
		`apparmor="ALLOWED" operation="open" profile="sidecar" comm="dnsmasq"`:                                         "",
		`apparmor="DENIED" operation="open" profile="cups" name="/x" comm="cupsd"`:                                     "",
		`avc:  denied  { read } for comm="podman" scontext=nonsense tcontext= tclass=file permissive=0`:                "",
		``: "",
	} {
		got := Denials([]string{line, line}, Launch{Program: "/usr/sbin/dnsmasq", Level: "s0:c1,c2"}, 5)
		if len(got) > 1 || len(got) == 1 && got[0] != want || len(got) == 0 && want != "" {
			t.Errorf("%s:\n got %q\nwant %q", line, got, want)
		}
	}
}

func TestDenialsAreBounded(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 20 {
		lines = append(lines, fmt.Sprintf(`avc:  denied  { read } for comm="crun" scontext=u:r:t%d:s0 tcontext=u:r:t:s0 tclass=file permissive=0`, i))
	}
	if got := Denials(lines, Launch{}, 5); len(got) != 5 || got[4] != "SELinux denied crun to t19: read of a file that is t" {
		t.Errorf("%q", got)
	}
	if got := comm("/usr/sbin/a-program-with-a-long-name"); got != "a-program-with-" {
		t.Errorf("%q", got)
	}
}

func FuzzDenials(f *testing.F) {
	f.Add(selinuxPayload)
	f.Fuzz(func(t *testing.T, line string) {
		for _, text := range Denials([]string{line}, Launch{Program: "/usr/sbin/dnsmasq", Level: "s0:c1,c2"}, 5) {
			if text == "" {
				t.Error("an empty line")
			}
		}
	})
}
