// Package document has the document that a unit carries in Environment= variables. The core
// writes it; the core, the engines and sidecar-launch read it. It has two parts, each a
// variable that holds JSON:
//
//   - SIDECAR_CONTEXT: the request, as asked ([interfaces.Context]);
//   - SIDECAR_PLAN: the decision ([Plan]): which image and program, as which user, with which
//     confinement; which directories to prepare; when the sidecar is ready.
//
// The package decides nothing and looks at no file.
package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"tripleo.io/sidecar/interfaces"
)

// Names of the variables.
const (
	contextVariable = "SIDECAR_CONTEXT"
	planVariable    = "SIDECAR_PLAN"
)

// maxString is the longest environment variable that the kernel passes on, with its NUL:
// MAX_ARG_STRLEN, 32 pages (execve(2)).
const maxString = 128 << 10

// Kinds of pid namespaces that a payload can have.
const (
	Private = "private" // its own: the numbers in its pid files are translated
	Host    = "host"    // the host's: they are only checked
)

// Document is everything that a unit carries about its sidecar.
type Document struct {
	Context interfaces.Context // the request
	Plan                       // the decision
}

// Plan is the decision about a request.
type Plan struct {
	ID string `json:"id"` // AGENT.PROFILE.HASH

	// The container.
	Engine       string   `json:"engine"`                 // its name, as package engine knows it
	Program      string   `json:"program"`                // path of the engine's program
	Runtime      string   `json:"runtime,omitempty"`      // path of the OCI runtime; "": the engine's own
	Image        string   `json:"image"`                  // as the profile names it
	ImageID      string   `json:"-"`                      // of the image to run, found at each start; "": Image is looked up by its name
	Command      []string `json:"command"`                // program and fixed arguments, before the caller's
	Ignored      []int    `json:"ignored,omitempty"`      // which of the context's arguments the payload does not get
	Environment  []string `json:"environment,omitempty"`  // of the payload, NAME=value
	User         uint32   `json:"user"`                   // of the host, as which the payload runs
	Group        uint32   `json:"group"`                  // its group
	Capabilities []string `json:"capabilities,omitempty"` // without "CAP_"
	PIDNamespace string   `json:"pidNamespace"`           // Private or Host
	Init         string   `json:"init,omitempty"`         // path of sidecar-init, for a payload that leaves the foreground; needs Private
	Seccomp      string   `json:"seccomp,omitempty"`      // path of the filter; "": the engine's own
	AppArmor     string   `json:"apparmor,omitempty"`     // profile; "": none, or the engine's own
	SELinuxLevel string   `json:"selinuxLevel,omitempty"` // "": no SELinux
	SELinuxType  string   `json:"selinuxType,omitempty"`  // "": the engine's own
	Syslog       string   `json:"syslog,omitempty"`       // path of the socket that is /dev/log; "": none
	Tmpfs        []string `json:"tmpfs,omitempty"`        // directories that are empty at first and the payload's own
	OpenFiles    uint64   `json:"openFiles,omitempty"`    // how many files each process may have open; 0: the engine's default
	OOMScore     *int     `json:"oomScore,omitempty"`     // oom_score_adj of the payload (proc_pid_oom_score_adj(5)); nil: the engine's default
	Template     string   `json:"template,omitempty"`     // of the container, for an engine that prepares images ahead of launches

	// The preparation.
	Mounts        []Mount        `json:"mounts,omitempty"`        // by target, each before those in it
	Links         *Links         `json:"links,omitempty"`         // nil: the payload cannot reach through links
	Configuration *Configuration `json:"configuration,omitempty"` // nil: the payload's configuration is not looked at

	// The readiness.
	PIDFiles    []File `json:"pidFiles,omitempty"`    // ready when each holds a process; the first is the main one
	Socket      *File  `json:"socket,omitempty"`      // ready when it accepts connections
	TimeoutUSec int64  `json:"timeoutUSec,omitempty"` // the unit's TimeoutStartUSec; 0 is none

	Health *Health `json:"health,omitempty"` // nil: the payload is not probed while it runs
}

// Health says how the payload is probed while it runs: by exactly one of Command, TCP, UDP and
// Unix.
type Health struct {
	Command      []string `json:"command,omitempty"` // program in the container, and its arguments
	TCP          string   `json:"tcp,omitempty"`     // ADDRESS:PORT in the payload's network namespace
	UDP          string   `json:"udp,omitempty"`     // the same, of a DNS server
	Unix         string   `json:"unix,omitempty"`    // path of a stream socket in the container
	IntervalUSec int64    `json:"intervalUSec"`      // between two probes
	TimeoutUSec  int64    `json:"timeoutUSec"`       // of one probe
	Failures     int      `json:"failures"`          // in a row, until the payload counts as unhealthy
	Restart      bool     `json:"restart,omitempty"` // whether systemd restarts it then
}

// Configuration is a configuration file of the payload, and what it must and must not hold.
type Configuration struct {
	File    File              `json:"file"`
	Refused map[string]string `json:"refused,omitempty"` // words that no line may begin with, each with the reason
	PIDFile string            `json:"pidFile,omitempty"` // word of the line that names the first pid file; "": none has to
}

// Actions for a link from the payload's network namespace to another one.
const (
	LinksCheck  = "check"  // the unit's log has a line
	LinksWarn   = "warn"   // the unit's log has a warning
	LinksRefuse = "refuse" // the launch fails
)

// Links says what to do when the payload's network namespace is linked, mostly by a veth pair,
// to the host's or to a namespace that is not the agent's. A payload with CAP_NET_ADMIN can
// make, move and delete links there: the kernel checks the capability in the user namespace
// that owns the other network namespace, which is the host's for all of them (rtnetlink(7),
// IFLA_TARGET_NETNSID).
type Links struct {
	Action string   `json:"action"` // LinksCheck, LinksWarn or LinksRefuse
	Own    []string `json:"own"`    // patterns with '*' for the names of the agent's namespaces
}

// File is a file that the payload makes, or its configuration.
type File struct {
	Root string `json:"root"` // state directory of the agent, absolute
	Path string `json:"path"` // beneath Root
}

func (f File) String() string { return f.Root + "/" + f.Path }

// NetworkNamespace returns the name below /run/netns, "" for the host's own.
func (d *Document) NetworkNamespace() string {
	if d.Context.NetworkNamespace == nil {
		return ""
	}
	return *d.Context.NetworkNamespace
}

// Payload returns the command line of the payload.
func (d *Document) Payload() []string {
	argv := slices.Clone(d.Command)
	for i, argument := range d.Context.Arguments {
		if !slices.Contains(d.Ignored, i) {
			argv = append(argv, argument)
		}
	}
	return argv
}

// Daemonizes reports whether the payload leaves the foreground: the first process of its
// container is sidecar-init then.
func (p Plan) Daemonizes() bool { return p.Init != "" }

// InitPath is where a container sees sidecar-init, as with podman's own --init.
const InitPath = "/run/sidecar-init"

// Process returns the command line of the container's first process, and the variables that
// each launch adds to its environment. sidecar-init gets the payload's command line as a
// variable: its own must not show it, because callers look up the daemon by it.
func (d *Document) Process() (argv, environment []string) {
	argv = d.Payload()
	if tag := d.Context.ProcessTag; tag != nil {
		environment = append(environment, "PROCESS_TAG="+*tag)
	}
	if d.Daemonizes() {
		words, _ := JSON(argv) // strings cannot fail
		return []string{InitPath}, append(environment, "SIDECAR_COMMAND="+words)
	}
	return argv, environment
}

// TooLongError means that a part of a document does not fit into a variable.
type TooLongError struct {
	Bytes int // of the variable
	Limit int // the smallest number that is too large
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("written as JSON they take %d bytes; the unit can carry fewer than %d", e.Bytes, e.Limit)
}

// New returns the document of a decision. arguments are the context's arguments without those
// that the profile ignores.
func New(context interfaces.Context, arguments []string, plan Plan) *Document {
	d := &Document{context, plan}
	rest := arguments
	for i, argument := range context.Arguments {
		if len(rest) > 0 && rest[0] == argument {
			rest = rest[1:]
		} else {
			d.Ignored = append(d.Ignored, i)
		}
	}
	return d
}

// Encode returns the variables that carry the document, as NAME=value. It fails with a
// [TooLongError], or for a document that [Document.Validate] refuses.
func (d *Document) Encode() ([]string, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	var variables []string
	for _, part := range d.parts() {
		text, err := JSON(part.value)
		if err != nil {
			return nil, fmt.Errorf("document: %v", err)
		}
		variable := part.name + "=" + text
		if len(variable) >= maxString {
			return nil, &TooLongError{len(variable), maxString}
		}
		variables = append(variables, variable)
	}
	return variables, nil
}

// Decode reads a document from the environment. It refuses a missing part, unknown fields,
// text after a part, and a document that [Document.Validate] refuses.
func Decode(environment []string) (Document, error) {
	var d Document
	for _, part := range d.parts() {
		i := slices.IndexFunc(environment, func(variable string) bool { return strings.HasPrefix(variable, part.name+"=") })
		if i < 0 {
			return Document{}, fmt.Errorf("document: %s is not set: only the units of sidecars have it", part.name)
		}
		decoder := json.NewDecoder(strings.NewReader(environment[i][len(part.name)+1:]))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(part.value); err != nil {
			return Document{}, fmt.Errorf("document: %s: %v", part.name, err)
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return Document{}, fmt.Errorf("document: %s: something follows it", part.name)
		}
	}
	if err := d.Validate(); err != nil {
		return Document{}, err
	}
	return d, nil
}

// part is a part of a document, and its variable.
type part struct {
	name  string
	value any
}

func (d *Document) parts() []part {
	return []part{{contextVariable, &d.Context}, {planVariable, &d.Plan}}
}

// Fields returns the fields of the plan for people: each key with its value in JSON, a string
// without its quotes.
func (p Plan) Fields() ([][2]string, error) {
	encoded, err := JSON(p)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(encoded))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	var fields [][2]string
	for decoder.More() {
		var value any
		key, err := decoder.Token()
		if err == nil {
			err = decoder.Decode(&value)
		}
		if err != nil {
			return nil, err
		}
		shown, isText := value.(string)
		if !isText {
			if shown, err = JSON(value); err != nil {
				return nil, err
			}
		}
		fields = append(fields, [2]string{key.(string), shown})
	}
	return fields, nil
}

// JSON returns v as one line of JSON that people can read, and that is no longer than it must be.
func JSON(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // would make six bytes of each '<'
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
