package netns

import (
	"errors"
	"fmt"
	"strings"
)

// maxName is the longest name in bytes, NAME_MAX of Linux.
const maxName = 255

// ValidName returns nil when name is one component of a path and can be the name of a
// network namespace for the kernel. Which names an agent may use is the policy's decision.
// The error says what is wrong.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > maxName:
		return fmt.Errorf("it is %d bytes long, %d are allowed", len(name), maxName)
	case name == "." || name == "..":
		return errors.New("it is a directory")
	case strings.ContainsAny(name, "/\x00"):
		return errors.New("it has a '/' or a null byte in it")
	}
	return nil
}
