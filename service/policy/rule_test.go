package policy

import (
	"io/fs"
	"strings"
	"testing"
)

func TestPolicyRulesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ rule, want string }{
		{"{text}", "would accept any option"},
		{"{text} x", "must begin with a literal option"},
		{"-f {path}", "write {path:ro} or {path:rw}"},
		{"-f {Path:ro}", "unknown hole {Path:ro} (did you mean {path:ro}?)"},
		{"-f {nonsense}", "the holes are {path:ro} {path:rw} {path:pid} {dir:rw} {name} {int}"},
		{"-f {}", "unknown hole {}"},
		{"-f {int", "'{' without '}'"},
		{"-f int}", "'}' without '{'"},
		{"--x={int}{name}", "{name} directly after {int}"},
		{"--x={text},{int}", "{text} takes everything"},
		{"--x={name}-{int}", `"-" after {name} could be part of it`},
		{"--x={int}0", `"0" after {int} could be part of it`},
		{"--x={path:ro}/y", `"/" after {path:ro} could be part of it`},
		{"--x={path:ro}:{int}", `":" after {path:ro} could be part of it`},
		{"-f a b", "one argument, or an option, one space, and its value"},
		{"-f  a", "one argument, or an option, one space, and its value"},
		{"-f ", "one argument, or an option, one space, and its value"},
		{" -f", "one argument, or an option, one space, and its value"},
		{"x {int}", "must begin with a literal option"},
		{"-{int} x", "must begin with a literal option"},
		{"{int} x", "must begin with a literal option"},
		{"--", "would end the options"},
		{"-- x", "would end the options"},
		{"--{name}", "an option that is not written out"},
		{"-{name}", "an option that is not written out"},
		{"--a\n", `character '\n'`},
		{"--ä", "printable ASCII"},
	} {
		if _, err := parseRule(test.rule); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want %s", test.rule, err, test.want)
		}
	}
}

func TestPolicyRulesThatAreAmbiguous(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want string // a part of the reason; "": they may both be there
	}{
		{"-d", "-d", "it is listed twice"},
		{"-d", "-d {int}", "-d cannot be both alone and with a value"},
		{"-d {int}", "-d", "-d cannot be both alone and with a value"},
		{"-d{name}", "-dx {int}", "-dx cannot be both alone and with a value"},
		{"-d", "-D {int}", ""},
		{"", "-f {path:ro}", ""},
		{"--x={path:ro}", "--x={path:rw}", "would be treated differently"},
		{"--x={path:ro}", "--x={text}", "would be treated differently"},
		{"-f {text}", "-f {path:ro}", "would be treated differently"},
		{"--x={name}", "--x={path:ro}", ""}, // no name begins with '/'
		{"--x={cidr}", "--x={path:ro}", "would be treated differently"},
		{"--x={path:ro}", "--x=/dev/null", ""}, // the literal goes first
		{"--x={path:ro}", "--x={int},{path:ro}", ""},
		{"--x={int},{path:ro}", "--x={int},{text}", "would be treated differently"},
		{"--x={path:ro}", "--xy={path:ro}", ""},
		{"-f {path:ro}", "-p {path:ro}", ""},
		{"{path:ro}", "--x={text}", ""},
		{"{path:ro}", "{path:rw}", "would be treated differently"},
		{"--x={int}", "--x={duration}", ""}, // no matter which of them
	} {
		for _, pair := range [][2]string{{test.a, test.b}, {test.b, test.a}} {
			got := ambiguous(mustParse(t, pair[0]), mustParse(t, pair[1]))
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("%q: got %q, want %q", pair, got, test.want)
			}
		}
	}
}

func mustParse(t *testing.T, text string) *rule {
	t.Helper()
	r, err := parseRule(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r
}

func TestPolicyHolesTakeOnlyTheirType(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		hole string
		good string // separated by spaces
		bad  string
	}{
		{"{path:ro}", "/a /a/b.c /var/lib/x:y/_@+-", "a ./a ~/a - /a*b /ä /a%b /a\\b"},
		{"{name}", "a 0 _a a.b a-b openstack.local. A", "-a .a a/b a:b a=b ä * " + strings.Repeat("a", 256)},
		{"{int}", "0 7 9223372036854775807", "-1 +1 01 1.0 0x1 1e3 9223372036854775808 1_0 ٣"},
		{"{duration}", "0 86400 86400s 5m 1h 2d 1w infinite", "s -1s 1y 1ms 1.5h 5S infin 007s 1sm infinitely"},
		{"{ip}", "192.0.2.1 ::1 fdca:3ba5:a17a:4ba3:: ::ffff:192.0.2.1", "192.0.2 192.0.2.256 fe80::1%eth0 192.0.2.0/24 01.2.3.4 [::1] a"},
		{"{cidr}", "192.0.2.0/24 169.254.0.24/24 ::/0 fd00::/64", "192.0.2.1 192.0.2.0/33 ::/129 /24 192.0.2.0/-1"},
		{"{mac}", "fa:16:3e:00:00:01 FA:16:3E:aa:BB:cc", "fa:16:3e:00:00 fa-16-3e-00-00-01 fa:16:3e:00:00:0g fa:16:3e:00:00:01:02 fa16.3e00.0001"},
		{"{uuid}", "01234567-89ab-cdef-0123-456789abcdef", "0123456789abcdef0123456789abcdef 01234567-89ab-cdef-0123-456789abcdeg {01234567-89ab-cdef-0123-456789abcdef}"},
		{"{interface}", "tap0 tap4ccef953-e0 ha-550dc175-c0 eth0.100", ". .. -a a/b a:b a* tap4ccef953-e012"},
		{"{text}", "a -- /etc/shadow = * ä \u00a9", ""},
	} {
		r := mustParse(t, "--x="+test.hole)
		for _, value := range strings.Fields(test.good) {
			if _, refusal := r.match([]string{"--x=" + value}, 0); refusal != nil {
				t.Errorf("%s refuses %q: %s", test.hole, value, refusal.reason)
			}
		}
		for _, value := range append(strings.Fields(test.bad), "") {
			if _, refusal := r.match([]string{"--x=" + value}, 0); refusal == nil {
				t.Errorf("%s accepts %q", test.hole, value)
			}
		}
	}
}

func TestPolicyTextAfterAnOptionIsNoOption(t *testing.T) {
	t.Parallel()
	r := mustParse(t, "-x {text}")
	for value, want := range map[string]bool{"a": true, "a-b": true, " -a": true, "-a": false, "--": false, "-": false} {
		if _, refusal := r.match([]string{"-x", value}, 0); (refusal == nil) != want {
			t.Errorf("%q: refusal %+v", value, refusal)
		}
	}
}

func TestPolicyPatternMatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"ab", "a", false},
		{"*", "anything", true},
		{"a*", "a", true},
		{"*a", "bca", true},
		{"*a", "bcab", false},
		{"a*b*c", "a1b2b3c", true},
		{"a*b*c", "a1c2b", false},
		{"a**b", "ab", true},
		{"a.b", "axb", false},
		{strings.Repeat("a*", 60) + "b", strings.Repeat("a", 128), false},
	} {
		if got := match(test.pattern, test.name); got != test.want {
			t.Errorf("%q, %q: got %t", test.pattern, test.name, got)
		}
	}
}

func TestPolicyOwners(t *testing.T) {
	t.Parallel()
	const self = 1000
	for _, test := range []struct {
		uid  uint32
		mode uint32
		want string
	}{
		{0, 0o644, ""},
		{0, 0o600, ""},
		{self, 0o644, ""},
		{1001, 0o644, "belongs to user 1001; it must belong to root"},
		{0, 0o664, "may be written by others"},
		{0, 0o646, "may be written by others"},
		{self, 0o666, "may be written by others"},
	} {
		got := ""
		if err := trusted(test.uid, fs.FileMode(test.mode), self); err != nil {
			got = err.Error()
		}
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("user %d, mode %o: got %q, want %q", test.uid, test.mode, got, test.want)
		}
	}
}

func TestPolicySizes(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]uint64{"0": 0, "1": 1, "4K": 4096, "64M": 64 << 20, "2G": 2 << 30, "16777215T": 16777215 << 40} {
		if got, ok := parseSize(s); got != want || !ok {
			t.Errorf("%q: got %d, %t", s, got, ok)
		}
	}
	for _, s := range []string{"", "M", "-1", "1.5G", "64MB", "64m", "64 M", "KM", "1KM", "16777216T", "18446744073709551616"} {
		if got, ok := parseSize(s); ok {
			t.Errorf("%q: got %d", s, got)
		}
	}
}
