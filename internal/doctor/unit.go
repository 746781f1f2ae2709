package doctor

import (
	"os"
	"regexp"
	"strconv"
	"strings"

	"tripleo.io/sidecar/service/document"
)

// document reads the document of a transient unit from systemd's own file.
func (h *Host) document(unit string) (document.Document, error) {
	text, err := os.ReadFile(h.path("run/systemd/transient", unit))
	if err != nil {
		return document.Document{}, err
	}
	return document.Decode(environment(string(text)))
}

// assignment is where systemd begins an item of Environment=. Within an item a quote has a
// backslash.
var assignment = regexp.MustCompile(`[= ]"SIDECAR_`)

// environment returns the variables of sidecars in a unit's file, as systemd has written them
// (UNIT_ESCAPE_C and UNIT_ESCAPE_SPECIFIERS of systemd's unit.h): C's escapes, of which Go does not
// know \', and "%%".
func environment(text string) []string {
	var variables []string
	for _, place := range assignment.FindAllStringIndex(text, -1) {
		item := strings.NewReplacer(`\\`, `\\`, `\'`, `'`).Replace(text[place[0]+1:])
		if quoted, err := strconv.QuotedPrefix(item); err == nil {
			variable, _ := strconv.Unquote(quoted) // it is quoted
			variables = append(variables, strings.ReplaceAll(variable, "%%", "%"))
		}
	}
	return variables
}
