package podman_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tripleo.io/sidecar/service/engine/podman"
)

func TestContainersOfPodman(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "podman")
	for name, test := range map[string]struct {
		script string
		want   []podman.Container
		fails  bool
	}{
		"none": {script: `echo '[]'`},
		"two": {
			script: `echo '[{"Names":["sidecar-a.b.0123456789ab"],"Labels":{"io.tripleo.sidecar.id":"a.b.0123456789ab","x":"y"}},
				{"Names":["sidecar-prepare-a-b-c"],"Labels":{"io.tripleo.sidecar.id":"a.b.c"}}]'`,
			want: []podman.Container{{ID: "a.b.0123456789ab", Name: "sidecar-a.b.0123456789ab"}, {ID: "a.b.c", Name: "sidecar-prepare-a-b-c"}},
		},
		"broken": {script: `echo '{'`, fails: true},
		"fails":  {script: `exit 125`, fails: true},
	} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+test.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		got, err := podman.Containers(t.Context(), program)
		if (err != nil) != test.fails {
			t.Errorf("%s: error %v", name, err)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
