package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tripleo.io/sidecar/spool"
)

// drain answers the requests of a spool until the test ends, and passes them on.
func drain(t *testing.T, answer string) (directory string, calls <-chan spool.Call) {
	t.Helper()
	directory = t.TempDir()
	for _, name := range []string{spool.Temporary, spool.New, spool.Results} {
		if err := os.MkdirAll(filepath.Join(directory, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	taken := make(chan spool.Call, 10)
	go func() {
		for t.Context().Err() == nil {
			time.Sleep(5 * time.Millisecond)
			requests, _ := filepath.Glob(filepath.Join(directory, spool.New, "*.json"))
			for _, path := range requests {
				text, _ := os.ReadFile(path)
				_ = os.Remove(path)
				var call spool.Call
				_ = json.Unmarshal(text, &call)
				taken <- call
				result := filepath.Join(directory, spool.Results, filepath.Base(path))
				_ = os.WriteFile(result+".new", []byte(answer), 0o600)
				_ = os.Rename(result+".new", result)
			}
		}
	}()
	return directory, taken
}

func TestShimSpoolIsUsedWhereThereIsNoSocket(t *testing.T) {
	t.Parallel()
	directory, calls := drain(t, `{"parameters": {"sidecar": `+sidecarIs(testID, "ready", "i1")+`}}`)
	f := &fakeService{path: filepath.Join(directory, "no-socket")}
	cmd := f.command(t, "haproxy", "-f", "/c")
	cmd.Env = append(cmd.Env, "SIDECAR_SPOOL="+directory, "PROCESS_TAG=haproxy-1")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v, %q", err, out)
	}
	call := <-calls
	var p struct {
		Profile          string
		Arguments        []string
		ProcessTag       string
		NetworkNamespace *string
	}
	if err := json.Unmarshal(call.Parameters, &p); err != nil || call.Method != spool.MethodLaunch {
		t.Fatalf("%v, %s", err, call.Method)
	}
	if p.Profile != "haproxy" || strings.Join(p.Arguments, " ") != "-f /c" || p.ProcessTag != "haproxy-1" {
		t.Errorf("it asks for %+v", p)
	}
}

func TestShimSpoolCarriesTheServicesErrors(t *testing.T) {
	t.Parallel()
	directory, _ := drain(t, `{"error": "io.tripleo.Sidecar.LaunchFailed", "parameters": {"exitCode": 3, "output": ["no"]}}`)
	f := &fakeService{path: filepath.Join(directory, "no-socket")}
	cmd := f.command(t, "haproxy", "-f", "/c")
	cmd.Env = append(cmd.Env, "SIDECAR_SPOOL="+directory)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 3 || string(out) != "no\n" {
		t.Errorf("exit code %d, %q", code, out)
	}
}

// A socket that does not work is an error, and no reason to look elsewhere.
func TestShimSpoolIsNotUsedWhereThereIsASocket(t *testing.T) {
	t.Parallel()
	directory, calls := drain(t, "{}")
	f := &fakeService{path: filepath.Join(directory, "socket")}
	if err := os.WriteFile(f.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := f.command(t, "haproxy", "-f", "/c")
	cmd.Env = append(cmd.Env, "SIDECAR_SPOOL="+directory)
	out, _ := cmd.CombinedOutput()
	if !strings.Contains(string(out), "nobody listens there") || len(calls) > 0 {
		t.Errorf("%q, %d requests", out, len(calls))
	}
}

func TestShimNamespaceIsFoundByWhatItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	own := filepath.Join(t.TempDir(), "own")
	for _, path := range []string{own, filepath.Join(dir, "other")} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(own, filepath.Join(dir, "a-link")); err != nil {
		t.Fatal(err)
	}
	if got, err := namespaceName(dir, own, own); got != nil || err != nil {
		t.Errorf("the first process's own: %v, %v", got, err)
	}
	if got, err := namespaceName(dir, own, own+"x"); got != nil || err != nil {
		t.Errorf("the first process's is not known: %v, %v", got, err)
	}
	if _, err := namespaceName(dir, own, filepath.Join(dir, "other")); err == nil || !strings.Contains(err.Error(), "rshared") {
		t.Errorf("another without a name: %v", err)
	}
	if err := os.Link(own, filepath.Join(dir, "qdhcp-1")); err != nil {
		t.Skip("the two temporary directories are on different file systems:", err)
	}
	if got, err := namespaceName(dir, own, dir+"/other"); err != nil || got == nil || *got != "qdhcp-1" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := namespaceName(dir+"/none", own, own); got != nil || err != nil {
		t.Errorf("without the directory: %v, %v", got, err)
	}
	if _, err := namespaceName(dir, own+"x", own); err == nil {
		t.Error("nobody's namespace has a name")
	}
}
