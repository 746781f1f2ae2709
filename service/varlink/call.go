package varlink

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// errWrite marks that a reply did not get through; the connection is of no use
// any more.
var errWrite = errors.New("reply not taken")

// Call is one call of a peer, and the way back. It serves as varlink/go's
// connection for the length of the call.
type Call struct {
	envelope *envelope
	write    func([]byte) error
	hangUp   func() error
	ending   context.Context // ends when the server is told to end
}

// Method returns the full name of the method, as the peer wrote it.
func (c *Call) Method() string { return c.envelope.Method }

// More reports whether the peer takes more than one reply.
func (c *Call) More() bool { return c.envelope.More }

// decode sets the struct that out points to from the parameters.
func (c *Call) decode(out any) error { return decodeParameters(*c.envelope.Parameters, out) }

// message is a reply (https://varlink.org/Method-Call).
type message struct {
	Parameters jsontext.Value `json:"parameters"`
	Continues  bool           `json:"continues,omitzero"`
	Error      string         `json:"error,omitzero"`
}

// reply sends one reply; continues says that another one follows.
func (c *Call) reply(parameters any, continues bool) error {
	return c.send(parameters, message{Continues: continues})
}

// replyError sends an error. varlink/go would refuse those of org.varlink.service.
func (c *Call) replyError(name string, parameters any) error {
	return c.send(parameters, message{Error: name})
}

func (c *Call) send(parameters any, m message) error {
	if c.envelope.Oneway {
		return nil
	}
	encoded, err := encode(parameters)
	if err != nil {
		return err
	}
	m.Parameters = encoded
	frame, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = c.Write(context.Background(), append(frame, 0))
	return err
}

// encode writes parameters so that they fit the interface: an empty list is []
// and never null, a pointer is left out only if it is nil, and bytes that are
// not UTF-8 (the output of some program) become U+FFFD.
func encode(parameters any) (jsontext.Value, error) {
	if parameters == nil {
		return jsontext.Value("{}"), nil
	}
	return json.Marshal(parameters,
		jsonv1.OmitEmptyWithLegacySemantics(true), jsontext.AllowInvalidUTF8(true))
}

// Write sends a whole frame. It is for varlink/go, and has the connection's
// deadline whatever the context says.
func (c *Call) Write(_ context.Context, frame []byte) (int, error) {
	if err := c.write(frame); err != nil {
		return 0, fmt.Errorf("%w: %w", errWrite, err)
	}
	return len(frame), nil
}

// Read is for upgraded connections, which do not exist here. It returns io.EOF.
func (c *Call) Read(context.Context, []byte) (int, error) { return 0, io.EOF }

// ReadBytes is for upgraded connections, which do not exist here. It returns
// io.EOF.
func (c *Call) ReadBytes(context.Context, byte) ([]byte, error) { return nil, io.EOF }
