package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel/evenkeel/replset"
)

const replsetUsage = `Usage: evenkeel replset [flags]

Runs a replica set in this process, for clients of any language, until it is
interrupted (SIGINT, SIGTERM) or told to quit. The first line it prints is the
connection string of the set, which is in its steady state then. With TLS, that
names files in a temporary directory: the authority to trust and, with --tls mutual,
the client's certificate.

Lines on standard input are commands, most of them faults. Each is answered by one
line that begins with "ok" or "error:"; one that takes longer than 10 s fails. N, A, B
and C are members, counted from 0. A COMMAND is the name of a server's command, or all.
A DURATION is like 50ms or 1.5s. A PHASE is before (the command is not executed), reply
(it is, and not answered) or within (half of the answer is sent).

%s
When standard input ends, the set runs on, since it may have been started without
any; in a shell's background, give it </dev/null. A program that starts it as a child
should use --until-eof and keep the pipe open: then the set ends with the program,
whatever that dies of.

With --json, one JSON object a line is printed: first one of type "ready", with uri,
name, hosts, and with TLS ca_file and certificate_key_file; then for each command one
of type "reply", with command, ok, and error, text or members.

Flags:
`

func replsetHelp() string {
	var list strings.Builder
	for _, command := range consoleCommands() {
		fmt.Fprintf(&list, "  %-25s %s\n", command.form, command.does)
	}
	return fmt.Sprintf(replsetUsage, &list)
}

// replsetSettings is what the flags of replset say.
type replsetSettings struct {
	options  replset.Options
	json     bool
	untilEOF bool
}

func parseReplsetSettings(args []string, stdout, stderr io.Writer) (replsetSettings, error) {
	s := replsetSettings{}
	o := &s.options
	fs := flag.NewFlagSet("evenkeel replset", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.IntVar(&o.Members, "members", replset.DefaultMembers, fmt.Sprintf("how many members, 1 to %d", replset.MaxVoters))
	fs.StringVar(&o.Name, "name", replset.DefaultName, "the set's name")
	fs.DurationVar(&o.ElectionTimeout, "election-timeout", replset.DefaultElectionTimeout, "how long a primary may be silent before it is replaced")
	fs.StringVar(&o.Version, "server-version", replset.DefaultVersion, "the series of server releases to be taken for: "+strings.Join(replset.Versions(), ", "))
	tls := fs.String("tls", "off", "off, on, or mutual: clients must show the set's client certificate too")
	fs.Func("user", "`name:password` of a user that may do everything; may be given more than once. Without any, nobody logs in", func(v string) error {
		name, password, ok := strings.Cut(v, ":")
		if !ok || name == "" || password == "" {
			return errors.New("write name:password")
		}
		o.Users = append(o.Users, replset.User{Name: name, Password: password})
		return nil
	})
	members := func(name, what string, to *map[int]bool) {
		fs.Func(name, "`member` that "+what+"; may be given more than once", func(v string) error {
			i, err := strconv.Atoi(v)
			if err != nil || i < 0 {
				return errors.New("write a member's number, from 0")
			}
			if *to == nil {
				*to = map[int]bool{}
			}
			(*to)[i] = true
			return nil
		})
	}
	members("arbiter", "votes and has no data", &o.Arbiters)
	members("hidden", "clients do not learn of", &o.Hidden)
	fs.DurationVar(&o.InitialSync, "initial-sync", 0, "how long a member that is added takes to copy the data")
	fs.BoolVar(&s.json, "json", false, "print one JSON object a line")
	fs.BoolVar(&s.untilEOF, "until-eof", false, "end when standard input ends, too")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printFlags(fs, replsetHelp(), stdout)
			return s, err
		}
		return s, complain(fs, stderr, err)
	}
	var err error
	switch {
	case fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.Members < 1 || o.Members > replset.MaxVoters:
		err = fmt.Errorf("--members %d must be 1 to %d", o.Members, replset.MaxVoters)
	case o.Name == "":
		err = errors.New("--name is empty; a replica set has one")
	case o.InitialSync < 0:
		err = fmt.Errorf("--initial-sync %v must not be negative", o.InitialSync)
	case o.ElectionTimeout < 10*time.Millisecond:
		err = fmt.Errorf("--election-timeout %v is too short for heartbeats; use 10ms or more", o.ElectionTimeout)
	case !slices.Contains(replset.Versions(), o.Version):
		err = fmt.Errorf("--server-version %q is none; use one of %s", o.Version, strings.Join(replset.Versions(), ", "))
	case *tls == "on":
		o.TLS = replset.TLSServer
	case *tls == "mutual":
		o.TLS = replset.TLSMutual
	case *tls != "off":
		err = fmt.Errorf("--tls %q is none; use one of off, on, mutual", *tls)
	}
	if err != nil {
		return s, complain(fs, stderr, err)
	}
	return s, nil
}

// runReplset is the command replset; it returns the exit status.
func runReplset(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s, err := parseReplsetSettings(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitKept
	case err != nil:
		return exitUsage
	}
	if err := serveReplset(ctx, s, stdin, stdout); err != nil {
		fmt.Fprintln(stderr, "evenkeel replset:", err)
		return exitBroken
	}
	return exitKept
}

// serveReplset runs a set until ctx or the input's commands end it.
func serveReplset(ctx context.Context, s replsetSettings, stdin io.Reader, stdout io.Writer) error {
	set, err := replset.Start(s.options)
	if err != nil {
		return err
	}
	defer set.Stop()
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := set.AwaitSecondaries(starting); err != nil {
		if ctx.Err() != nil {
			return nil // Interrupted before it was ready.
		}
		return err
	}
	keys, err := storeKeys(set)
	if err != nil {
		return err
	}
	defer keys.remove()

	var out replsetReport = replsetLines{stdout}
	if s.json {
		out = replsetJSON{jsonLines{stdout}}
	}
	out.ready(set, keys)
	console := &console{set: set, options: s.options}
	defer console.close()
	// The channel holds nothing: commands are obeyed in their order, and the end of
	// the input is noticed after the last of them.
	lines := make(chan string)
	ended, over := context.WithCancel(ctx)
	defer over()
	go readLines(ended, stdin, lines)
	for {
		select {
		case line, open := <-lines:
			switch {
			case !open && s.untilEOF:
				return nil
			case !open:
				lines = nil
				continue
			case strings.TrimSpace(line) == "":
				continue
			}
			reply := console.obey(ctx, line)
			out.reply(reply)
			if reply.quit {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// readLines hands over the input's lines, and closes the channel when the input ends. It
// cannot be called off while it waits for input.
func readLines(ctx context.Context, from io.Reader, to chan<- string) {
	defer close(to)
	if from == nil {
		return
	}
	scanner := bufio.NewScanner(from)
	for scanner.Scan() {
		select {
		case to <- scanner.Text():
		case <-ctx.Done():
			return
		}
	}
}

// keys are the files that a client needs for TLS; "" for those that it does not.
type keys struct{ dir, authority, client string }

func storeKeys(set *replset.Set) (keys, error) {
	authority, client := set.ClientPEM()
	if authority == nil {
		return keys{}, nil
	}
	dir, err := os.MkdirTemp("", "evenkeel-replset-") // Readable for its owner only.
	if err != nil {
		return keys{}, err
	}
	k := keys{dir: dir, authority: filepath.Join(dir, "ca.pem")}
	err = os.WriteFile(k.authority, authority, 0o600)
	if err == nil && client != nil {
		k.client = filepath.Join(dir, "client.pem")
		err = os.WriteFile(k.client, client, 0o600)
	}
	if err != nil {
		k.remove()
	}
	return k, err
}

func (k keys) remove() {
	if k.dir != "" {
		_ = os.RemoveAll(k.dir)
	}
}

// uri is the set's connection string, with the files.
func (k keys) uri(set *replset.Set) string {
	uri := set.URI()
	if k.authority != "" {
		uri += "&tlsCAFile=" + url.QueryEscape(k.authority)
	}
	if k.client != "" {
		uri += "&tlsCertificateKeyFile=" + url.QueryEscape(k.client)
	}
	return uri
}
