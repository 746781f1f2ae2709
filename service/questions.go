package service

import (
	"fmt"
	"sync"

	"tripleo.io/sidecar/interfaces"
)

// How many questions to polkit may be open at once, of one user and in all. Those
// that wait for a person are apart: they can be kept open for minutes by whoever is
// to authenticate, and one person can have many users (subuid(5)).
const (
	quickPerUser       = 8
	quickTotal         = 48
	interactivePerUser = 2
	interactiveTotal   = 16
)

// questions counts the open questions to polkit. The zero value is ready.
type questions struct {
	mu                 sync.Mutex
	quick, interactive crowd
}

// crowd counts the open questions of one kind.
type crowd struct {
	total  int
	byUser map[uint32]int
}

// enter takes a place for one question of the user, which leave gives back.
func (q *questions) enter(uid uint32, interactive bool) (leave func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c, perUser, total := &q.quick, quickPerUser, quickTotal
	if interactive {
		c, perUser, total = &q.interactive, interactivePerUser, interactiveTotal
	}
	if c.total >= total || c.byUser[uid] >= perUser {
		return nil, &interfaces.OverloadedError{Reason: fmt.Sprintf(
			"too many calls wait for polkit: %d of user %d, who may have %d; of all users there may be %d", c.byUser[uid], uid, perUser, total)}
	}
	if c.byUser == nil {
		c.byUser = map[uint32]int{}
	}
	c.total++
	c.byUser[uid]++
	return func() { q.leave(c, uid) }, nil
}

func (q *questions) leave(c *crowd, uid uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.total--
	if c.byUser[uid]--; c.byUser[uid] == 0 {
		delete(c.byUser, uid)
	}
}
