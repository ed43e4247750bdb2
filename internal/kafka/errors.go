package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Errors that callers distinguish with errors.Is. No retry helps against them:
// errors that may pass were retried inside.
var (
	// ErrOffsetOutOfRange: the offset is below the log's start or above its end.
	// [Client.Offsets] shows which. Below the start, records are lost.
	ErrOffsetOutOfRange = errors.New("offset is outside the log")
	// ErrTooLarge: a single record is larger than the topic accepts.
	ErrTooLarge = errors.New("record is larger than the topic takes")
	// ErrUnknownTopic: the topic, or the partition, does not exist.
	ErrUnknownTopic = errors.New("topic or partition does not exist")
	// ErrFenced: the generation is over, and the partition may belong to another
	// member; nothing more is committed.
	ErrFenced = errors.New("no longer a member of this generation of the group")
	// ErrUnreadable: the records at the offset fail to decode, repeatedly, on fresh
	// connections.
	ErrUnreadable = errors.New("records cannot be read")
	// ErrInflated: a batch decompresses to more than [MaxInflated] bytes. It is an
	// ErrUnreadable too.
	ErrInflated = errors.New("batch decompresses to more than is allowed")
	// ErrNoProgress: the log continues after the offset, but the largest allowed
	// fetches return nothing of it. It is an ErrUnreadable too.
	ErrNoProgress = errors.New("log goes on, but nothing of it is returned")
	// ErrDenied: the broker does not know us, or refuses us.
	ErrDenied = errors.New("refused by the broker")
	// ErrTooFewBrokers: a topic with this many replicas needs more brokers.
	ErrTooFewBrokers = errors.New("the cluster has too few brokers for the replicas")
	// ErrMetadataTooLarge: a commit's metadata is longer than the broker accepts.
	ErrMetadataTooLarge = errors.New("metadata is longer than the broker takes")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("client is closed")
)

// outlook states whether a retry helps.
type outlook uint8

const (
	soon    outlook = iota // passes by itself: retry until the caller gives up
	shortly                // may be a delay in propagation: retry for a while
	never                  // permanent
)

// codes maps the brokers' errors to ours. Errors that are not listed are retried
// shortly.
var codes = map[kafkago.Error]struct {
	outlook
	meaning error // nil: the broker's own text is used
}{
	kafkago.LeaderNotAvailable: {}, kafkago.NotLeaderForPartition: {}, kafkago.RequestTimedOut: {}, kafkago.BrokerNotAvailable: {},
	kafkago.ReplicaNotAvailable: {}, kafkago.NetworkException: {}, kafkago.GroupLoadInProgress: {}, kafkago.GroupCoordinatorNotAvailable: {},
	kafkago.NotCoordinatorForGroup: {}, kafkago.NotEnoughReplicas: {}, kafkago.NotEnoughReplicasAfterAppend: {}, kafkago.NotController: {},
	kafkago.KafkaStorageError: {}, kafkago.FencedLeaderEpoch: {}, kafkago.UnknownLeaderEpoch: {}, kafkago.OffsetNotAvailable: {},
	kafkago.StaleBrokerEpoch: {}, kafkago.UnstableOffsetCommit: {}, kafkago.ThrottlingQuotaExceeded: {},
	kafkago.FetchSessionIDNotFound: {}, kafkago.InvalidFetchSessionEpoch: {}, kafkago.ConcurrentTransactions: {},

	kafkago.UnknownTopicOrPartition: {shortly, ErrUnknownTopic},
	kafkago.UnknownTopicID:          {shortly, ErrUnknownTopic},
	kafkago.InvalidMessage:          {shortly, ErrUnreadable}, // the broker's own check of a batch

	kafkago.OffsetOutOfRange:           {never, ErrOffsetOutOfRange},
	kafkago.MessageSizeTooLarge:        {never, ErrTooLarge},
	kafkago.RecordListTooLarge:         {never, ErrTooLarge},
	kafkago.IllegalGeneration:          {never, ErrFenced},
	kafkago.UnknownMemberId:            {never, ErrFenced},
	kafkago.RebalanceInProgress:        {never, ErrFenced}, // the member list is complete already, and we are not in it
	kafkago.FencedInstanceID:           {never, ErrFenced},
	kafkago.OffsetMetadataTooLarge:     {never, ErrMetadataTooLarge},
	kafkago.TopicAuthorizationFailed:   {never, ErrDenied},
	kafkago.GroupAuthorizationFailed:   {never, ErrDenied},
	kafkago.ClusterAuthorizationFailed: {never, ErrDenied},
	kafkago.SASLAuthenticationFailed:   {never, ErrDenied},
	kafkago.UnsupportedSASLMechanism:   {never, ErrDenied},
	kafkago.IllegalSASLState:           {never, ErrDenied},
	kafkago.InvalidTopic:               {never, nil},
	kafkago.InvalidRequiredAcks:        {never, nil},
	kafkago.InvalidGroupId:             {never, nil},
	kafkago.InvalidSessionTimeout:      {never, nil},
	kafkago.InconsistentGroupProtocol:  {never, nil},
	kafkago.InvalidTimestamp:           {never, nil},
	kafkago.UnsupportedVersion:         {never, nil},
	kafkago.InvalidPartitionNumber:     {never, nil},
	kafkago.InvalidReplicationFactor:   {never, ErrTooFewBrokers},
	kafkago.InvalidConfiguration:       {never, nil},
	kafkago.InvalidRequest:             {never, nil},
	kafkago.PolicyViolation:            {never, nil},
	kafkago.InvalidRecord:              {never, nil},
	kafkago.UnsupportedCompressionType: {never, nil},
}

// classify states whether a retry helps, and gives the error its meaning.
func classify(err error) (outlook, error) {
	var code kafkago.Error
	switch {
	case errors.Is(err, ErrClosed):
		return never, err
	case errors.Is(err, ErrUnreadable):
		return shortly, err
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition):
		return shortly, fmt.Errorf("%w: %w", ErrUnknownTopic, err)
	case errors.As(err, &code):
		c, known := codes[code]
		if !known {
			c.outlook = shortly
		}
		if c.meaning != nil {
			return c.outlook, fmt.Errorf("%w: %w", c.meaning, err)
		}
		return c.outlook, err
	case lost(err):
		return soon, err
	}
	return shortly, err
}

// lost reports whether err is about the connection, not about its content.
func lost(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, protocol.ErrNoLeader)
}
