package polkit

import "context"

// Fake answers as a test says.
type Fake struct {
	// Answer is asked for every answer. nil: everything is denied.
	Answer func(context.Context, Request) (Verdict, error)
}

// Check is Authority's, without polkit.
func (f *Fake) Check(ctx context.Context, r Request) (Verdict, error) {
	if f.Answer == nil {
		return Denied, nil
	}
	return f.Answer(ctx, r)
}
