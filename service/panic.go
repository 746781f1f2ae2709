package service

import (
	"runtime/debug"

	"tripleo.io/sidecar/interfaces"
)

// caught turns a panic into *err and logs it with its stack. It must be deferred. It
// is for goroutines of the core: a transport catches the panics of its own.
func (c *Core) caught(doing string, err *error) {
	if value := recover(); value != nil {
		c.Logger.Error("panic", "in", doing, "panic", value, "stack", string(debug.Stack()))
		*err = interfaces.Unexpected()
	}
}
