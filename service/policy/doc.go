// Package policy says what an agent may start: it reads the host's profiles and
// agents, and decides on requests. It opens only its own files, and treats paths and
// names as text.
//
// A profile is a kind of side process (dnsmasq). An agent is a containerised service
// with its own socket (neutron-dhcp). Both are TOML files that root owns. An argument
// is refused unless a rule of the profile accepts it. A rule is a literal with typed
// holes:
//
//	"--no-hosts"              exactly this argument
//	""                        the empty argument
//	"--pid-file={path:rw}"    a literal and a hole
//	"-f {path:ro}"            two arguments, the second one is the value
//
// The holes:
//
//	{path:ro} {path:rw}  an absolute, clean path in one of the agent's state directories
//	                     or its subdirectories; the file's directory is mounted
//	{path:pid}           the same for a pid file that the process writes: the process
//	                     sees an empty directory in place of the file's directory, and
//	                     sidecar-launch writes the host's number for the agent
//	{dir:rw}             a directory, which is itself mounted
//	{name}               letters, digits, '.', '_', '-'; not first '.' or '-'
//	{int}                a decimal number that is not negative
//	{duration}           a number, which s, m, h, d or w may follow, or "infinite"
//	{ip} {cidr} {mac}    an address, an address with its prefix length, a hardware address
//	{uuid} {interface}
//	{domain} {server}    a DNS domain, also beyond ASCII; a value of dnsmasq's --server
//	{ip,...}             one or more values of a hole with ',' between them; not for
//	                     paths and text
//	{text}               anything printable; only at the end of a rule
//
// A hole takes as many bytes as its type allows, and the character after it in a rule
// cannot be part of its type. So an argument can be read in only one way, without
// backtracking. Other spellings that programs accept (abbreviated, bundled, value
// attached) never pass.
//
// Out of scope: whether a path exists or is a symlink (sidecar-launch pins it), whether
// a namespace exists (service/netns), and the content of the agent's files (the
// container is the boundary).
package policy
