package interfaces_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/varlink/go/varlink/idl"

	"tripleo.io/sidecar/interfaces"
)

// contract parses the .varlink file. The parser of varlink/go knows no capital
// letters in the interface's name, so it gets a lower-cased one.
func contract(t *testing.T) *idl.IDL {
	t.Helper()
	const line = "\ninterface "
	text := strings.Replace(interfaces.Description, line+interfaces.Name, line+strings.ToLower(interfaces.Name), 1)
	if text == interfaces.Description {
		t.Fatalf("the file does not describe %s", interfaces.Name)
	}
	parsed, err := idl.New(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// types ties the named types of the file to the Go types.
var types = map[string]reflect.Type{
	"LaunchMode":   reflect.TypeFor[interfaces.LaunchMode](),
	"SidecarState": reflect.TypeFor[interfaces.SidecarState](),
	"HealthState":  reflect.TypeFor[interfaces.HealthState](),
	"LaunchPhase":  reflect.TypeFor[interfaces.LaunchPhase](),
	"MemoryLimit":  reflect.TypeFor[interfaces.MemoryLimit](),
	"EventKind":    reflect.TypeFor[interfaces.EventKind](),
	"Event":        reflect.TypeFor[interfaces.Event](),
	"Context":      reflect.TypeFor[interfaces.Context](),
	"Runtime":      reflect.TypeFor[interfaces.Runtime](),
	"Usage":        reflect.TypeFor[interfaces.Usage](),
	"LogEntry":     reflect.TypeFor[interfaces.LogEntry](),
	"Sidecar":      reflect.TypeFor[interfaces.Sidecar](),
	"StandIn":      reflect.TypeFor[interfaces.StandIn](),
	"Profile":      reflect.TypeFor[interfaces.Profile](),
	"UnitProperty": reflect.TypeFor[interfaces.UnitProperty](),
}

var enums = map[string][]string{
	"LaunchMode":   texts(interfaces.LaunchModes),
	"SidecarState": texts(interfaces.SidecarStates),
	"HealthState":  texts(interfaces.HealthStates),
	"LaunchPhase":  texts(interfaces.LaunchPhases),
	"MemoryLimit":  texts(interfaces.MemoryLimits),
	"EventKind":    texts(interfaces.EventKinds),
}

// methods ties the methods of the file to the Go types of input and output.
var methods = map[string][2]reflect.Type{
	"Launch":       {reflect.TypeFor[interfaces.LaunchParameters](), reflect.TypeFor[interfaces.LaunchReply]()},
	"Explain":      {reflect.TypeFor[interfaces.LaunchParameters](), reflect.TypeFor[interfaces.ExplainReply]()},
	"List":         {reflect.TypeFor[interfaces.ListParameters](), reflect.TypeFor[interfaces.ListReply]()},
	"Stop":         {reflect.TypeFor[interfaces.StopParameters](), reflect.TypeFor[interfaces.StopReply]()},
	"Signal":       {reflect.TypeFor[interfaces.SignalParameters](), reflect.TypeFor[interfaces.SignalReply]()},
	"ListProfiles": {reflect.TypeFor[interfaces.ListProfilesParameters](), reflect.TypeFor[interfaces.ListProfilesReply]()},
	"Monitor":      {reflect.TypeFor[interfaces.MonitorParameters](), reflect.TypeFor[interfaces.MonitorReply]()},

	"CreateNamespace": {reflect.TypeFor[interfaces.CreateNamespaceParameters](), reflect.TypeFor[interfaces.CreateNamespaceReply]()},
	"DeleteNamespace": {reflect.TypeFor[interfaces.DeleteNamespaceParameters](), reflect.TypeFor[interfaces.DeleteNamespaceReply]()},
	"ReadLog":         {reflect.TypeFor[interfaces.ReadLogParameters](), reflect.TypeFor[interfaces.ReadLogReply]()},
}

func texts[T ~string](values []T) []string {
	all := []string{}
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

// field is a field as both sides can say it: its name and its type as the file
// writes it.
type field struct{ Name, Type string }

func fieldsOfIDL(t *idl.Type) []field {
	all := []field{}
	for _, f := range t.Fields {
		all = append(all, field{f.Name, typeOfIDL(f.Type)})
	}
	return all
}

func typeOfIDL(t *idl.Type) string {
	switch t.Kind {
	case idl.TypeBool:
		return "bool"
	case idl.TypeInt:
		return "int"
	case idl.TypeString:
		return "string"
	case idl.TypeAlias:
		return t.Alias
	case idl.TypeMaybe:
		return "?" + typeOfIDL(t.ElementType)
	case idl.TypeArray:
		return "[]" + typeOfIDL(t.ElementType)
	}
	return "unknown to this test"
}

// fieldsOfGo reads a struct. What the file calls optional is a pointer with
// omitempty; anything else has neither.
func fieldsOfGo(t reflect.Type) []field {
	all := []field{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		written := typeOfGo(f.Type)
		if strings.HasPrefix(written, "?") != (options == "omitempty") {
			written += " with the tag " + string(f.Tag)
		}
		all = append(all, field{name, written})
	}
	return all
}

func typeOfGo(t reflect.Type) string {
	for name, named := range types {
		if t == named {
			return name
		}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "?" + typeOfGo(t.Elem())
	case reflect.Slice:
		return "[]" + typeOfGo(t.Elem())
	case reflect.String, reflect.Bool:
		if t.PkgPath() == "" {
			return t.Kind().String()
		}
	case reflect.Int64:
		return "int"
	}
	return t.String()
}

func TestContractTypes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, alias := range contract(t).Aliases {
		seen[alias.Name] = true
		of, ok := types[alias.Name]
		switch {
		case !ok:
			t.Errorf("type %s has no Go type", alias.Name)
		case alias.Type.Kind == idl.TypeEnum:
			names := []string{}
			for _, f := range alias.Type.Fields {
				names = append(names, f.Name)
			}
			if diff := cmp.Diff(names, enums[alias.Name]); diff != "" {
				t.Errorf("type %s (-file +Go):\n%s", alias.Name, diff)
			}
		default:
			if diff := cmp.Diff(fieldsOfIDL(alias.Type), fieldsOfGo(of)); diff != "" {
				t.Errorf("type %s (-file +Go):\n%s", alias.Name, diff)
			}
		}
	}
	for name := range types {
		if !seen[name] {
			t.Errorf("type %s is not in the file", name)
		}
	}
}

func TestContractMethods(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, method := range contract(t).Methods {
		seen[method.Name] = true
		of, ok := methods[method.Name]
		if !ok {
			t.Errorf("method %s has no Go types", method.Name)
			continue
		}
		for i, side := range []*idl.Type{method.In, method.Out} {
			if diff := cmp.Diff(fieldsOfIDL(side), fieldsOfGo(of[i])); diff != "" {
				t.Errorf("method %s, %s (-file +Go):\n%s", method.Name, []string{"input", "output"}[i], diff)
			}
		}
	}
	for name := range methods {
		if !seen[name] {
			t.Errorf("method %s is not in the file", name)
		}
	}
}

// TestContractErrors shows that the table has a row for every error of the file,
// with its parameters, and none beside them but the generic ones.
func TestContractErrors(t *testing.T) {
	t.Parallel()
	rows := map[string]interfaces.ErrorRow{}
	for _, row := range interfaces.Errors {
		if name, own := strings.CutPrefix(row.Varlink, interfaces.Name+"."); own {
			rows[name] = row
		} else if !strings.HasPrefix(row.Varlink, "org.varlink.service.") && !strings.HasPrefix(row.Varlink, "io.systemd.") {
			t.Errorf("%s is an error of nobody", row.Varlink)
		}
	}
	for _, e := range contract(t).Errors {
		row, ok := rows[e.Name]
		if !ok || row.New == nil {
			t.Errorf("error %s has no row with parameters", e.Name)
			continue
		}
		delete(rows, e.Name)
		of := reflect.TypeOf(row.New()).Elem()
		if of.Name() != e.Name+"Error" {
			t.Errorf("error %s has the parameters of %s", e.Name, of)
		}
		if diff := cmp.Diff(fieldsOfIDL(e.Type), fieldsOfGo(of)); diff != "" {
			t.Errorf("error %s (-file +Go):\n%s", e.Name, diff)
		}
	}
	for name := range rows {
		t.Errorf("error %s is not in the file", name)
	}
}
