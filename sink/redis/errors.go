package redis

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/score"
)

// ErrClosed is returned by Put after the writer's Run has ended.
var ErrClosed = errors.New("redis writer has ended")

// Reasons of errors: a closed set, used as metric labels.
const (
	reasonTimeout  = "timeout"
	reasonNetwork  = "network"
	reasonMemory   = "memory"   // OOM: maxmemory is reached
	reasonReadOnly = "readonly" // a replica, or too few of them
	reasonLoading  = "loading"  // the server reads its data, or runs a long script
	reasonCluster  = "cluster"  // slots without a master, or on the move
	reasonScript   = "noscript"
	reasonDenied   = "denied" // user, password or ACL
	reasonServer   = "server" // any other refusal
)

var reasons = []string{
	reasonTimeout, reasonNetwork, reasonMemory, reasonReadOnly, reasonLoading,
	reasonCluster, reasonScript, reasonDenied, reasonServer,
}

// Reasons why a stored value is invalid: a closed set, used as metric labels.
const (
	reasonForged    = "forged"    // its code is wrong: of another key, secret or author
	reasonMalformed = "malformed" // not of the form, or too long
	reasonVersion   = "version"   // of another version of the form
	reasonType      = "type"      // a list, a hash …
)

var valueReasons = []string{reasonForged, reasonMalformed, reasonVersion, reasonType}

// reasonOfValue returns the reason of an error from [score.Codec].
func reasonOfValue(err error) string {
	switch {
	case errors.Is(err, score.ErrForged):
		return reasonForged
	case errors.Is(err, score.ErrVersion):
		return reasonVersion
	}
	return reasonMalformed
}

// seldom passes one message per minute, so that an outsider cannot fill the log.
type seldom struct {
	mu   sync.Mutex
	last time.Time
}

func (s *seldom) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && now.Sub(s.last) < time.Minute {
		return false
	}
	s.last = now
	return true
}

// reasonOf returns the reason of a failed command. No reason is final: a score that
// cannot be written now is written later.
func reasonOf(err error) string {
	var reply goredis.Error
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, goredis.ErrPoolTimeout):
		return reasonTimeout
	case !errors.As(err, &reply):
		return reasonNetwork
	case goredis.HasErrorPrefix(err, "NOSCRIPT"):
		return reasonScript
	case goredis.IsOOMError(err), goredis.HasErrorPrefix(err, "MISCONF"):
		return reasonMemory
	case goredis.IsReadOnlyError(err), goredis.IsNoReplicasError(err):
		return reasonReadOnly
	case goredis.IsLoadingError(err), goredis.HasErrorPrefix(err, "BUSY"):
		return reasonLoading
	case goredis.IsClusterDownError(err), goredis.IsTryAgainError(err), goredis.IsMasterDownError(err):
		return reasonCluster
	case goredis.IsAuthError(err), goredis.IsPermissionError(err), deniedToScript(err):
		return reasonDenied
	}
	return reasonServer
}

// deniedToScript reports whether a command within a script was denied.
func deniedToScript(err error) bool {
	return strings.Contains(err.Error(), "The user executing the script") || strings.Contains(err.Error(), "ACL failure in script")
}
