package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// endGrace is how long the child may take to end once its standard input has.
const endGrace = 5 * time.Second

// child is the built-in set in a process of its own, so that what it costs is not
// counted for either side. It is started with --until-eof: its standard input is a pipe
// from this process, and ends with it, whatever that dies of. It is used by one
// goroutine.
type child struct {
	process *exec.Cmd
	stdin   io.WriteCloser
	lines   chan string // closed at the end of its output
	stderr  complaints
	uri     string
}

// complaints keeps the beginning of what a process says on standard error. Safe for
// concurrent use.
type complaints struct {
	mu   sync.Mutex
	text []byte // mu
}

// maxComplaints is how much of it is kept.
const maxComplaints = 4 << 10

// Write implements io.Writer.
func (c *complaints) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, b[:min(len(b), maxComplaints-len(c.text))]...)
	return len(b), nil
}

func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.TrimSpace(string(c.text))
}

// startChild runs argv, the command replset without its flags for programs, and waits
// until the set is in its steady state.
func startChild(ctx context.Context, argv []string, members int, version string) (*child, error) {
	c := &child{lines: make(chan string, 1)}
	argv = append(slices.Clone(argv), "--json", "--until-eof", "--members", strconv.Itoa(members))
	if version != "" {
		argv = append(argv, "--server-version", version)
	}
	c.process = exec.Command(argv[0], argv[1:]...)
	c.process.Stderr = &c.stderr
	var err error
	if c.stdin, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.process.Start(); err != nil {
		return nil, fmt.Errorf("starting the built-in set: %w", err)
	}
	go func() {
		defer close(c.lines)
		scanner := bufio.NewScanner(stdout)
		for scanner.Scan() {
			c.lines <- scanner.Text()
		}
	}()
	var ready struct{ Type, URI string }
	if err := c.line(ctx, &ready); err != nil || ready.Type != "ready" {
		c.close()
		return nil, fmt.Errorf("the built-in set did not start: %w", errors.Join(err, c.complained()))
	}
	c.uri = ready.URI
	return c, nil
}

// line reads the next line of output.
func (c *child) line(ctx context.Context, to any) error {
	select {
	case line, ok := <-c.lines:
		if !ok {
			return errors.Join(errors.New("the built-in set has ended"), c.complained())
		}
		return json.Unmarshal([]byte(line), to)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *child) complained() error {
	if text := c.stderr.String(); text != "" {
		return errors.New(text)
	}
	return nil
}

// member is one as the child's status shows it.
type member struct {
	Index       int
	Host, State string
}

type childReply struct {
	Type, Command, Error string
	OK                   bool
	Members              []member
}

// obey has a command executed, most often a fault.
func (c *child) obey(ctx context.Context, format string, args ...any) (childReply, error) {
	command := fmt.Sprintf(format, args...)
	var r childReply
	if _, err := io.WriteString(c.stdin, command+"\n"); err != nil {
		return r, fmt.Errorf("the built-in set has ended: %w", err)
	}
	if err := c.line(ctx, &r); err != nil {
		return r, fmt.Errorf("%s: %w", command, err)
	}
	if r.Command != strings.Join(strings.Fields(command), " ") {
		return r, fmt.Errorf("%s: it was %q that was answered", command, r.Command)
	}
	if !r.OK {
		return r, fmt.Errorf("%s: %s", command, r.Error)
	}
	return r, nil
}

// one returns a member that is in a state: of several another one each turn.
func (c *child) one(ctx context.Context, state string, turn int) (member, error) {
	r, err := c.obey(ctx, "status")
	if err != nil {
		return member{}, err
	}
	all := slices.DeleteFunc(r.Members, func(m member) bool { return m.State != state })
	if len(all) == 0 {
		return member{}, fmt.Errorf("no member of the built-in set is %s", state)
	}
	return all[turn%len(all)], nil
}

// The states that the rows ask for.
const (
	statePrimary   = "PRIMARY"
	stateSecondary = "SECONDARY"
)

// close ends the set.
func (c *child) close() {
	_ = c.stdin.Close()
	late := time.AfterFunc(endGrace, func() { _ = c.process.Process.Kill() })
	defer late.Stop()
	for range c.lines { // Until it has ended: the pipe must not be closed before.
	}
	_ = c.process.Wait() // It has been asked to end, or has failed: that was said.
}

// self is how this program is run again as the built-in set.
func self() ([]string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("the built-in set is this program once more, which can not be found: %w", err)
	}
	return []string{program, "replset"}, nil
}
