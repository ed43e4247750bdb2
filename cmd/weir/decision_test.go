package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/query"
)

func TestAnAnswerThatNothingIsThereHasAStatusOfItsOwn(t *testing.T) {
	for _, err := range []error{query.ErrNoDecision, fmt.Errorf("with an id: %w", query.ErrNoDecision), errLeft} {
		var coded *cli.Error
		if got := found(err); !errors.As(got, &coded) || coded.Code != cli.Failed || !errors.Is(got, err) {
			t.Errorf("%v becomes %v", err, got)
		}
	}
	other := errors.New("ClickHouse does not answer")
	if got := found(other); got != other || found(nil) != nil {
		t.Errorf("another error becomes %v", got)
	}
}
