// Command rawhttp2 speaks HTTP/2 frame by frame: what no gRPC client sends, this does. It reads scenarios as JSON from
// standard input, runs each on a connection of its own, and prints one JSON line a scenario with what came back. Standard
// input stays open until the last line: its end means that nobody waits for the others.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

type input struct {
	// CA is what the servers' certificates, which are for ServerName, are checked against (PEM).
	CA         string `json:"ca"`
	ServerName string `json:"serverName"`
	// Parallel is how many scenarios run at the same time.
	Parallel int `json:"parallel"`
	// TimeoutMs bounds each scenario, its connection included.
	TimeoutMs int        `json:"timeoutMs"`
	Scenarios []scenario `json:"scenarios"`
}

type scenario struct {
	Name string `json:"name"`
	// Address of the server, host:port. From is the address to call from; any where it is empty.
	Address string `json:"address"`
	From    string `json:"from"`
	// NoSettingsAck never acknowledges the server's SETTINGS.
	NoSettingsAck bool   `json:"noSettingsAck"`
	Steps         []step `json:"steps"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var in input
	stdin := bufio.NewReader(os.Stdin)
	if err := json.NewDecoder(stdin).Decode(&in); err != nil {
		return fmt.Errorf("scenarios: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		os.Exit(1)
	}()
	dial, err := dialer(in)
	if err != nil {
		return err
	}
	var (
		out    = lines{to: json.NewEncoder(os.Stdout)}
		places = make(chan struct{}, max(in.Parallel, 1))
		all    sync.WaitGroup
	)
	for _, s := range in.Scenarios {
		places <- struct{}{}
		all.Add(1)
		go func() {
			defer all.Done()
			defer func() { <-places }()
			out.print(play(s, dial, time.Duration(in.TimeoutMs)*time.Millisecond))
		}()
	}
	all.Wait()
	return out.err
}

// lines prints one result a line, whoever prints.
type lines struct {
	mu  sync.Mutex
	to  *json.Encoder
	err error
}

func (l *lines) print(value result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.to.Encode(value); err != nil && l.err == nil {
		l.err = err
	}
}
