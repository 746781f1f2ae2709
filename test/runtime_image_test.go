//go:build testhost

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
)

// changingImage is a name that a test gives to one image and then to another.
const changingImage = "localhost/changing:1"

// newImage makes an image like the tests' own with one more file, /MARK, under a name, and
// returns its ID. It is removed when the test ends.
func newImage(t *testing.T, name, mark string) string {
	t.Helper()
	run(t, "podman", "create", "--name=maker", "--network=none", image, "/bin/true")
	defer run(t, "podman", "rm", "maker")
	file := t.TempDir() + "/" + mark
	write(t, file, mark)
	run(t, "podman", "cp", file, "maker:/"+mark)
	run(t, "podman", "commit", "-q", "maker", name)
	id := run(t, "podman", "image", "inspect", "--format={{.Id}}", name)
	t.Cleanup(func() { removeImage(t, id) })
	return id
}

// removeImage removes an image. podman fails while the service removes its container.
func removeImage(t *testing.T, name string) {
	t.Helper()
	eventually(t, 20*time.Second, name+" is removed", func() bool {
		_, err := output("podman", "rmi", "-f", "-i", name)
		return err == nil
	})
}

// withChangingImage has the profile probe use the image of the changing name.
func withChangingImage(t *testing.T) {
	t.Helper()
	withPolicy(t, "profiles.d", "probe", strings.Replace(profileFiles()["probe"], image, changingImage, 1))
}

// imageID is the field imageId of a sidecar's state.
func imageID(t *testing.T, s *interfaces.Sidecar) string {
	t.Helper()
	text, err := json.Marshal(s.Runtime)
	var r struct{ ImageID string }
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.ImageID == "" {
		t.Fatalf("no imageId in %s, %v", text, err)
	}
	return strings.TrimPrefix(r.ImageID, "sha256:")
}

// hasMark reports whether a sidecar runs the image with this file.
func hasMark(s *interfaces.Sidecar, mark string) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/root/%s", *s.Runtime.ProcessID, mark))
	return err == nil
}

func TestImageIDIsThatOfTheImage(t *testing.T) {
	needsEngine(t, runtimeEngine)
	forEachEngine(t, func(t *testing.T) {
		begin(t)
		namespace(t, "t-image")
		want := run(t, "podman", "image", "inspect", "--format={{.Id}}", image)
		if got := imageID(t, start(t, tester, probe(t, "t-image"))); got != want {
			t.Errorf("image %s, want %s", got, want)
		}
	})
}

// TestRuntimeImageIsTheOldOneUntilTheReload gives the image's name to another image.
func TestRuntimeImageIsTheOldOneUntilTheReload(t *testing.T) {
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	namespace(t, "t-image")
	old := newImage(t, changingImage, "OLD")
	withChangingImage(t)
	first := start(t, tester, probe(t, "t-image"))
	changed := newImage(t, changingImage, "NEW")
	second := start(t, tester, probe(t, "t-image"))
	if first.Runtime.ImageOutdated {
		t.Error("outdated before there was another image")
	}
	for when, reload := range []func(testing.TB){func(testing.TB) {}, reload} {
		reload(t)
		for _, id := range []string{first.ID, second.ID} {
			s := get(t, tester, id)
			if got := imageID(t, s); got != old || !hasMark(s, "OLD") || !s.Runtime.ImageOutdated {
				t.Errorf("%d reloads: it runs %s, outdated %v; want %s and outdated", when, got, s.Runtime.ImageOutdated, old)
			}
		}
	}
	third := start(t, tester, probe(t, "t-image"))
	if got := imageID(t, third); got != changed || !hasMark(third, "NEW") || third.Runtime.ImageOutdated {
		t.Errorf("after the reload it runs %s, outdated %v; want %s", got, third.Runtime.ImageOutdated, changed)
	}
}

// TestRuntimeReloadsDuring50Launches reloads all the time, with the name moving between two
// images: each launch works, with one of them.
func TestRuntimeReloadsDuring50Launches(t *testing.T) {
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	ids := []string{newImage(t, changingImage, "ONE"), newImage(t, changingImage, "TWO")}
	withPolicy(t, "profiles.d", "dnsmasq", imageLine.ReplaceAllString(shippedFiles(t)["dnsmasq"], `image = "`+changingImage+`"`))
	all := networks(t, 50)
	stopAllAtEnd(t, neutron)
	answers := burst(t, all, 50)
	for i := range 5 {
		run(t, "podman", "tag", ids[i%2], changingImage)
		reload(t)
	}
	got := collect(t, answers, len(all))
	for _, a := range got {
		if !slices.Contains(ids, imageID(t, a.sidecar)) {
			t.Errorf("%s runs image %s, want one of %v", a.sidecar.ID, imageID(t, a.sidecar), ids)
		}
	}
	checkOnce(t, got)
}

// TestRuntimePreparationThatIsKilled kills preparations at some moment, and fills the disk:
// a launch gets the old image or the new one, and the next reload puts it right.
func TestRuntimePreparationThatIsKilled(t *testing.T) {
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	namespace(t, "t-image")
	ids := []string{newImage(t, changingImage, "ONE"), newImage(t, changingImage, "TWO")}
	withChangingImage(t)
	kills := 12
	if testing.Short() {
		kills = 4
	}
	took := timeOfPreparation(t)
	for killed, tries := 0, 0; killed < kills; tries++ {
		if tries == 5*kills {
			t.Fatalf("only %d of %d preparations were killed", killed, tries)
		}
		run(t, "podman", "tag", ids[tries%2], changingImage)
		done := reloading()
		after := took * time.Duration(killed) / time.Duration(kills)
		hit := killPreparation(after)
		t.Logf("killed %v after %v of %v; reload: %v", hit, after, took, <-done)
		checkEither(t, ids)
		if hit {
			killed++
			took = took * 5 / 4 // one may take many times as long as another
		} else {
			took = took * 3 / 4
		}
	}
	t.Run("full disk", func(t *testing.T) {
		run(t, "podman", "tag", ids[0], changingImage)
		fillUp(t, "/run")
		_, err := output("systemctl", "reload", "sidecard")
		t.Logf("reload with /run full: %v", err)
	})
	checkEither(t, ids)
	reload(t)
	if s := checkEither(t, ids); imageID(t, s) != ids[0] {
		t.Errorf("after a reload it runs %s, want %s", imageID(t, s), ids[0])
	}
}

// reloading reloads the daemon, and tells the result.
func reloading() <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := output("systemctl", "reload", "sidecard")
		done <- err
	}()
	return done
}

// preparing waits for a preparation, at most for limit, and returns its unit, or "".
func preparing(limit time.Duration) string {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		text, _ := output("systemctl", "list-units", "--plain", "--no-legend", "--state=activating,active", "sidecar-prepare-*.service")
		if fields := strings.Fields(text); len(fields) > 0 {
			return fields[0]
		}
	}
	return ""
}

// timeOfPreparation is how long a preparation takes after it was first seen.
func timeOfPreparation(t *testing.T) time.Duration {
	t.Helper()
	done := reloading()
	unit := preparing(slowness * 3 * time.Second)
	seen := time.Now()
	eventually(t, 20*time.Second, "the preparation "+unit+" is over", func() bool {
		state, _ := output("systemctl", "show", "-P", "ActiveState", unit)
		return state != "activating" && state != "active"
	})
	took := time.Since(seen)
	if err := <-done; err != nil || unit == "" {
		t.Fatalf("reload: %v; preparation %q", err, unit)
	}
	return took
}

// killPreparation kills the process of a preparation, some time after it was first seen, and
// tells whether it was there.
func killPreparation(after time.Duration) bool {
	unit := preparing(3 * time.Second)
	time.Sleep(after)
	number, _ := output("systemctl", "show", "-P", "MainPID", unit)
	pid, _ := strconv.Atoi(number)
	return pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil
}

// checkEither launches, holds the sidecar to run one of the images, and stops it.
func checkEither(t *testing.T, images []string) *interfaces.Sidecar {
	t.Helper()
	p := probe(t, "t-image")
	s, err := as(t, tester).Launch(minute(t), p)
	if err != nil {
		t.Fatalf("launch: %v", err)
	}
	stopAtEnd(t, tester, s.ID)
	checkRunning(t, s, p)
	if !slices.Contains(images, imageID(t, s)) {
		t.Errorf("it runs %s, want one of %v", imageID(t, s), images)
	}
	if _, err := as(t, tester).Stop(minute(t), interfaces.StopParameters{ID: s.ID}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRuntimeUnusedImagesAreUnmounted: after a reload, once nothing uses them.
func TestRuntimeUnusedImagesAreUnmounted(t *testing.T) {
	needsEngine(t, runtimeEngine)
	begin(t)
	withEngine(t, runtimeEngine)
	namespace(t, "t-image")
	id := newImage(t, changingImage, "OLD")
	withChangingImage(t)
	s := start(t, tester, probe(t, "t-image"))
	if !isMounted(t, id) {
		t.Error("the image is not mounted while a sidecar runs it")
	}
	withPolicy(t, "profiles.d", "probe", profileFiles()["probe"])
	time.Sleep(3 * time.Second) // preparations go on after a reload
	if !isMounted(t, id) || !hasMark(s, "OLD") {
		t.Error("the image was unmounted below a sidecar")
	}
	if err := syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	gone(t, tester, s.ID)
	reload(t)
	eventually(t, 5*time.Second, "the image is not mounted any more", func() bool { return !isMounted(t, id) })
}

// isMounted reports whether podman has mounted an image.
func isMounted(t *testing.T, id string) bool {
	t.Helper()
	var mounted []struct{ ID, Mountpoint string }
	if err := json.Unmarshal([]byte(run(t, "podman", "image", "mount", "--format=json")), &mounted); err != nil {
		t.Fatal(err)
	}
	mounts := readFile(t, "/proc/self/mountinfo")
	for _, m := range mounted {
		if strings.TrimPrefix(m.ID, "sha256:") == id {
			return strings.Contains(mounts, " "+m.Mountpoint+" ")
		}
	}
	return false
}
