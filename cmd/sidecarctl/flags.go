package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tripleo.io/sidecar/interfaces"
)

const (
	outputTable = "table"
	outputJSON  = "json"
)

var outputs = []string{outputTable, outputJSON}

// usageError is a command line that cannot be carried out.
type usageError struct {
	message string
}

func (e *usageError) Error() string { return e.message }

// choice is the value of an option that takes one of a few words.
type choice struct {
	value   *string
	allowed []string
}

// newChoice returns an option's value, the first word being the default.
func newChoice(value *string, allowed ...string) pflag.Value {
	*value = allowed[0]
	return &choice{value, allowed}
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("must be one of: %s", strings.Join(c.allowed, ", "))
	}
	*c.value = s
	return nil
}

// timeout is the value of the option --timeout, in the interface's unit; nil: not given.
type timeout struct{ usec *int64 }

func (*timeout) String() string { return "" } // no default
func (*timeout) Type() string   { return "DURATION" }

func (t *timeout) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err == nil && d < time.Microsecond {
		err = errors.New("must be longer than 0")
	}
	t.usec = new(d.Microseconds())
	return err
}

// given returns the option's value, or nil if the option was not used: an empty value is
// not the same as no value.
func given[T any](cmd *cobra.Command, name string, value T) *T {
	if !cmd.Flags().Changed(name) {
		return nil
	}
	return &value
}

// sidecarID returns the ID that s is, or the ID of the unit that s names.
func sidecarID(s string) (string, error) {
	if id, ok := interfaces.ParseUnit(s); ok {
		return id.String(), nil
	}
	id, err := interfaces.ParseID(s)
	if err != nil {
		return "", &usageError{err.Error() + "; 'sidecarctl list' shows the IDs"}
	}
	return id.String(), nil
}
