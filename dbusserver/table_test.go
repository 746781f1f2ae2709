package dbusserver

import (
	"encoding/xml"
	"flag"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/varlink/go/varlink/idl"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
)

var update = flag.Bool("update", false, "write the golden files")

// contract parses the .varlink file, whose name the parser needs in lower case.
func contract(t *testing.T) *idl.IDL {
	t.Helper()
	const line = "\ninterface "
	parsed, err := idl.New(strings.Replace(interfaces.Description, line+interfaces.Name, line+strings.ToLower(interfaces.Name), 1))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// twins says of every varlink method how its parameters travel on D-Bus: those in
// positional are arguments, the others options.
var twins = map[string]struct {
	parameters reflect.Type
	positional []string
}{
	"Launch":       {reflect.TypeFor[interfaces.LaunchParameters](), []string{"profile", "arguments"}},
	"Explain":      {reflect.TypeFor[interfaces.LaunchParameters](), []string{"profile", "arguments"}},
	"List":         {reflect.TypeFor[interfaces.ListParameters](), nil},
	"Stop":         {reflect.TypeFor[interfaces.StopParameters](), []string{"id"}},
	"Signal":       {reflect.TypeFor[interfaces.SignalParameters](), []string{"id", "signal"}},
	"ListProfiles": {reflect.TypeFor[interfaces.ListProfilesParameters](), nil},
	"ReadLog":      {reflect.TypeFor[interfaces.ReadLogParameters](), nil},
}

// TestTwinHasEveryMethod holds the table to the varlink file: whatever varlink has,
// D-Bus has, with every parameter.
func TestTwinHasEveryMethod(t *testing.T) {
	t.Parallel()
	manager := New(Config{}).tables.manager.interfaces[0]
	byName := map[string]method{}
	for _, m := range manager.methods {
		byName[m.name] = m
	}
	for _, v := range contract(t).Methods {
		if v.Name == "Monitor" { // on D-Bus: GetManagedObjects, and then signals
			continue
		}
		m, ok := byName[v.Name]
		if !ok {
			t.Errorf("%s has no twin", v.Name)
			continue
		}
		delete(byName, v.Name)
		checkParameters(t, v, m)
	}
	for name := range byName {
		t.Errorf("%s is not in the varlink interface", name)
	}
}

func checkParameters(t *testing.T, v *idl.Method, m method) {
	t.Helper()
	twin := twins[v.Name]
	got := map[string]bool{}
	for _, name := range twin.positional {
		got[name] = true
	}
	for _, f := range dict.OptionsOf(twin.parameters, flagName) {
		got[f.Name] = true
	}
	for _, f := range v.In.Fields {
		if !got[f.Name] && f.Name != flagName && f.Name != follow {
			t.Errorf("%s: the parameter %s has no place on D-Bus", v.Name, f.Name)
		}
	}
	var names []string
	for _, a := range m.in {
		if a.signature != "a{sv}" {
			names = append(names, a.name)
		}
	}
	if d := cmp.Diff(twin.positional, names); d != "" {
		t.Errorf("%s: arguments (-want +got):\n%s", v.Name, d)
	}
}

// TestTwinMonitorIsSignals holds every kind of event to be told on D-Bus.
func TestTwinMonitorIsSignals(t *testing.T) {
	t.Parallel()
	signals := map[string]bool{}
	for _, s := range New(Config{}).tables.manager.interfaces[0].signals {
		signals[s.name] = true
	}
	state := []interfaces.EventKind{interfaces.EventPresent, interfaces.EventSynchronized, interfaces.EventOverrun}
	for _, kind := range interfaces.EventKinds {
		name := strings.ToUpper(string(kind[:1])) + string(kind[1:])
		if want := !slices.Contains(state, kind); signals[name] != want {
			t.Errorf("the signal %s: %v, want %v", name, signals[name], want)
		}
	}
}

// TestDBusIntrospectionFiles holds the installed descriptions to the table.
func TestDBusIntrospectionFiles(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	for _, i := range []iface{s.tables.manager.interfaces[0], s.tables.sidecar.interfaces[0]} {
		file := i.name + ".xml"
		text := document(object{[]iface{i}}, nil)
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), text); d != "" {
			t.Errorf("%s; go test ./dbusserver -update writes it (-want +got):\n%s", file, d)
		}
	}
}

// node is what the tests read of an introspection.
type node struct {
	Interfaces []struct {
		Name    string `xml:"name,attr"`
		Methods []struct {
			Name string `xml:"name,attr"`
			Args []struct {
				Type      string `xml:"type,attr"`
				Direction string `xml:"direction,attr"`
			} `xml:"arg"`
		} `xml:"method"`
		Properties []struct {
			Name string `xml:"name,attr"`
			Type string `xml:"type,attr"`
		} `xml:"property"`
	} `xml:"interface"`
	Nodes []struct {
		Name string `xml:"name,attr"`
	} `xml:"node"`
}

func parse(t testing.TB, text string) node {
	t.Helper()
	var n node
	if err := xml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return n
}

func TestDBusIntrospectionHasTypesThatExist(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	for _, o := range []object{s.tables.branch, s.tables.manager, s.tables.sidecar} {
		for _, i := range parse(t, document(o, nil)).Interfaces {
			for _, m := range i.Methods {
				for _, a := range m.Args {
					if _, err := godbus.ParseSignature(a.Type); err != nil || a.Type == "" || a.Direction == "" {
						t.Errorf("%s.%s: %q %q: %v", i.Name, m.Name, a.Type, a.Direction, err)
					}
				}
			}
			for _, p := range i.Properties {
				if _, err := godbus.ParseSignature(p.Type); err != nil || p.Type == "" {
					t.Errorf("%s.%s: %q: %v", i.Name, p.Name, p.Type, err)
				}
			}
		}
	}
}

func TestDBusPathsLeadToTheSidecars(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][]string{
		"/": {"io"}, "/io": {"tripleo"}, "/io/tripleo": {"Sidecar1"}, interfaces.ManagerPath: {"sidecar"},
		interfaces.ManagerPath + "/sidecar": nil, "/io/tripl": nil, "/org": nil, "/io/tripleo/Sidecar1/side": nil,
	} {
		if d := cmp.Diff(want, childrenOf(path)); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
	}
}

// TestDBusBusPolicy holds the bus's own policy to the table: everybody may call every method
// except Set, which sets nothing.
func TestDBusBusPolicy(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("io.tripleo.Sidecar1.conf")
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Policies []struct {
			User    string `xml:"user,attr"`
			Context string `xml:"context,attr"`
			Allow   []struct {
				Own         string `xml:"own,attr"`
				Destination string `xml:"send_destination,attr"`
				Interface   string `xml:"send_interface,attr"`
				Member      string `xml:"send_member,attr"`
			} `xml:"allow"`
			Deny []struct {
				Destination string `xml:"send_destination,attr"`
			} `xml:"deny"`
		} `xml:"policy"`
	}
	if err := xml.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	got, want := map[string]bool{}, map[string]bool{}
	for _, p := range policy.Policies {
		for _, a := range p.Allow {
			if p.Context == "default" && a.Destination != "" {
				got[a.Interface+"."+a.Member] = true
			}
			if a.Own != "" && p.User != "root" {
				t.Errorf("%s%s may own %s", p.User, p.Context, a.Own)
			}
		}
		if p.Context == "default" && (len(p.Deny) != 1 || p.Deny[0].Destination != interfaces.BusName) {
			t.Errorf("the default denies %v", p.Deny)
		}
	}
	s := New(Config{})
	for _, o := range []object{s.tables.manager, s.tables.sidecar} {
		for _, i := range o.interfaces {
			for _, m := range i.methods {
				want[i.name+"."+m.name] = true
			}
		}
	}
	delete(want, propertiesInterface+".Set")
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
