package launch

import (
	"fmt"
	"strconv"
	"strings"
)

// delicate are the characters that do not survive in the command of a transient
// unit on every systemd. Those before 254 write them with a backslash into the
// unit's file, and do not take it off again when they read the file after a
// daemon-reload (seen on 252); '$' has variables expanded.
const delicate = "$;`"

// EncodeWords writes a command line so that it stays the same in a unit: each
// delicate character as \xHH, a backslash as two. Most words stay as they are.
func EncodeWords(words []string) []string {
	encoded := make([]string, 0, len(words))
	for _, word := range words {
		word = strings.ReplaceAll(word, `\`, `\\`)
		for _, c := range delicate {
			word = strings.ReplaceAll(word, string(c), fmt.Sprintf(`\x%02x`, c))
		}
		encoded = append(encoded, word)
	}
	return encoded
}

// DecodeWords reads what [EncodeWords] wrote. Its error names the first word
// that it did not write.
func DecodeWords(words []string) ([]string, error) {
	decoded := make([]string, 0, len(words))
	for _, word := range words {
		plain, err := decodeWord(word)
		if err != nil {
			return nil, fmt.Errorf("word %.100q: %v", word, err)
		}
		decoded = append(decoded, plain)
	}
	return decoded, nil
}

func decodeWord(word string) (string, error) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(word, `\`)
		b.WriteString(plain)
		if !found {
			return b.String(), nil
		}
		if strings.HasPrefix(rest, `\`) {
			b.WriteByte('\\')
			word = rest[1:]
			continue
		}
		if len(rest) < 3 || rest[0] != 'x' {
			return "", fmt.Errorf(`%.4q after '\' is neither '\' nor xHH`, rest)
		}
		c, err := strconv.ParseUint(rest[1:3], 16, 8)
		if err != nil {
			return "", fmt.Errorf(`%.4q after '\' is neither '\' nor xHH`, rest)
		}
		b.WriteByte(byte(c))
		word = rest[3:]
	}
}
