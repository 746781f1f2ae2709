package policy

import (
	"math"
	"strconv"
	"strings"
)

// parseSize reads a size as systemd writes it: a number of bytes, or of K, M, G
// or T, each 1024 times the one before (systemd.resource-control(5)).
func parseSize(s string) (uint64, bool) {
	const units = "KMGT"
	number := strings.TrimRight(s, units)
	if len(s)-len(number) > 1 || !isAll(number, isDigit) {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, false
	}
	if number != s {
		shift := 10 * (1 + strings.IndexByte(units, s[len(s)-1]))
		if n > math.MaxUint64>>shift {
			return 0, false
		}
		n <<= shift
	}
	return n, true
}
