package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The forms of a result.
const (
	outputTable = "table"
	outputJSON  = "json"
)

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

// given returns the option's value, or nil if the option was not used: an empty
// value is not the same as none.
func given[T any](cmd *cobra.Command, name string, value T) *T {
	if !cmd.Flags().Changed(name) {
		return nil
	}
	return &value
}

// timeoutUSec returns the option --timeout in the interface's unit, or nil.
func timeoutUSec(cmd *cobra.Command, timeout time.Duration) (*int64, error) {
	if !cmd.Flags().Changed("timeout") {
		return nil, nil
	}
	if timeout < time.Microsecond {
		return nil, &usageError{fmt.Sprintf("--timeout %s: must be longer than nothing", timeout)}
	}
	usec := timeout.Microseconds()
	return &usec, nil
}
