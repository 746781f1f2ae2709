package bounded

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHardeningCallsThatReturn(t *testing.T) {
	t.Parallel()
	calls := New(time.Second, 1, 2)
	bad := errors.New("bad")
	for range 10 {
		if got, err := Do(calls, "a", func() (int, error) { return 7, nil }, nil); got != 7 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
		if err := Err(calls, "a", func() error { return bad }); !errors.Is(err, bad) {
			t.Errorf("%v, want its own error", err)
		}
	}
}

func TestHardeningCallsThatPanic(t *testing.T) {
	t.Parallel()
	defer func() {
		if value := recover(); value == nil {
			t.Error("the panic does not reach who waits for the call")
		}
	}()
	_ = Err(New(time.Second, 1, 1), "a", func() error { panic("oh") })
}

// TestHardeningCallsThatHang shows that a caller stops waiting for a call that hangs, that
// each key and all keys together have a bound, and that late returns free their places.
func TestHardeningCallsThatHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := New(time.Second, 1, 2)
		release, discarded := make(chan struct{}), make(chan int, 2)
		hang := func() (int, error) { <-release; return 7, nil }
		wants := func(key string, waits time.Duration) {
			t.Helper()
			began := time.Now()
			_, err := Do(calls, key, hang, func(value int) { discarded <- value })
			if !errors.Is(err, ErrHangs) || time.Since(began) != waits {
				t.Errorf("%s: %v after %v, want ErrHangs after %v", key, err, time.Since(began), waits)
			}
		}
		wants("a", time.Second)
		wants("a", 0)
		if err := Err(calls, "b", func() error { return nil }); err != nil {
			t.Errorf("another key: %v", err)
		}
		wants("b", time.Second)
		wants("c", 0)
		close(release)
		for range 2 {
			if got := <-discarded; got != 7 {
				t.Errorf("%d was thrown away", got)
			}
		}
		synctest.Wait()
		if err := Err(calls, "a", func() error { return nil }); err != nil {
			t.Errorf("when none hangs any more: %v", err)
		}
	})
}

// TestHardeningCallsWaitForTheirTurn shows that many calls at once are not refused.
func TestHardeningCallsWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := New(time.Second, 4, 4)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := Err(calls, "a", func() error { time.Sleep(10 * time.Millisecond); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// TestHardeningCallsOfOneKeyLeaveRoom shows that a key gets no more than its share, even
// before its calls count as hanging.
func TestHardeningCallsOfOneKeyLeaveRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := New(time.Second, 2, 4)
		release := make(chan struct{})
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if err := Err(calls, "a", func() error { <-release; return nil }); !errors.Is(err, ErrHangs) {
					t.Errorf("%v, want ErrHangs", err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		for _, key := range []string{"b", ""} {
			if err := Err(calls, key, func() error { return nil }); err != nil || time.Since(began) != 0 {
				t.Errorf("key %q: %v after %v", key, err, time.Since(began))
			}
		}
		all.Wait()
		close(release)
		synctest.Wait()
		if running, hung := calls.running.InUse(), calls.hung.InUse(); running != 0 || hung != 0 {
			t.Errorf("left are %d calls that run and %d that hang", running, hung)
		}
	})
}

// TestHardeningCallsHaveTheirTimeToThemselves shows that the wait for a turn does not count
// against a call's own time.
func TestHardeningCallsHaveTheirTimeToThemselves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := New(time.Second, 1, 1)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if err := Err(calls, "a", func() error { time.Sleep(900 * time.Millisecond); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}
