package launch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWordsSurviveInAUnit(t *testing.T) {
	t.Parallel()
	plain := []string{"", "--x=a b", "$HOME", "${PATH}", "$$", "a;b", ";", "`id`", `\`, `\x24`, `\\$`, "%i", `"'`, "ü"}
	want := []string{"", "--x=a b", `\x24HOME`, `\x24{PATH}`, `\x24\x24`, `a\x3bb`, `\x3b`, `\x60id\x60`, `\\`, `\\x24`, `\\\\\x24`, "%i", `"'`, "ü"}
	encoded := EncodeWords(plain)
	if diff := cmp.Diff(want, encoded); diff != "" {
		t.Errorf("encoded (-want +got):\n%s", diff)
	}
	decoded, err := DecodeWords(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, decoded); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestWordsThatNobodyEncodedAreRefused(t *testing.T) {
	t.Parallel()
	for _, word := range []string{`a\`, `\n`, `\x2`, `\xzz`, `\x+4`, `\\\`} {
		if got, err := DecodeWords([]string{"x", word}); err == nil {
			t.Errorf("%q is decoded as %q", word, got)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add(`a$b;c\x24`)
	f.Fuzz(func(t *testing.T, word string) {
		encoded := EncodeWords([]string{word})
		if strings.ContainsAny(encoded[0], delicate) {
			t.Errorf("%q is encoded as %q", word, encoded[0])
		}
		decoded, err := DecodeWords(encoded)
		if err != nil || decoded[0] != word {
			t.Errorf("%q comes back as %q, %v", word, decoded, err)
		}
		_, _ = DecodeWords([]string{word}) // must not panic
	})
}
