//go:build testhost

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
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
	t.Cleanup(func() { run(t, "podman", "rmi", "-f", "-i", id) })
	return id
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
	for _, s := range []*interfaces.Sidecar{first, second} {
		s := get(t, tester, s.ID)
		if got := imageID(t, s); got != old || !hasMark(s, "OLD") || !s.Runtime.ImageOutdated {
			t.Errorf("before the reload it runs %s, outdated %v; want %s, outdated", got, s.Runtime.ImageOutdated, old)
		}
	}
	reload(t)
	for _, id := range []string{first.ID, second.ID} {
		if s := get(t, tester, id); !s.Runtime.ImageOutdated || imageID(t, s) != old {
			t.Errorf("after the reload: %+v, want it outdated", s.Runtime)
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
	killed := 0
	for i := range 12 {
		run(t, "podman", "tag", ids[i%2], changingImage)
		done := make(chan error, 1)
		go func() {
			_, err := output("systemctl", "reload", "sidecard")
			done <- err
		}()
		killed += killPreparation(time.Duration(i) * 60 * time.Millisecond)
		t.Logf("killed after %d ms; reload: %v", i*60, <-done)
		checkEither(t, ids)
	}
	if killed < 3 {
		t.Errorf("only %d preparations were killed", killed)
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

// killPreparation kills a preparation that runs, some time after it was first seen. It
// returns how many it has killed.
func killPreparation(after time.Duration) int {
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		text, _ := output("systemctl", "list-units", "--plain", "--no-legend", "--state=activating,active", "sidecar-prepare-*.service")
		if text == "" {
			continue
		}
		time.Sleep(after)
		_, err := output("systemctl", "kill", "--signal=KILL", strings.Fields(text)[0])
		if err != nil {
			return 0 // it is over
		}
		return 1
	}
	return 0
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
	newImage(t, changingImage, "OLD")
	const before = 1 // all profiles have the same image
	eventually(t, 20*time.Second, "only the image of all profiles is mounted", func() bool { return imageMounts(t) == before })
	withChangingImage(t)
	s := start(t, tester, probe(t, "t-image"))
	if got := imageMounts(t); got != before+1 {
		t.Errorf("%d images are mounted, there were %d", got, before)
	}
	withPolicy(t, "profiles.d", "probe", profileFiles()["probe"])
	if got := imageMounts(t); got != before+1 || !hasMark(s, "OLD") {
		t.Errorf("%d images are mounted while one is still used, want %d", got, before+1)
	}
	if err := syscall.Kill(int(*s.Runtime.ProcessID), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	gone(t, tester, s.ID)
	reload(t)
	eventually(t, 5*time.Second, "the image is not mounted any more", func() bool { return imageMounts(t) == before })
}

// imageMounts counts the images that podman has mounted.
func imageMounts(t *testing.T) int {
	t.Helper()
	count := 0
	for line := range strings.Lines(readFile(t, "/proc/self/mountinfo")) {
		target := strings.Fields(line)[4]
		if strings.HasPrefix(target, "/var/lib/containers/storage/overlay/") && strings.HasSuffix(target, "/merged") {
			count++
		}
	}
	return count
}
