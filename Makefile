# Each target installs what it needs (scripts/prepare); see README.md. The paths of
# installation are fixed, because unit files and programs name each other by path.
VERSION != git describe --tags --always --dirty 2>/dev/null || echo unknown
LDFLAGS = -s -w -X main.version=$(VERSION)
DESTDIR =
DATA = $(DESTDIR)/usr/share
PROGRAMS = sidecard sidecar-launch sidecar-init sidecarctl sidecar-shim sidecar-spool

.PHONY: build check test vm-test demo bench install clean
build:
	. scripts/environment && CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS:%=./cmd/%)

check: ## linters, vet, known vulnerabilities
	scripts/check

test: ## unit tests, then both test hosts; RUN=regexp runs only those, verbosely; SHORT=1: shorter bursts
	scripts/test '$(RUN)'

vm-test: ## tests in virtual machines, one with AppArmor and one with SELinux
	scripts/vm-test

demo: ## a throw-away host, from nothing to a DHCP lease
	scripts/demo

bench: ## measurements in the test host, printed as "bench NAME VALUE UNIT"; SIDECARS=N: with N at once
	scripts/bench $(if $(SIDECARS),-sidecars '$(SIDECARS)')

install: ## installs what make build made; needs no Go
	@for p in $(PROGRAMS); do test -x bin/$$p || { echo "bin/$$p is missing: run 'make build' first" >&2; exit 1; }; done
	install -D -m 0755 -t $(DESTDIR)/usr/libexec/sidecar bin/sidecard bin/sidecar-launch bin/sidecar-spool bin/sidecar-init bin/sidecar-shim
	install -D -m 0755 -t $(DESTDIR)/usr/bin bin/sidecarctl
	install -D -m 0644 -t $(DESTDIR)/usr/lib/systemd/system cmd/sidecard/sidecard.service cmd/sidecar-launch/sidecar-clean.service cmd/sidecar-spool/sidecar-spool@.path cmd/sidecar-spool/*.service
	install -D -m 0644 -t $(DESTDIR)/usr/lib/sysctl.d cmd/sidecard/60-sidecar.conf
	install -D -m 0644 -t $(DATA)/sidecar/profiles.d service/policy/profiles.d/*.toml
	install -D -m 0644 -t $(DATA)/sidecar service/policy/haproxy.cfg
	install -D -m 0644 -t $(DATA)/sidecar service/seccomp/*.json
	install -D -m 0644 -t $(DESTDIR)/etc/apparmor.d service/lsm/sidecar
	install -D -m 0644 -t $(DATA)/selinux/packages service/lsm/sidecar.cil
	install -D -m 0644 -t $(DATA)/doc/sidecar/examples/agents.d service/policy/examples/agents.d/*.toml
	install -D -m 0644 -t $(DATA)/polkit-1/actions polkit/io.tripleo.sidecar.policy
	install -D -m 0755 -t $(DATA)/doc/sidecar/examples docs/examples/busctl.sh
	install -D -m 0644 -t $(DATA)/doc/sidecar docs/operations.md docs/reliability.md
	install -D -m 0644 -t $(DATA)/doc/sidecar/examples/rules.d polkit/examples/*.rules
	install -D -m 0644 -t $(DATA)/varlink/interfaces interfaces/io.tripleo.Sidecar.varlink
	install -D -m 0644 -t $(DATA)/dbus-1/system.d dbusserver/io.tripleo.Sidecar1.conf
	install -D -m 0644 -t $(DATA)/dbus-1/system-services dbusserver/io.tripleo.Sidecar1.service
	install -D -m 0644 -t $(DATA)/dbus-1/interfaces dbusserver/*.xml
	install -D -m 0644 -t $(DATA)/man/man8 cmd/sidecard/sidecard.8 cmd/sidecar-spool/sidecar-spool.8
	install -D -m 0644 -t $(DATA)/man/man5 service/policy/sidecar-policy.5
	install -D -m 0644 -t $(DATA)/man/man1 cmd/sidecarctl/sidecarctl.1 cmd/sidecar-shim/sidecar-shim.1
	install -d -m 0755 $(DESTDIR)/etc/sidecar/profiles.d $(DESTDIR)/etc/sidecar/agents.d

clean:
	rm -rf bin build
