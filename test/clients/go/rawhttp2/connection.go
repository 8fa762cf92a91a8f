package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// result is what came back in one scenario.
type result struct {
	Name    string             `json:"name"`
	Streams map[string]*stream `json:"streams"`
	// Goaways are those that the server sent, in their order.
	Goaways []goaway `json:"goaways"`
	// Closed tells whether the server ended the connection.
	Closed bool `json:"closed"`
	// TimedOut tells whether a step still waited when the time was over.
	TimedOut bool `json:"timedOut"`
	// PingAcks and SettingsAcks count what the server acknowledged.
	PingAcks     int `json:"pingAcks"`
	SettingsAcks int `json:"settingsAcks"`
	// Sent counts the frames of floods that were written.
	Sent int `json:"sent"`
	// Error is what this program could not do.
	Error string `json:"error,omitempty"`
}

type goaway struct {
	Code  string `json:"code"`
	Debug string `json:"debug"`
}

// stream is what came back on one stream.
type stream struct {
	Headers  map[string]string `json:"headers"`
	Trailers map[string]string `json:"trailers"`
	// Data is hexadecimal.
	Data string `json:"data"`
	// Reset is the code of the server's RST_STREAM by name; empty where there was none.
	Reset string `json:"reset"`
	// Ended tells whether the server sent END_STREAM.
	Ended bool `json:"ended"`

	sentEnd   bool
	sentReset bool
}

func (s *stream) closed() bool {
	return s.Reset != "" || s.sentReset || (s.Ended && s.sentEnd)
}

type connection struct {
	conn   net.Conn
	buffer *bufio.Writer
	framer *http2.Framer

	// writing guards the framer's writing side, the buffer and the encoder.
	writing sync.Mutex
	block   headerBlock

	// mu guards what came back; changed is told of each change.
	mu      sync.Mutex
	changed *sync.Cond
	got     result
	greeted bool
	expired bool
}

type dial func(ctx context.Context, s scenario) (net.Conn, error)

func dialer(in input) (dial, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(in.CA)) {
		return nil, errors.New("ca: no certificate")
	}
	config := &tls.Config{
		RootCAs:    roots,
		ServerName: in.ServerName,
		NextProtos: []string{http2.NextProtoTLS},
	}
	return func(ctx context.Context, s scenario) (net.Conn, error) {
		d := tls.Dialer{NetDialer: &net.Dialer{}, Config: config}
		if s.From != "" {
			d.NetDialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(s.From)}
		}
		return d.DialContext(ctx, "tcp", s.Address)
	}, nil
}

// play runs one scenario.
func play(s scenario, dial dial, timeout time.Duration) result {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := dial(ctx, s)
	if err != nil {
		return result{Name: s.Name, Streams: map[string]*stream{}, Goaways: []goaway{}, Error: err.Error()}
	}
	c := newConnection(s.Name, conn)
	stop := context.AfterFunc(ctx, c.expire)
	defer stop()
	// The preface comes first: the server's SETTINGS, which the reader answers, may be here already.
	err = c.write(func() error {
		if _, err := c.buffer.WriteString(http2.ClientPreface); err != nil {
			return err
		}
		return c.framer.WriteSettings()
	})
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(s)
	}()
	if err == nil {
		err = c.perform(s)
	}
	c.mu.Lock()
	// The reader goes on until here; what it reads later is not the scenario's any more.
	seen := c.got
	if err != nil && !seen.Closed {
		seen.Error = err.Error()
	}
	seen.Streams = make(map[string]*stream, len(c.got.Streams))
	for id, each := range c.got.Streams {
		copied := *each
		seen.Streams[id] = &copied
	}
	c.mu.Unlock()
	conn.Close()
	<-read
	return seen
}

func newConnection(name string, conn net.Conn) *connection {
	c := &connection{conn: conn, buffer: bufio.NewWriterSize(conn, 16<<10)}
	c.changed = sync.NewCond(&c.mu)
	c.got = result{Name: name, Streams: map[string]*stream{}, Goaways: []goaway{}}
	c.framer = http2.NewFramer(c.buffer, bufio.NewReader(conn))
	c.framer.AllowIllegalWrites = true
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = 1 << 20
	c.block.encoder = hpack.NewEncoder(&c.block.buffer)
	return c
}

func (c *connection) perform(s scenario) error {
	c.await(func() bool { return c.greeted })
	for i, each := range s.Steps {
		if err := c.take(each); err != nil {
			// The server hung up while this was written: what it said before is still to be read.
			var network net.Error
			if errors.As(err, &network) || errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) {
				c.await(func() bool { return c.got.Closed })
			}
			return fmt.Errorf("step %d, %s: %w", i, each.Op, err)
		}
	}
	return nil
}

// write flushes what `frames` writes.
func (c *connection) write(frames func() error) error {
	return c.queue(func() error {
		if err := frames(); err != nil {
			return err
		}
		return c.buffer.Flush()
	})
}

// queue leaves what `frames` writes in the buffer, which is sent when it is full.
func (c *connection) queue(frames func() error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return frames()
}

// await waits until `done`, which is asked with the lock held, the connection is closed or the time is over.
func (c *connection) await(done func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !done() && !c.got.Closed && !c.expired {
		c.changed.Wait()
	}
	if c.expired && !done() && !c.got.Closed {
		c.got.TimedOut = true
	}
}

func (c *connection) expire() {
	c.mu.Lock()
	c.expired = true
	c.changed.Broadcast()
	c.mu.Unlock()
	// What still writes must end too.
	c.conn.SetWriteDeadline(time.Now())
}

func (c *connection) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.Closed || c.expired
}

// read takes in what the server sends until the connection is over.
func (c *connection) read(s scenario) {
	for {
		frame, err := c.framer.ReadFrame()
		var ofStream http2.StreamError
		if errors.As(err, &ofStream) {
			c.note(func() { c.got.Error = err.Error() })
			continue
		}
		if err != nil {
			c.note(func() { c.got.Closed = true })
			return
		}
		c.note(func() { c.takeIn(frame) })
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && !s.NoSettingsAck {
				_ = c.write(c.framer.WriteSettingsAck)
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.write(func() error { return c.framer.WritePing(true, f.Data) })
			}
		}
	}
}

func (c *connection) note(change func()) {
	c.mu.Lock()
	change()
	c.changed.Broadcast()
	c.mu.Unlock()
}

func (c *connection) takeIn(frame http2.Frame) {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			c.got.SettingsAcks++
		} else {
			c.greeted = true
		}
	case *http2.PingFrame:
		if f.IsAck() {
			c.got.PingAcks++
		}
	case *http2.GoAwayFrame:
		c.got.Goaways = append(c.got.Goaways, goaway{Code: f.ErrCode.String(), Debug: string(f.DebugData())})
	case *http2.MetaHeadersFrame:
		s := c.stream(f.StreamID)
		fields := make(map[string]string, len(f.Fields))
		for _, field := range f.Fields {
			if before, twice := fields[field.Name]; twice {
				fields[field.Name] = before + ", " + field.Value
			} else {
				fields[field.Name] = field.Value
			}
		}
		if s.Headers == nil {
			s.Headers = fields
		} else {
			s.Trailers = fields
		}
		s.Ended = s.Ended || f.StreamEnded()
	case *http2.DataFrame:
		s := c.stream(f.StreamID)
		s.Data += hex.EncodeToString(f.Data())
		s.Ended = s.Ended || f.StreamEnded()
	case *http2.RSTStreamFrame:
		c.stream(f.StreamID).Reset = f.ErrCode.String()
	}
}

// stream needs the lock.
func (c *connection) stream(id uint32) *stream {
	key := strconv.FormatUint(uint64(id), 10)
	s := c.got.Streams[key]
	if s == nil {
		s = &stream{}
		c.got.Streams[key] = s
	}
	return s
}
