package systemd

import (
	"testing"

	"github.com/godbus/dbus/v5"
)

func TestUnitPathIsSystemds(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]dbus.ObjectPath{
		"ssh.service": "/org/freedesktop/systemd1/unit/ssh_2eservice",
		"1a-b.slice":  "/org/freedesktop/systemd1/unit/_31a_2db_2eslice",
		"_":           "/org/freedesktop/systemd1/unit/_5f",
		"":            "/org/freedesktop/systemd1/unit/_",
		"ü":           "/org/freedesktop/systemd1/unit/_c3_bc",
	} {
		if got := unitPath(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestUnitNameRefusesWhatIsNoUnit(t *testing.T) {
	t.Parallel()
	for _, path := range []dbus.ObjectPath{"", "/", managerPath, unitPrefix, unitPrefix + "a_2", unitPrefix + "a_zz", unitPrefix + "_"} {
		if name, ok := unitName(path); ok {
			t.Errorf("%s is the unit %q", path, name)
		}
	}
}

func FuzzUnitPath(f *testing.F) {
	f.Add("sidecar-neutron-dhcp.dnsmasq.0123456789ab.service")
	f.Add("ü_2e")
	f.Fuzz(func(t *testing.T, name string) {
		path := unitPath(name)
		if !path.IsValid() {
			t.Errorf("%q: path %q is not valid", name, path)
		}
		if got, ok := unitName(path); name != "" && (!ok || got != name) {
			t.Errorf("%q came back as %q, %v", name, got, ok)
		}
		unitName(dbus.ObjectPath(unitPrefix + name))
	})
}

func TestJobID(t *testing.T) {
	t.Parallel()
	if id, err := jobID("/org/freedesktop/systemd1/job/4711"); id != 4711 || err != nil {
		t.Errorf("job %d, %v", id, err)
	}
	for _, path := range []dbus.ObjectPath{"", "/", jobPrefix, jobPrefix + "x", jobPrefix + "-1", jobPrefix + "4294967296"} {
		if id, err := jobID(path); err == nil {
			t.Errorf("%q is job %d", path, id)
		}
	}
}
