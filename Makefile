# Each target installs what it needs (scripts/prepare); see README.md. Programs and unit files
# name each other by path, so the directories must be the same for make build and make install.
VERSION != git describe --tags --always --dirty 2>/dev/null || echo unknown
DESTDIR =
PREFIX = /usr
BINDIR = $(PREFIX)/bin
LIBEXECDIR = $(PREFIX)/libexec
DATADIR = $(PREFIX)/share
SYSCONFDIR = /etc
paths = tripleo.io/sidecar/internal/paths
LDFLAGS = -s -w -X main.version=$(VERSION) -X $(paths).libexec=$(LIBEXECDIR) -X $(paths).data=$(DATADIR) -X $(paths).etc=$(SYSCONFDIR)
PROGRAMS = sidecard sidecar-launch sidecar-init sidecarctl sidecar-shim sidecar-spool

.PHONY: build check test vm-test demo bench packages packages-test ansible-test install clean
build:
	. scripts/environment && CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS:%=./cmd/%)
	@echo '$(LIBEXECDIR) $(DATADIR) $(SYSCONFDIR)' >bin/.directories
	rm -rf bin/man && mkdir bin/man
	. scripts/environment && go run -tags manual ./cmd/sidecarctl bin/man
	. scripts/environment && go run ./internal/manual varlink interfaces/io.tripleo.Sidecar.varlink >bin/man/io.tripleo.Sidecar.7
	. scripts/environment && go run ./internal/manual dbus interfaces/io.tripleo.Sidecar.varlink dbusserver/*.xml >bin/man/io.tripleo.Sidecar1.5

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

packages: ## .deb and .rpm packages, in build/packages
	scripts/packages

packages-test: ## the packages in both test hosts: install, upgrade, downgrade, remove; and below /opt
	scripts/packages-test

ansible-test: ## the Ansible collection: linters, then three hosts over ssh
	scripts/ansible-test

install: ## installs what make build made; needs no Go
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BINDIR='$(BINDIR)' LIBEXECDIR='$(LIBEXECDIR)' DATADIR='$(DATADIR)' SYSCONFDIR='$(SYSCONFDIR)' PROGRAMS='$(PROGRAMS)' scripts/install

clean:
	rm -rf bin build
