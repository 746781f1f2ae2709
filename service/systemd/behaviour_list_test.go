package systemd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func listSorted(t *testing.T, u units, name string) {
	names := []string{"c-" + name, "a-" + name, "b-" + name, "a-x" + name}
	for _, n := range names {
		start(t, u, n, kindReady)
	}
	defer func() {
		for _, n := range names {
			if _, err := u.Stop(testContext(t), n, 0); err != nil {
				t.Error(err)
			}
		}
	}()
	list, err := u.List(testContext(t), "[a-c]-"+name)
	var got []string
	for _, unit := range list {
		got = append(got, unit.Name)
	}
	if d := cmp.Diff([]string{"a-" + name, "b-" + name, "c-" + name}, got); d != "" || err != nil {
		t.Errorf("list: %v (-want +got):\n%s", err, d)
	}
}

func listDied(t *testing.T, u units, name string) {
	start(t, u, name, kindDies)
	var unit Unit
	waitFor(t, "the death of the unit", func() bool {
		list, err := u.List(testContext(t), name)
		if err != nil || len(list) != 1 {
			t.Fatalf("list: %v, %v", list, err)
		}
		unit = list[0]
		return unit.ActiveState == "failed"
	})
	wantEnd(t, unit, end{"failed", "exit-code", cldExited, 5})
	if unit.MainPID != 0 {
		t.Errorf("process %d of a dead unit", unit.MainPID)
	}
}

func changesNameUnit(t *testing.T, u units, name string) {
	changes := u.Changes()
	defer changes.Close()
	start(t, u, name, kindReady)
	ctx := testContext(t)
	for {
		names, _, err := next(ctx, changes)
		if err != nil {
			t.Fatalf("no change of %s: %v", name, err)
		}
		for _, n := range names {
			if n == name {
				return
			}
		}
	}
}
