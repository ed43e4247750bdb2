package haproxy

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/negasus/haproxy-spoe-go/typeddata"
	"github.com/negasus/haproxy-spoe-go/varint"
)

// arg is an argument of a message, or a pair of a handshake.
type arg struct {
	name  string
	value any
}

func appendUvarint(b []byte, n uint64) []byte {
	var room [10]byte
	return append(b, room[:varint.PutUvarint(room[:], n)]...)
}

func appendText(b []byte, s string) []byte { return append(appendUvarint(b, uint64(len(s))), s...) }

func appendArgs(b []byte, args []arg) []byte {
	for _, a := range args {
		b = appendText(b, a.name)
		if ip, ok := a.value.(net.IP); ok { // the library does not encode addresses
			kind := typeddata.TypeIPv6
			if four := ip.To4(); four != nil {
				kind, ip = typeddata.TypeIPv4, four
			}
			b = append(append(b, kind), ip...)
			continue
		}
		v, n, err := typeddata.Encode(a.value, nil)
		if err != nil {
			panic(err)
		}
		b = append(b, v[:n]...)
	}
	return b
}

// frameOf returns a frame with its length.
func frameOf(kind byte, flags uint32, stream, id uint64, payload []byte) []byte {
	b := []byte{0, 0, 0, 0, kind}
	b = binary.BigEndian.AppendUint32(b, flags)
	b = appendUvarint(appendUvarint(b, stream), id)
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

const (
	kindHello, kindBye, kindNotify        = 1, 2, 3
	kindAgentHello, kindAgentBye, kindAck = 101, 102, 103
	whole                                 = 1
)

func helloOf(more ...arg) []byte {
	args := append([]arg{{"supported-versions", "2.0"}, {"max-frame-size", uint32(16380)}, {"capabilities", "pipelining,async"}}, more...)
	return frameOf(kindHello, whole, 0, 0, appendArgs(nil, args))
}

func notifyOf(stream uint64, name string, args ...arg) []byte {
	b := append(appendText(nil, name), byte(len(args)))
	return frameOf(kindNotify, whole, stream, 1, appendArgs(b, args))
}

// reply is a frame of the agent.
type reply struct {
	kind   byte
	stream uint64
	values map[string]any // of a handshake, of an end, or variables
}

// peer speaks as HAProxy does.
type peer struct {
	t  testing.TB
	c  net.Conn
	in *bufio.Reader
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.c.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads a frame; an error after the connection's end.
func (p *peer) receive() (reply, error) {
	var length [4]byte
	if _, err := io.ReadFull(p.in, length[:]); err != nil {
		return reply{}, err
	}
	b := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(p.in, b); err != nil {
		return reply{}, err
	}
	r := reply{kind: b[0], values: map[string]any{}}
	b = b[5:]
	var n int
	r.stream, n = varint.Uvarint(b)
	b = b[n:]
	_, n = varint.Uvarint(b)
	b = b[n:]
	for len(b) > 0 {
		if r.kind == kindAck {
			if b[0] != 1 || b[1] != 3 || b[2] != 2 {
				return r, fmt.Errorf("not a variable of a transaction: % x", b[:3])
			}
			b = b[3:]
		}
		size, n := varint.Uvarint(b)
		name := string(b[n : n+int(size)])
		v, used, err := typeddata.Decode(b[n+int(size):])
		if err != nil {
			return r, err
		}
		r.values[name] = v
		b = b[n+int(size)+used:]
	}
	return r, nil
}

func (p *peer) expect(kind byte) reply {
	p.t.Helper()
	r, err := p.receive()
	if err != nil || r.kind != kind {
		p.t.Fatalf("%+v, %v; want a frame of type %d", r, err, kind)
	}
	return r
}
