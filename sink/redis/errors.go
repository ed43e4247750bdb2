package redis

import (
	"context"
	"errors"
	"net"

	goredis "github.com/redis/go-redis/v9"
)

// ErrClosed is the error of a Put into a writer whose Run has ended.
var ErrClosed = errors.New("redis writer has ended")

// Reasons of errors: a closed set, which are also labels of metrics.
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

// reasonOf says why a command failed. None of the reasons is final: a score
// that cannot be written now is written later.
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
	case goredis.IsAuthError(err), goredis.IsPermissionError(err):
		return reasonDenied
	}
	return reasonServer
}
