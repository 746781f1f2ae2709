package netns

import "fmt"

// maxName is the longest name accepted, in bytes. Linux allows 255 (NAME_MAX);
// Neutron's longest is 7+36.
const maxName = 128

// ValidName returns nil when name can be the name of a network namespace: 1 to
// 128 of A-Z, a-z, 0-9, '.', '_' and '-', but neither "." nor "..". Such a name
// is one component of a path and nothing else. The error says what is wrong.
func ValidName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name of a network namespace is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name of a network namespace is %d bytes long, %d are allowed", len(name), maxName)
	case name == "." || name == "..":
		return fmt.Errorf("%q is a directory, not the name of a network namespace", name)
	}
	for i := range len(name) {
		if !validByte(name[i]) {
			return fmt.Errorf("the name of a network namespace, %q, has %q at byte %d; only A-Z a-z 0-9 . _ - are allowed", name, name[i], i)
		}
	}
	return nil
}

func validByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == '-'
}
