// Package dict writes the structs of the interface as the dictionaries that D-Bus
// has for them (a{sv}), and reads them. The varlink contract is the one source:
// a field's name and type on D-Bus follow from its name and type there, so that
// the two transports cannot drift apart.
//
// A struct is flat on D-Bus: the fields of a struct within it stand beside its
// own. What is null on varlink is absent.
package dict
