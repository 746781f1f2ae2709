package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/spool"
)

// request is a claimed request that is well formed.
type request struct {
	name       string
	parameters any       // a pointer to one of package interfaces
	modified   time.Time // when it was written
	claimed    time.Time
	again      bool // its call may have been made already
}

// unfitError says why a file is not a request. The file is moved to refused.
type unfitError struct{ detail error }

func (e *unfitError) Error() string { return e.detail.Error() }

func unfit(format string, args ...any) error {
	return &unfitError{&interfaces.InvalidParameterError{Parameter: "request", Reason: fmt.Sprintf(format, args...)}}
}

// read reads a claimed request. Its error is fs.ErrNotExist or an unfitError.
func (s *server) read(name string) (*request, error) {
	f, err := openBeneath(s.tree.claimed, spool.File(name), unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, unfit("it cannot be opened: %v", err)
	}
	defer f.Close()
	st, err := statOf(f)
	if err == nil {
		err = s.checkFile(&st)
	}
	if err != nil {
		return nil, err
	}
	text, err := contents(f)
	if err != nil {
		return nil, err
	}
	parameters, err := parse(text)
	if err != nil {
		return nil, &unfitError{err}
	}
	return &request{
		name: name, parameters: parameters,
		modified: time.Unix(st.Mtim.Unix()), claimed: time.Unix(st.Ctim.Unix()),
	}, nil
}

// checkFile refuses a file that the spool's user cannot have written as a request.
func (s *server) checkFile(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return unfit("it is %s and not a regular file", kindOf(st.Mode))
	case st.Uid != s.tree.user && int(st.Uid) != os.Geteuid():
		return unfit("it belongs to user %d, and the spool to user %d", st.Uid, s.tree.user)
	case st.Nlink != 1:
		return unfit("it has %d names", st.Nlink)
	case st.Size > spool.MaxRequest:
		return unfit("it has %d bytes, which is more than %d", st.Size, spool.MaxRequest)
	}
	return nil
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a fifo"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}

// contents reads the regular file that f is open on with O_PATH. With O_NONBLOCK the
// open does not wait for the owner of a lease (fcntl(2)).
func contents(f *os.File) ([]byte, error) {
	opened, err := os.OpenFile(procFD(f), os.O_RDONLY|unix.O_NONBLOCK, 0)
	var text []byte
	if err == nil {
		defer opened.Close()
		text, err = io.ReadAll(io.LimitReader(opened, spool.MaxRequest+1))
	}
	var path *fs.PathError
	switch {
	case errors.As(err, &path): // the path is not the agent's
		return nil, unfit("it cannot be read: %v", path.Err)
	case err != nil:
		return nil, unfit("it cannot be read: %v", err)
	case len(text) > spool.MaxRequest:
		return nil, unfit("it grows")
	}
	return text, nil
}

// procFD is a path that leads to what f is open on (proc_pid_fd(5)).
func procFD(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// parse decodes a request strictly: unknown and repeated members, names in other
// letters and text that is not UTF-8 are errors, which are of package interfaces.
func parse(text []byte) (parameters any, err error) {
	var call struct {
		Method     string         `json:"method"`
		Parameters jsontext.Value `json:"parameters"`
	}
	if err := decode(text, &call); err != nil {
		return nil, invalid("request", err)
	}
	switch call.Method {
	case spool.MethodLaunch:
		parameters = &interfaces.LaunchParameters{}
	case spool.MethodList:
		parameters = &interfaces.ListParameters{}
	case spool.MethodStop:
		parameters = &interfaces.StopParameters{}
	case spool.MethodSignal:
		parameters = &interfaces.SignalParameters{}
	default:
		return nil, &interfaces.MethodNotFoundError{Method: cut(call.Method)}
	}
	if len(call.Parameters) == 0 || call.Parameters.Kind() == 'n' {
		return parameters, nil // missing or null means {}
	}
	if call.Parameters.Kind() != '{' {
		return nil, invalid("parameters", errors.New("must be an object"))
	}
	if err := decode(call.Parameters, parameters); err != nil {
		return nil, invalid("parameters", err)
	}
	return parameters, nil
}

func decode(text []byte, into any) error {
	return json.Unmarshal(text, into, json.RejectUnknownMembers(true))
}

// invalid names the member that is wrong, or else the whole.
func invalid(whole string, err error) error {
	parameter, reason := whole, err.Error()
	var semantic *json.SemanticError
	if errors.As(err, &semantic) && semantic.JSONPointer != "" {
		parameter = cut(strings.TrimPrefix(string(semantic.JSONPointer), "/"))
		switch {
		case errors.Is(err, json.ErrUnknownName):
			reason = "no such member"
		case semantic.GoType != nil:
			reason = "must be of type " + strings.TrimPrefix(semantic.GoType.String(), "interfaces.")
		}
	}
	return &interfaces.InvalidParameterError{Parameter: parameter, Reason: cut(strings.TrimPrefix(reason, "json: "))}
}

// maxShown bounds what a message shows of a request, in bytes.
const maxShown = 200

func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}
