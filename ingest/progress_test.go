package ingest_test

import (
	"testing"

	"github.com/weirdev/weir/ingest"
)

// TestCommitsOfOlderProgramsAreRead: they said whether a history had ended, which
// the watermark says.
func TestCommitsOfOlderProgramsAreRead(t *testing.T) {
	const old = `{"v":1,"owner":7,"epoch":"ab","low":5,"wm":9,"ended":true,"ledger":{}}`
	got, err := ingest.ParseProgress(old)
	if want := (ingest.Progress{Version: 1, Owner: 7, Epoch: "ab", Low: 5, Watermark: 9}); err != nil || got != want {
		t.Errorf("read as %+v, %v", got, err)
	}
	if _, err := ingest.ParseProgress(`{"v":2}`); err == nil {
		t.Error("a version that is not known was read")
	}
}
