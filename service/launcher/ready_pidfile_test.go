package launcher

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/service/document"
)

func TestLaunchParsesOneNumber(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text  string
		want  int
		wrong string // part of the error; "..." when it is only not there yet
	}{
		"line":             {"42\n", 42, ""},
		"bare":             {"42", 42, ""},
		"blanks":           {"  42 \n\n", 42, ""},
		"largest":          {"2147483647\n", 2147483647, ""},
		"empty":            {"", 0, "..."},
		"blank":            {"\n", 0, "..."},
		"two":              {"1 2\n", 0, "more than one"},
		"two lines":        {"1\n2\n", 0, "more than one"},
		"zero":             {"0\n", 0, "not a process id"},
		"negative":         {"-1\n", 0, "not a process id"},
		"plus":             {"+1\n", 0, "not a process id"},
		"too large":        {"2147483648\n", 0, "not a process id"},
		"hexadecimal":      {"0x10\n", 0, "not a process id"},
		"text":             {"one\n", 0, "not a process id"},
		"NUL":              {"1\x00\n", 0, "not a process id"},
		"other digits":     {"１\n", 0, "not a process id"},
		"long":             {strings.Repeat(" ", 64) + "1", 0, "longer than"},
		"long with number": {"1" + strings.Repeat("\n", 64), 0, "longer than"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parsePID(test.text)
			var reason notReady
			if got != test.want || errors.As(err, &reason) != (test.wrong == "...") {
				t.Errorf("%d, %v, want %d", got, err, test.want)
			}
			if test.wrong != "..." && (err == nil) != (test.wrong == "") || err != nil && test.wrong != "..." && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("error %v, want one with %q", err, test.wrong)
			}
		})
	}
}

func FuzzLaunchPIDFile(f *testing.F) {
	for _, s := range []string{"1\n", "", "1 2", "-1", "99999999999999999999", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		number, err := parsePID(text)
		if err == nil && (number < 1 || len(strings.Fields(text)) != 1 || strings.Trim(strings.TrimSpace(text), "0123456789") != "") {
			t.Errorf("%q gave %d", text, number)
		}
	})
}

// TestLaunchTranslateRefusesWhatIsNoPIDFile puts what an agent could put in
// the place of a pid file. None may hang, be opened, or be written to.
func TestLaunchTranslateRefusesWhatIsNoPIDFile(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a device node")
	}
	tests := map[string]struct {
		create func(path string) error
		want   string // part of the error; "" when it may still become right
	}{
		"missing":   {func(string) error { return nil }, ""},
		"empty":     {func(path string) error { return os.WriteFile(path, nil, 0o644) }, ""},
		"foreign":   {func(path string) error { return os.WriteFile(path, []byte("4711\n"), 0o644) }, ""},
		"fifo":      {func(path string) error { return unix.Mkfifo(path, 0o644) }, "not a plain file"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o755) }, "not a plain file"},
		"device":    {func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) }, "not a plain file"},
		"link":      {func(path string) error { return os.Symlink("target", path) }, "symbolic link"},
		"dangling":  {func(path string) error { return os.Symlink("nothing", path) }, "symbolic link"},
		"huge": {func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("1"), 0o644), os.Truncate(path, 1<<40))
		}, "longer than"},
		"two numbers": {func(path string) error { return os.WriteFile(path, []byte("1 2"), 0o644) }, "more than one"},
		"negative":    {func(path string) error { return os.WriteFile(path, []byte("-1"), 0o644) }, "not a process id"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			must(t, os.WriteFile(root+"/target", []byte("1\n"), 0o644))
			must(t, test.create(root+"/pid"))
			started := time.Now()
			_, err := translate(document.File{Root: root, Path: "pid"}, unitOf(100, map[int]int{1: 200}), document.Private)
			var reason notReady
			if err == nil || errors.As(err, &reason) != (test.want == "") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if took := time.Since(started); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			if text, err := os.ReadFile(root + "/target"); string(text) != "1\n" {
				t.Errorf("the target of a link became %q, %v", text, err)
			}
		})
	}
}

func TestLaunchTranslateKeepsOwnerAndPermissions(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it changes an owner")
	}
	root := t.TempDir()
	must(t, os.WriteFile(root+"/pid", []byte("1\n"), 0o644))
	must(t, os.Chown(root+"/pid", 65534, 12))
	must(t, os.Chmod(root+"/pid", 0o640|os.ModeSetuid))
	process, err := translate(document.File{Root: root, Path: "pid"}, unitOf(100, map[int]int{1: 200}), document.Private)
	if err != nil || process.PID != 200 {
		t.Fatalf("process %+v, %v", process, err)
	}
	var st unix.Stat_t
	must(t, unix.Lstat(root+"/pid", &st))
	if st.Uid != 65534 || st.Gid != 12 || st.Mode != unix.S_IFREG|0o640 {
		t.Errorf("owner %d:%d, mode %#o", st.Uid, st.Gid, st.Mode)
	}
	if text, err := os.ReadFile(root + "/pid"); string(text) != "200\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if entries, err := os.ReadDir(root); len(entries) != 1 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

// TestLaunchTranslateWritesOnlyToTheOpenDirectory swaps the pid file, and then
// its directory, for a link after the file was read.
func TestLaunchTranslateWritesOnlyToTheOpenDirectory(t *testing.T) {
	t.Parallel()
	for name, swap := range map[string]func(root, victim string) error{
		"file": func(root, victim string) error {
			return errors.Join(os.Remove(root+"/d/pid"), os.Symlink(victim+"/pid", root+"/d/pid"))
		},
		"directory": func(root, victim string) error {
			return errors.Join(os.Rename(root+"/d", root+"/moved"), os.Symlink(victim, root+"/d"))
		},
		"file for a directory": func(root, _ string) error {
			return errors.Join(os.Remove(root+"/d/pid"), os.Mkdir(root+"/d/pid", 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, victim := t.TempDir(), t.TempDir()
			must(t, os.Mkdir(root+"/d", 0o755))
			must(t, os.WriteFile(root+"/d/pid", []byte("1\n"), 0o644))
			must(t, os.WriteFile(victim+"/pid", []byte("keep"), 0o600))
			table := ProcessTable(func() ([]Process, error) {
				must(t, swap(root, victim))
				return unitOf(100, map[int]int{1: 200})()
			})
			_, err := translate(document.File{Root: root, Path: "d/pid"}, table, document.Private)
			if failed := name == "file for a directory"; (err != nil) != failed {
				t.Errorf("error %v", err)
			}
			text, err := os.ReadFile(victim + "/pid")
			entries, err2 := os.ReadDir(victim)
			if string(text) != "keep" || len(entries) != 1 || err != nil || err2 != nil {
				t.Errorf("the victim holds %q, its directory %v (%v, %v)", text, entries, err, err2)
			}
			for _, dir := range []string{root + "/d", root + "/moved"} {
				if entries, err := os.ReadDir(dir); err == nil && len(entries) != 1 {
					t.Errorf("%s holds %v", dir, entries)
				}
			}
		})
	}
}
