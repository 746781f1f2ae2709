//go:build testhost

package test

import (
	"cmp"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// operations is docs/operations.md as it is installed.
const operations = "/usr/share/doc/sidecar/operations.md"

// scene is the case that a section of operations.md is about.
type scene struct {
	sidecar *interfaces.Sidecar
	agent   string
	says    map[string]string // part of the output, by the command's first words
	over    func(t *testing.T)
}

// scenes are by the titles of the sections.
var scenes = map[string]func(t *testing.T) scene{
	"Something does not start": func(t *testing.T) scene {
		p := shaped(t, "ghost", "t-day")
		id := idOf(tester, p).String()
		stopAtEnd(t, tester, id)
		refused(t, tester, p, interfaces.ErrLaunchFailed)
		return scene{get(t, tester, id), tester, map[string]string{
			"sidecarctl list": "failed", "sidecarctl logs": "no-such-image", "sidecarctl doctor": "no-such-image",
			"sidecarctl images": "missing", "journalctl": "Launch allowed: " + id,
		}, func(t *testing.T) { gone(t, tester, id) }}
	},
	"The host has rebooted": func(t *testing.T) scene {
		s := start(t, tester, probe(t, "t-day"))
		killDaemon(t)
		awaitDaemon(t)
		return scene{s, tester, map[string]string{"sidecarctl list": s.ID, "systemctl": "active (running)"}, nil}
	},
	"A new image has arrived": func(t *testing.T) scene {
		newImage(t, changingImage, "OLD")
		withChangingImage(t)
		s := start(t, tester, probe(t, "t-day"))
		next := newImage(t, changingImage, "NEW")
		stopAllAtEnd(t, tester) // before the image is removed
		return scene{s, tester, map[string]string{
			"sidecarctl images": next[:12], "sidecarctl recycle --outdated --dry-run": s.ID, "sidecarctl recycle --outdated --pause": "replaced: 1",
		}, func(t *testing.T) {
			if now := get(t, tester, s.ID); imageID(t, now) != next {
				t.Errorf("it runs %s, want %s", imageID(t, now), next)
			}
		}}
	},
	"Something uses more and more": func(t *testing.T) scene {
		s := start(t, tester, probe(t, "t-day"))
		return scene{s, tester, map[string]string{"sidecarctl top": "ready", "sidecarctl recycle": "replaced: 1"}, func(t *testing.T) {
			if now := get(t, tester, s.ID); *now.Runtime.InvocationID == *s.Runtime.InvocationID {
				t.Error("it was not started afresh")
			}
		}}
	},
	"A network is gone, and its process is still there": func(t *testing.T) scene {
		s := start(t, tester, probe(t, "t-day"))
		run(t, "ip", "netns", "delete", "t-day")
		return scene{s, tester, map[string]string{"sidecarctl list": s.ID}, func(t *testing.T) { gone(t, tester, s.ID) }}
	},
}

var (
	section = regexp.MustCompile(`(?m)^## (.*)$`)
	block   = regexp.MustCompile("(?s)```sh\n(.*?)```")
)

// TestLifecycleOperations runs the commands of operations.md in the cases that they are for.
func TestLifecycleOperations(t *testing.T) {
	text := readFile(t, operations)
	places := section.FindAllStringSubmatchIndex(text, -1)
	if len(places) != len(scenes) {
		t.Errorf("%d sections, %d scenes", len(places), len(scenes))
	}
	for i, place := range places {
		title, end := text[place[2]:place[3]], len(text)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		commands := block.FindAllStringSubmatch(text[place[1]:end], -1)
		t.Run(title, func(t *testing.T) {
			begin(t)
			namespace(t, "t-day")
			prepare, ok := scenes[title]
			if !ok || len(commands) == 0 {
				t.Fatalf("no scene, or no commands: %v", commands)
			}
			s := prepare(t)
			for _, lines := range commands {
				for command := range strings.Lines(lines[1]) {
					s.types(t, strings.TrimSpace(command))
				}
			}
			if s.over != nil {
				s.over(t)
			}
		})
	}
}

// types runs a command as the operator does. doctor exits with 7 or 8 if it finds something.
func (s scene) types(t *testing.T, command string) {
	t.Helper()
	cmd := exec.CommandContext(minute(t), "sh", "-c", command)
	cmd.Env = append(os.Environ(), "AGENT="+s.agent, "ID="+s.sidecar.ID, "PROFILE="+s.sidecar.Context.Profile,
		"NETNS="+cmp.Or(*s.sidecar.Context.NetworkNamespace, "-"))
	out, _ := cmd.CombinedOutput()
	wanted := []int{0}
	if strings.HasPrefix(command, "sidecarctl doctor") {
		wanted = []int{0, 7, 8}
	}
	if code := cmd.ProcessState.ExitCode(); !slices.Contains(wanted, code) {
		t.Errorf("%s: exit code %d:\n%s", command, code, out)
	}
	for begins, said := range s.says {
		if strings.HasPrefix(command, begins) && !strings.Contains(string(out), said) {
			t.Errorf("%s: no %q in\n%s", command, said, out)
		}
	}
}
