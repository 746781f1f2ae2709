package service

import (
	"errors"
	"testing"

	"tripleo.io/sidecar/interfaces"
)

// TestConcurrentQuestionsAreBounded has users who keep polkit busy.
func TestConcurrentQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		interactive    bool
		perUser, total int
	}{
		"quick":       {false, quickPerUser, quickTotal},
		"interactive": {true, interactivePerUser, interactiveTotal},
	} {
		q := newQuestions()
		var leave []func()
		taken := func(uid uint32) bool {
			l, err := q.enter(uid, c.interactive)
			if err == nil {
				leave = append(leave, l)
			} else if !errors.Is(err, interfaces.ErrOverloaded) {
				t.Errorf("%s: %v", name, err)
			}
			return err == nil
		}
		for uid := range uint32(c.total / c.perUser) {
			for range c.perUser {
				if !taken(uid) {
					t.Errorf("%s: user %d has fewer than %d", name, uid, c.perUser)
				}
			}
			if taken(uid) {
				t.Errorf("%s: user %d has more than %d", name, uid, c.perUser)
			}
		}
		if taken(9999) {
			t.Errorf("%s: there are more than %d", name, c.total)
		}
		if other, err := q.enter(9999, !c.interactive); err != nil {
			t.Errorf("%s: it keeps the other kind out: %v", name, err)
		} else {
			other()
		}
		for _, l := range leave {
			l()
		}
		if !taken(9999) || q.quick.InUse()+q.interactive.InUse() != 1 {
			t.Errorf("%s: what was given back is not free: %+v", name, q)
		}
	}
}
