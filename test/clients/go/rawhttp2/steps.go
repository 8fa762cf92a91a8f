package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// step is one thing to do on a connection. Which members count depends on Op.
type step struct {
	// Op: headers, data, reset, frame, await, awaitGoaway, awaitClosed, cut, flood.
	Op     string `json:"op"`
	Stream uint32 `json:"stream"`
	// Fields of headers, in their order, pseudo-header fields too; nothing is checked or changed.
	Fields [][2]string `json:"fields"`
	// Repeat sends the last one so many times more.
	Repeat int `json:"repeat"`
	// Fragment splits the header block into pieces of so many bytes: HEADERS, then CONTINUATION.
	Fragment int `json:"fragment"`
	// End sets END_STREAM; of frame it tells that its flags do.
	End bool `json:"end"`
	// Hex is the payload of data and frame.
	Hex string `json:"hex"`
	// Code of reset.
	Code uint32 `json:"code"`
	// Type and Flags of frame.
	Type  uint8 `json:"type"`
	Flags uint8 `json:"flags"`

	// Frame of a flood: ping, settings, continuation, reset, data, window.
	Frame string `json:"frame"`
	Count int    `json:"count"`
	// Window is how many frames may wait for their acknowledgement; 0: nothing is waited for.
	Window int `json:"window"`
}

// take does one step. What it sends leaves when a step waits, and so with what was sent before: in one TLS record where it
// fits in one.
func (c *connection) take(s step) error {
	switch s.Op {
	case "headers":
		return c.queue(func() error { return c.headers(s) })
	case "data":
		payload, err := hex.DecodeString(s.Hex)
		if err != nil {
			return err
		}
		c.note(func() { c.stream(s.Stream).sentEnd = s.End })
		return c.queue(func() error { return c.framer.WriteData(s.Stream, s.End, payload) })
	case "reset":
		c.note(func() { c.stream(s.Stream).sentReset = true })
		return c.queue(func() error { return c.framer.WriteRSTStream(s.Stream, http2.ErrCode(s.Code)) })
	case "frame":
		payload, err := hex.DecodeString(s.Hex)
		if err != nil {
			return err
		}
		if s.End {
			c.note(func() { c.stream(s.Stream).sentEnd = true })
		}
		return c.queue(func() error {
			return c.framer.WriteRawFrame(http2.FrameType(s.Type), http2.Flags(s.Flags), s.Stream, payload)
		})
	case "await":
		return c.flushAndAwait(func() bool { return c.stream(s.Stream).closed() })
	case "awaitGoaway":
		return c.flushAndAwait(func() bool { return len(c.got.Goaways) > 0 })
	case "awaitClosed":
		return c.flushAndAwait(func() bool { return false })
	case "cut":
		// With a linger of zero the other side reads a reset, and no close of TLS.
		socket := c.conn
		if tcp, ok := c.conn.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			socket = tcp
		}
		err := socket.Close()
		// Until the reader has noticed it the connection does not count as closed.
		c.await(func() bool { return c.got.Closed })
		return err
	case "flood":
		return c.flood(s)
	default:
		return fmt.Errorf("unknown op %q", s.Op)
	}
}

func (c *connection) flushAndAwait(done func() bool) error {
	if err := c.write(func() error { return nil }); err != nil {
		return err
	}
	c.await(done)
	return nil
}

// headerBlock encodes fields as they are.
type headerBlock struct {
	buffer  bytes.Buffer
	encoder *hpack.Encoder
}

func (b *headerBlock) encode(fields [][2]string) ([]byte, error) {
	b.buffer.Reset()
	for _, field := range fields {
		if err := b.encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return nil, err
		}
	}
	return bytes.Clone(b.buffer.Bytes()), nil
}

func (c *connection) headers(s step) error {
	c.note(func() { c.stream(s.Stream).sentEnd = s.End })
	fields := s.Fields
	for range s.Repeat {
		fields = append(fields, fields[len(fields)-1])
	}
	block, err := c.block.encode(fields)
	if err != nil {
		return err
	}
	size := s.Fragment
	if size <= 0 || size > len(block) {
		size = min(len(block), 16<<10)
	}
	first, rest := block[:size], block[size:]
	err = c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID:      s.Stream,
		BlockFragment: first,
		EndStream:     s.End,
		EndHeaders:    len(rest) == 0,
	})
	for err == nil && len(rest) > 0 {
		next := rest[:min(size, len(rest))]
		rest = rest[len(next):]
		err = c.framer.WriteContinuation(s.Stream, len(rest) == 0, next)
	}
	return err
}
