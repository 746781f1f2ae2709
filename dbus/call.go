package dbus

import (
	godbus "github.com/godbus/dbus/v5"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/dict"
	"tripleo.io/sidecar/service"
)

// call is a method call whose form is right: the body fits the method's signature.
type call struct {
	caller      service.Caller
	path        string
	body        []any
	interactive *bool // whether the caller can wait for a person to authenticate
	request     *request
}

// flagName is the name of the parameter that is a flag of the message here.
const flagName = "allowInteractiveAuthentication"

func newCall(caller service.Caller, r *request) *call {
	c := &call{caller: caller, path: r.Path, body: r.body, request: r}
	if r.flags&godbus.FlagAllowInteractiveAuthorization != 0 {
		interactive := true
		c.interactive = &interactive
	}
	return c
}

// text returns the string at a position of the body.
func (c *call) text(at int) string {
	s, _ := c.body[at].(string)
	return s
}

// options sets fields of the struct that out points to from the dictionary at a
// position of the body.
func (c *call) options(at int, out any) error {
	entries, _ := c.body[at].(map[string]godbus.Variant)
	return dict.Options(entries, out, flagName)
}

// id is that of the sidecar whose object is called.
func (c *call) id() string {
	id, _ := interfaces.ParsePath(c.path)
	return id.String()
}

// launchParameters reads the body of Launch and of Explain.
func (c *call) launchParameters() (interfaces.LaunchParameters, error) {
	p := interfaces.LaunchParameters{Profile: c.text(0), AllowInteractiveAuthentication: c.interactive}
	p.Arguments, _ = c.body[1].([]string)
	err := c.options(2, &p)
	return p, err
}

// objectAndProperties is a sidecar's object with its properties, as List answers it.
type objectAndProperties struct {
	Path       godbus.ObjectPath
	Properties map[string]godbus.Variant
}

func describe(s interfaces.Sidecar) objectAndProperties {
	return objectAndProperties{pathOf(s.ID), dict.Encode(s)}
}

// pathOf is the path of the sidecar with this ID, which must be one.
func pathOf(id string) godbus.ObjectPath {
	parsed, _ := interfaces.ParseID(id)
	return godbus.ObjectPath(parsed.Path())
}
