package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
)

// Messages in the journal.
const (
	lostDecisions = "MESSAGE_ID=dc41e4dbf0974922b32ce48281f51129" // of sidecard (service/journal)
	dropped       = "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e" // of journald, SD_MESSAGE_JOURNAL_DROPPED of sd-messages.h
)

var suppressed = regexp.MustCompile(`^Suppressed \d+ messages from (sidecar\S*\.service)`)

// recently is how far back dropped entries are told, in journalctl's words.
const recently = "--since=-1h"

func (h *Host) lookAtJournal(ctx context.Context) []Finding {
	const unit = "systemd-journald.service"
	if _, err := h.Run(ctx, "journalctl", "--sync"); err != nil {
		return []Finding{{
			Level: Error, Subject: unit, Problem: "it does not read its messages: " + err.Error(),
			Advice: "'systemctl restart systemd-journald'; decisions of sidecard wait meanwhile, 4096 at most",
		}}
	}
	var found []Finding
	if lost, err := h.messages(ctx, lostDecisions, "_SYSTEMD_UNIT=sidecard.service"); err != nil {
		return blind(unit, err, "'journalctl' says why")
	} else if len(lost) > 0 {
		found = append(found, Finding{
			Level: Warning, Subject: "sidecard.service", Problem: "decisions were lost within the last hour: " + lost[len(lost)-1],
			Advice: "journald was stuck or its disk full: 'journalctl -u systemd-journald' and 'journalctl --disk-usage'",
		})
	}
	texts, err := h.messages(ctx, dropped, "_TRANSPORT=driver") // what others send has another one
	if err != nil {
		return append(found, blind(unit, err, "'journalctl' says why")...)
	}
	last := map[string]string{}
	for _, text := range texts {
		if match := suppressed.FindStringSubmatch(text); match != nil {
			last[match[1]] = text
		}
	}
	for _, name := range slices.Sorted(maps.Keys(last)) {
		found = append(found, Finding{
			Level: Warning, Subject: name, Problem: "journald has dropped entries within the last hour: " + last[name],
			Advice: "have the program write less than 1000 lines in 30 s: leave its debug options out",
		})
	}
	return found
}

// messages returns the texts of the journal's entries that match.
func (h *Host) messages(ctx context.Context, matches ...string) ([]string, error) {
	text, err := h.Run(ctx, append([]string{"journalctl", "-q", "-o", "json", "--output-fields=MESSAGE", "--no-pager", "--lines=1000", recently}, matches...)...)
	if err != nil {
		return nil, err
	}
	var texts []string
	for line := range strings.Lines(text) {
		var entry struct{ MESSAGE any } // an array of numbers if it is not text
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return nil, fmt.Errorf("an entry of the journal: %v", err)
		}
		if message, ok := entry.MESSAGE.(string); ok {
			texts = append(texts, message)
		}
	}
	return texts, nil
}

func (h *Host) lookAtLeftovers(context.Context) []Finding {
	const advice = "'systemctl start sidecar-clean.service' removes it; if not, 'journalctl -u sidecar-clean' says why"
	var found []Finding
	sidecar := func(name string) string {
		id, err := interfaces.ParseID(name)
		if err != nil {
			return ""
		}
		return id.Unit()
	}
	for _, place := range []struct {
		directory, problem string
		unit               func(name string) string // "": what it is cannot be told; nil: it should not exist
	}{
		{"run/sidecar/leftovers", "a container could not be removed yet", nil},
		{"run/sidecar/launch", "the pins of a unit that does not exist", sidecar},
		{"run/sidecar/namespaces", "the pin of a network namespace that was made for an agent, and whose unit does not exist", document.SandboxUnit},
		{"run/sidecar/templates/users", "the note of a unit that does not exist, which keeps an image mounted", sidecar},
	} {
		entries, err := os.ReadDir(h.path(place.directory))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			found = append(found, blind("/"+place.directory, err, "look at it as root")...)
		}
		for _, entry := range entries {
			if place.unit != nil {
				if unit := place.unit(entry.Name()); unit == "" || h.hasUnit(unit) {
					continue
				}
			}
			found = append(found, Finding{Level: Warning, Subject: "/" + place.directory + "/" + entry.Name(), Problem: place.problem, Advice: advice})
		}
	}
	return found
}
