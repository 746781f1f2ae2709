package launcher

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

func TestHealthText(t *testing.T) {
	t.Parallel()
	image := strings.Repeat("0a", 32)
	for _, want := range []Health{
		{interfaces.HealthHealthy, 1_764_500_000_000_000, ""},
		{interfaces.HealthUnhealthy, 1_764_500_000_000_000, "a; healthy since b: c"},
	} {
		text := FormatStatus(4711, image) + FormatHealth(want)
		if got := ParseHealth(text); got != want {
			t.Errorf("%q has the health %+v", text, got)
		}
		if pid, got, ok := ParseStatus(text); pid != 4711 || got != image || !ok {
			t.Errorf("%q: process %d, image %q, %t", text, pid, got, ok)
		}
	}
	for _, text := range []string{"", FormatStatus(4711, image), "Ready: process 1; healthy", "Ready: process 1; healthy since soon", "Ready: process 1; well since 2026-11-30T11:00:00Z"} {
		if got := ParseHealth(text); got != (Health{State: interfaces.HealthUnknown}) {
			t.Errorf("%q has the health %+v", text, got)
		}
	}
}

// TestHealthTally: so many failures in a row, and one success, are what counts.
func TestHealthTally(t *testing.T) {
	t.Parallel()
	record := tally{limit: 3}
	told := ""
	for i, result := range "ffsfffffssfff" {
		var err error
		if result == 'f' {
			err = errors.New("failure\nnumber " + strings.Repeat("\x1b[1m", i))
		}
		health, changed := record.judge(err, time.Unix(int64(i), 999))
		if !changed {
			told += "-"
			continue
		}
		record.health = health
		told += string(health.State[0])
		if health.SinceUSec != int64(i)*1_000_000 || strings.ContainsAny(health.Reason, "\n\x1b") || (health.Reason == "") != (err == nil) {
			t.Errorf("after %d probes: %+v", i, health)
		}
	}
	if want := "--h--u--h---u"; told != want {
		t.Errorf("told %s, want %s", told, want)
	}
	if got := oneLine(strings.Repeat("ä", 1000)); len([]rune(got)) != 200 {
		t.Errorf("a reason has %d letters", len(got))
	}
}

// TestHealthTell: the prober sends a change of health in one message, so that a
// reader of the status never finds a restart without its reason.
func TestHealthTell(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	must(t, err)
	defer l.Close()
	healthy, unhealthy := Health{interfaces.HealthHealthy, 0, ""}, Health{interfaces.HealthUnhealthy, 0, "why"}
	for _, test := range []struct {
		before, now Health
		restart     bool
		want, said  string
	}{
		{Health{}, healthy, true, "; healthy since 1970-01-01T00:00:00Z", ""},
		{healthy, unhealthy, false, "; unhealthy since 1970-01-01T00:00:00Z: why", "unhealthy: why"},
		{unhealthy, healthy, false, "; healthy since 1970-01-01T00:00:00Z", "healthy again"},
		{healthy, unhealthy, true, "; unhealthy since 1970-01-01T00:00:00Z: why\nWATCHDOG=trigger", "unhealthy, and therefore restarted: why"},
	} {
		said := ""
		p := Prober{Document: &document.Document{}, Payload: Payload{PID: 7}, Socket: address, Say: func(err error) { said += err.Error() }}
		p.Document.Health = &document.Health{Restart: test.restart}
		must(t, p.tell(test.before, test.now))
		message := make([]byte, 1000)
		n, _, err := l.ReadFrom(message)
		must(t, err)
		if got := string(message[:n]); got != "STATUS=Ready: process 7"+test.want || said != test.said {
			t.Errorf("told %q, said %q", got, said)
		}
	}
}

func TestHealthBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bound
		end := make(chan struct{})
		hang := func(context.Context) error { <-end; return nil }
		for range 2 { // the second one fails because of the first
			if err := b.call(t.Context(), time.Second, hang); err == nil || !strings.Contains(err.Error(), "a probe hangs for more than 1s") {
				t.Errorf("a probe that hangs: %v", err)
			}
		}
		close(end)
		synctest.Wait()
		for _, want := range []error{nil, errors.New("x")} {
			if err := b.call(t.Context(), time.Second, func(context.Context) error { return want }); err != want { //nolint:errorlint // the same one
				t.Errorf("%v, want %v", err, want)
			}
		}
		slow := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		if err := b.call(t.Context(), time.Second, slow); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a slow probe: %v", err)
		}
	})
}

// answering is a DNS server that answers each query with what the function makes of it.
func answering(t *testing.T, answer func(query []byte) [][]byte) string {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			query := make([]byte, 512)
			n, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			for _, a := range answer(query[:n]) {
				_, _ = server.WriteTo(a, from)
			}
		}
	}()
	return server.LocalAddr().String()
}

func TestHealthDNS(t *testing.T) {
	t.Parallel()
	refusal := func(query []byte) []byte {
		a := append([]byte{}, query...)
		a[2], a[3] = 0x81, 0x05
		return a
	}
	for name, test := range map[string]struct {
		answer func(query []byte) [][]byte
		want   string
	}{
		"a refusal":      {func(q []byte) [][]byte { return [][]byte{refusal(q)} }, ""},
		"garbage before": {func(q []byte) [][]byte { return [][]byte{nil, {1}, q, make([]byte, 2000), refusal(q)} }, ""},
		"silence":        {func([]byte) [][]byte { return nil }, "no answer to a DNS query"},
		"the query":      {func(q []byte) [][]byte { return [][]byte{q} }, "no answer to a DNS query"},
		"another's": {func(q []byte) [][]byte {
			a := refusal(q)
			binary.BigEndian.PutUint16(a, binary.BigEndian.Uint16(q)+1)
			return [][]byte{a}
		}, "no answer to a DNS query"},
		"garbage without limit": {func(q []byte) [][]byte { return make([][]byte, 10*maxAnswers) }, "64 datagrams do not answer a DNS query"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			expect(t, probeDNS(ctx, answering(t, test.answer)), test.want)
		})
	}
	expect(t, probeDNS(t.Context(), "127.0.0.1:1"), "connection refused")
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestHealthTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	expect(t, probeTCP(t.Context(), l.Addr().String()), "")
	l.Close()
	expect(t, probeTCP(t.Context(), l.Addr().String()), "connection refused")
}

// TestHealthUnix: a path is the payload's, whose root is this process's here.
func TestHealthUnix(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("unix", dir+"/s")
	must(t, err)
	defer l.Close()
	must(t, errors.Join(os.Symlink(dir+"/s", dir+"/link"), os.WriteFile(dir+"/file", nil, 0o600), os.Symlink("/proc/self/fd/0", dir+"/magic")))
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, err)
	payload := &mainProcess{os.NewFile(uintptr(fd), "pidfd")}
	defer payload.Close()
	p := Prober{Payload: Payload{PID: os.Getpid()}}
	for name, want := range map[string]string{
		"s": "", "link": "", "file": "file: connect: connection refused", "nothing": "nothing: does not exist", "magic": "symbolic link",
	} {
		expect(t, p.probeUnix(t.Context(), payload, dir+"/"+name), want)
	}
}
