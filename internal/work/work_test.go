package work

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestGroup(t *testing.T) {
	run := func(panics any) (err error) {
		defer Recover(&err)
		done := make([]bool, 8)
		var outer Group
		for i := range done {
			outer.Go(func() {
				var inner Group
				inner.Go(func() {
					if i == 3 && panics != nil {
						panic(panics)
					}
				})
				inner.Wait()
				done[i] = true
			})
		}
		outer.Wait()
		for i, ok := range done {
			if !ok {
				t.Errorf("%d is not done", i)
			}
		}
		return nil
	}
	if err := run(nil); err != nil {
		t.Error(err)
	}
	var p *Panic
	if err := run("odd"); !errors.As(err, &p) || p.Value != "odd" || !strings.Contains(err.Error(), "TestGroup") {
		t.Error(err)
	}
	if err := run(io.ErrNoProgress); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}
