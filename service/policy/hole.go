package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// class reports whether a byte may be in a hole's value.
type class func(c byte) bool

// or adds bytes to a class.
func (accepts class) or(more string) class {
	return func(c byte) bool { return accepts(c) || strings.IndexByte(more, c) >= 0 }
}

// hole is a typed gap in a rule.
type hole struct {
	name     string // as written in a rule, with its braces
	accepts  class
	valid    func(value string) bool // the value is not empty and its bytes are accepted
	want     string                  // what is accepted, in words
	path     bool                    // the value names a file; its directory is mounted
	writable bool                    // …for writing
	private  bool                    // …as an empty directory of the container alone
	dir      bool                    // the value names a directory, which is itself mounted
	open     bool                    // a value may begin with '-'
}

// repeated ends the name of a hole for several values with ',' between them.
const repeated = ",...}"

// findHole finds a hole by its name.
func findHole(name string) (*hole, bool) {
	single, repeats := strings.CutSuffix(name, repeated)
	for _, h := range holes {
		switch {
		case h.name == name:
			return &h, true
		case repeats && h.name == single+"}" && !h.path && !h.open:
			return h.repeat(), true
		}
	}
	return nil, false
}

// repeat returns a hole for one or more values of h.
func (h hole) repeat() *hole {
	return &hole{
		name:    strings.TrimSuffix(h.name, "}") + repeated,
		accepts: h.accepts.or(","),
		valid: func(list string) bool {
			return !slices.ContainsFunc(strings.Split(list, ","), func(value string) bool { return value == "" || !h.valid(value) })
		},
		want: h.want + ", once or more with ',' between them",
	}
}

const wantPath = "an absolute path of letters, digits and . _ : @ + - inside a state directory"

var holes = []hole{
	{name: "{path:ro}", accepts: isPathByte, valid: isAbsolute, want: wantPath, path: true},
	{name: "{path:rw}", accepts: isPathByte, valid: isAbsolute, want: wantPath, path: true, writable: true},
	{name: "{path:pid}", accepts: isPathByte, valid: isAbsolute, want: wantPath, path: true, writable: true, private: true},
	{name: "{dir:rw}", accepts: isPathByte, valid: isAbsolute, want: wantPath, path: true, writable: true, dir: true},
	{name: "{name}", accepts: isNameByte, valid: isName, want: "letters, digits, '.', '_' and '-', not beginning with '.' or '-'"},
	{name: "{int}", accepts: isDigit, valid: isInt, want: "a decimal number without sign and leading zeros"},
	{name: "{duration}", accepts: isAlphanumeric, valid: isDuration, want: `a number, which s, m, h, d or w may follow, or "infinite"`},
	{name: "{ip}", accepts: isIPByte, valid: isIP, want: "an IPv4 or IPv6 address"},
	{name: "{domain}", accepts: isDomainByte, valid: isDomain, want: "the name of a DNS domain, also with letters beyond ASCII"},
	{name: "{server}", accepts: isServerByte, valid: isServer, want: "a DNS server as dnsmasq takes it: [/DOMAIN/...]ADDRESS[#PORT]"},
	{name: "{cidr}", accepts: isCIDRByte, valid: isCIDR, want: "an IPv4 or IPv6 address, '/' and a prefix length"},
	{name: "{mac}", accepts: isMACByte, valid: isMAC, want: "six pairs of hexadecimal digits with ':' between them"},
	{name: "{uuid}", accepts: isUUIDByte, valid: isUUID, want: "a UUID such as 01234567-89ab-cdef-0123-456789abcdef"},
	{name: "{interface}", accepts: isNameByte, valid: isInterface, want: "a network interface: at most 15 letters, digits, '.', '_' and '-', not beginning with '.' or '-'"},
	{name: "{text}", accepts: func(byte) bool { return true }, valid: func(string) bool { return true }, want: "printable text", open: true},
}

// holeNames lists the holes for messages.
func holeNames() []string {
	var names []string
	for _, h := range holes {
		names = append(names, h.name)
	}
	return names
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

func isAlphanumeric(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

var (
	isNameByte   = class(isAlphanumeric).or("._-")
	isPathByte   = isNameByte.or("/:@+")
	isIPByte     = class(isHex).or(":.")
	isCIDRByte   = isIPByte.or("/")
	isMACByte    = class(isHex).or(":")
	isUUIDByte   = class(isHex).or("-")
	isServerByte = class(isDomainByte).or(":/#*")
)

func isAbsolute(s string) bool { return s[0] == '/' }

func isName(s string) bool { return len(s) <= 255 && s[0] != '.' && s[0] != '-' }

// isInterface: IFNAMSIZ of linux/if.h is 16 with the final NUL.
func isInterface(s string) bool { return len(s) <= 15 && isName(s) }

func isInt(s string) bool {
	if len(s) > 1 && s[0] == '0' {
		return false
	}
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

func isDuration(s string) bool {
	number := strings.TrimRight(s, "smhdw")
	return s == "infinite" || len(s)-len(number) <= 1 && number != "" && isAll(number, isDigit) && isInt(number)
}

func isIP(s string) bool {
	address, err := netip.ParseAddr(s)
	return err == nil && address.Zone() == ""
}

func isDomainByte(c byte) bool { return isNameByte(c) || c >= utf8.RuneSelf }

// isDomain accepts a name of RFC 1035, also with '_', letters of any language, and a '.'
// at its end.
func isDomain(s string) bool {
	if len(s) > 254 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
	}
	for _, c := range s {
		if c >= utf8.RuneSelf && !unicode.IsLetter(c) && !unicode.IsMark(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return true
}

// isServer accepts the value of dnsmasq's --server. It may begin with domains between
// slashes: an empty domain stands for names without dots, "#" for any name. After
// domains, "" stands for no server and "#" for the usual ones. "@INTERFACE" is refused:
// the interfaces of the namespace are Neutron's.
func isServer(s string) bool {
	if strings.HasPrefix(s, "/") {
		end := strings.LastIndexByte(s, '/')
		for domain := range strings.SplitSeq(s[1:max(1, end)], "/") {
			if domain != "" && domain != "#" && !isDomain(strings.TrimPrefix(strings.TrimPrefix(domain, "*"), ".")) {
				return false
			}
		}
		s = s[end+1:]
		if end == 0 || s == "" || s == "#" {
			return end > 0
		}
	}
	return isIP(withoutPort(s))
}

// withoutPort removes "#PORT", and returns "" if PORT is not a port.
func withoutPort(s string) string {
	address, port, ok := strings.Cut(s, "#")
	if ok {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return ""
		}
	}
	return address
}

func isCIDR(s string) bool {
	_, err := netip.ParsePrefix(s)
	return err == nil
}

func isMAC(s string) bool { return hasShape(s, "xx:xx:xx:xx:xx:xx") }

func isUUID(s string) bool { return hasShape(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") }

// hasShape reports whether s is shape with each x replaced by a hexadecimal digit.
func hasShape(s, shape string) bool {
	if len(s) != len(shape) {
		return false
	}
	for i := range len(s) {
		if shape[i] == 'x' && !isHex(s[i]) || shape[i] != 'x' && s[i] != shape[i] {
			return false
		}
	}
	return true
}

func isAll(s string, accepts class) bool { return span(s, accepts) == len(s) }
