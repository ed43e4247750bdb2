package haproxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
)

// Status codes of the protocol, in frames that end a connection.
const (
	normal       = 0
	tooSlow      = 2
	tooBig       = 3
	invalidFrame = 4
	noVersion    = 8
	badFrameSize = 9
	fragmented   = 10
	unknownError = 99
)

// fault is an error that the peer is told of.
type fault struct {
	status uint32
	text   string
}

func (f *fault) Error() string { return f.text }

var (
	errGone    = errors.New("the connection was closed")
	errHealthy = errors.New("a health check is complete")
)

const lengthBytes = 4

// conn is a connection of HAProxy.
type conn struct {
	net net.Conn
	in  *bufio.Reader
	max uint32 // longest frame, without its length

	slots   chan struct{} // holds one element per decision under way
	pending sync.WaitGroup

	writing sync.Mutex
}

func newConn(c net.Conn) *conn {
	return &conn{net: c, in: bufio.NewReader(c), max: maxFrame, slots: make(chan struct{}, maxPending)}
}

// past is a deadline that makes reading end at once.
func past() time.Time { return time.Unix(1, 0) }

// read reads a frame. wait is how long its first byte may take.
func (c *conn) read(ctx context.Context, wait time.Duration) (*frame.Frame, error) {
	if err := c.readBefore(ctx, wait); err != nil {
		return nil, err
	}
	if _, err := c.in.Peek(1); err != nil {
		return nil, readError(err)
	}
	if err := c.readBefore(ctx, frameTimeout); err != nil {
		return nil, err
	}
	var length [lengthBytes]byte
	if _, err := io.ReadFull(c.in, length[:]); err != nil {
		return nil, readError(err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > c.max {
		return nil, &fault{tooBig, fmt.Sprintf("a frame of %d bytes, where 1 to %d may be", n, c.max)}
	}
	raw := make([]byte, lengthBytes+n)
	copy(raw, length[:])
	if _, err := io.ReadFull(c.in, raw[lengthBytes:]); err != nil {
		return nil, readError(err)
	}
	return decode(raw)
}

// readBefore sets the deadline for reading, unless ctx has ended: its end sets one
// that must stay.
func (c *conn) readBefore(ctx context.Context, limit time.Duration) error {
	err := c.net.SetReadDeadline(time.Now().Add(limit))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func readError(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET):
		return errGone
	case errors.As(err, &timeout) && timeout.Timeout():
		return &fault{tooSlow, "nothing was sent for too long"}
	}
	return err
}

// decode reads a frame with its length.
func decode(raw []byte) (f *frame.Frame, err error) {
	defer func() {
		if r := recover(); r != nil {
			f, err = nil, &fault{invalidFrame, fmt.Sprintf("a frame of %d bytes cannot be read: %v", len(raw)-lengthBytes, r)}
		}
	}()
	f = frame.NewFrame() // one of the library's pool may still be in use after a panic
	if err = f.Read(bytes.NewReader(raw)); err != nil {
		return nil, &fault{invalidFrame, err.Error()}
	}
	return f, nil
}

// hello agrees on a version and on the length of frames.
func (c *conn) hello(ctx context.Context) error {
	if err := c.net.SetWriteDeadline(time.Now().Add(helloTimeout)); err != nil { // of TLS
		return err
	}
	f, err := c.read(ctx, helloTimeout)
	if err != nil {
		return err
	}
	if f.Type != frame.TypeHaproxyHello {
		return &fault{invalidFrame, fmt.Sprintf("a frame of type %d before the handshake", f.Type)}
	}
	versions, _ := f.KV.Get("supported-versions")
	if s, _ := versions.(string); !speaksTwo(s) {
		return &fault{noVersion, fmt.Sprintf("version 2.0 is needed, and %.64q is supported", s)}
	}
	if f.MaxFrameSize < minFrame {
		return &fault{badFrameSize, fmt.Sprintf("frames of at most %d bytes are too short, %d are needed", f.MaxFrameSize, minFrame)}
	}
	c.max = min(maxFrame, f.MaxFrameSize)
	reply := frame.NewFrame()
	reply.Type, reply.StreamID, reply.FrameID = frame.TypeAgentHello, f.StreamID, f.FrameID
	reply.KV.Add("version", "2.0")
	reply.KV.Add("max-frame-size", c.max)
	reply.KV.Add("capabilities", "pipelining")
	if err := c.write(reply); err != nil {
		return err
	}
	if f.Healthcheck {
		return errHealthy
	}
	return nil
}

func speaksTwo(versions string) bool {
	for v := range strings.SplitSeq(versions, ",") {
		if major, _, _ := strings.Cut(strings.TrimSpace(v), "."); major == "2" {
			return true
		}
	}
	return false
}

// disconnect says goodbye.
func (c *conn) disconnect(status uint32, text string) error {
	f := frame.NewFrame()
	f.Type = frame.TypeAgentDisconnect
	f.KV.Add("status-code", status)
	f.KV.Add("message", text)
	return c.write(f)
}

// write writes a frame. Calls may overlap.
func (c *conn) write(f *frame.Frame) error {
	var b bytes.Buffer
	if _, err := f.Encode(&b); err != nil {
		return fmt.Errorf("haproxy: encode a frame: %w", err)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.net.Write(b.Bytes())
	return err
}
