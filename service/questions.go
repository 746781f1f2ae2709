package service

import (
	"fmt"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/internal/quota"
)

// The bounds of questions to polkit that are open at once, of one user and in all.
// Questions that wait for a person are counted apart: whoever is to authenticate can keep
// them open for minutes, and one person can have many users (subuid(5)).
const (
	quickPerUser       = 8
	quickTotal         = 48
	interactivePerUser = 2
	interactiveTotal   = 16
)

// questions counts the open questions to polkit.
type questions struct{ quick, interactive *quota.Quota[uint32] }

func newQuestions() questions {
	return questions{
		quick:       quota.New[uint32](quickPerUser, quickTotal),
		interactive: quota.New[uint32](interactivePerUser, interactiveTotal),
	}
}

// enter takes a place for one question of the user, which leave gives back.
func (q questions) enter(uid uint32, interactive bool) (leave func(), err error) {
	open, perUser, total := q.quick, quickPerUser, quickTotal
	if interactive {
		open, perUser, total = q.interactive, interactivePerUser, interactiveTotal
	}
	if open.Take(uid, 1) != quota.Taken {
		return nil, &interfaces.OverloadedError{Reason: fmt.Sprintf(
			"too many calls wait for polkit: %d of user %d, who may have %d; of all users there may be %d", open.Held(uid), uid, perUser, total)}
	}
	return func() { open.Release(uid, 1) }, nil
}
