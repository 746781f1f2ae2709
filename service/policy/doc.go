// Package policy says what an agent may start: it reads the host's profiles and
// agents, and decides on requests. It is pure: it opens nothing but its own
// files, and looks at paths and names only as text.
//
// A profile is a kind of side process (dnsmasq); an agent is a containerised
// service with a socket of its own (neutron-dhcp). Both are TOML files that root
// owns. An argument is refused unless a rule of the profile accepts it; a rule
// is a literal with typed holes:
//
//	"--no-hosts"              exactly this argument
//	""                        the empty argument
//	"--pid-file={path:rw}"    a literal and a hole
//	"-f {path:ro}"            two arguments, the second one the value
//
// The holes:
//
//	{path:ro} {path:rw}  an absolute, clean path inside one of the agent's state
//	                     directories, and of its subdirectories if they are
//	                     named; the directory that it lies in is mounted so
//	{path:pid}           the same for a pid file that the process writes: it gets
//	                     an empty directory of its own in place of that one, and
//	                     sidecar-launch puts the host's number where the agent
//	                     looks for it
//	{dir:rw}             a directory, which is itself mounted
//	{name}               letters, digits, '.', '_', '-'; not first '.' or '-'
//	{int}                a decimal number that is not negative
//	{duration}           a number with s, m, h, d or w behind it, or "infinite"
//	{ip} {cidr} {mac}    an address, an address with its prefix length
//	{uuid} {interface}
//	{domain} {server}    a DNS domain, also beyond ASCII; a value of dnsmasq's --server
//	{ip,...}             one or more values of a hole with ',' between them; not of
//	                     paths and text
//	{text}               anything printable; only at the end of a rule
//
// A hole takes as much as its type allows, and what follows it in a rule cannot
// be part of its type: so there is one way to read an argument, and no
// backtracking. The programs' own ways to write an option differently
// (abbreviated, bundled, value attached) are not rules and never pass.
//
// What is out of scope: whether a path exists or is a symlink (sidecar-launch
// pins it), whether a namespace exists (service/netns), and what the files that
// an agent writes say (the container is the boundary).
package policy
