package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/evenkeel/evenkeel/app"
)

const (
	defaultSeconds = 30
	// minSeconds leaves a host that was answered by a stranger the 5 s of right sockets
	// that it must show before it is read from again.
	minSeconds     = 6
	defaultReaders = 64
	defaultWriters = 4
	// maxActors keeps a typing error from asking for a billion of them.
	maxActors = 100_000
)

// settings is what the flags of demo say.
type settings struct {
	uri     string        // "" for the built-in set
	length  time.Duration // 0: until a signal
	readers int
	writers int
	policy  app.Policy
	json    bool
}

const demoUsage = `Usage: evenkeel demo [flags]

Starts a replica set of four members in this process, embeds evenkeel, and plays
a game's load on it: many readers, and a few writers whose saves are acknowledged
and numbered. Meanwhile a stranger answers at one secondary's address, another
one is taken away for maintenance, the third freezes, and the primary steps down.
Each second shows every host; the end says which promises were kept.

With --uri it shows the same table on a real set, without faults. It reads by _id
from the database evenkeel_demo, which need not exist, and writes only where
--writers asks for it, to a collection of its own there that it drops at the end.

Flags:
`

// parseSettings reads the flags of demo. It has told stderr what is wrong when it
// returns an error.
func parseSettings(args []string, stdout, stderr io.Writer) (settings, error) {
	s := settings{}
	fs := flag.NewFlagSet("evenkeel demo", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&s.uri, "uri", "", "connection string of a real replica set; faults are for the built-in one only")
	seconds := fs.Int("seconds", defaultSeconds, "how long to play; the faults keep their proportions. 0 with --uri watches until interrupted")
	fs.IntVar(&s.readers, "readers", defaultReaders, "how many players read")
	fs.IntVar(&s.writers, "writers", defaultWriters, "how many players save; with --uri the default is 0")
	policy := fs.String("policy", app.Adaptive.String(), "how reads are spread: "+strings.Join(policyNames(), ", "))
	fs.BoolVar(&s.json, "json", false, "print one JSON object a line, the last one the verdict")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printFlags(fs, demoUsage, stdout)
			return s, err
		}
		return s, complain(fs, stderr, err)
	}
	if fs.NArg() > 0 {
		return s, complain(fs, stderr, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	s.length = time.Duration(*seconds) * time.Second
	if s.uri != "" && !given["writers"] {
		s.writers = 0
	}
	var err error
	s.policy, err = parsePolicy(*policy)
	switch {
	case err != nil:
	case s.uri == "" && given["uri"]:
		err = errors.New("--uri is empty; write mongodb://host1,host2/?replicaSet=NAME, or leave it away for the built-in set")
	case s.uri == "" && *seconds < minSeconds:
		err = fmt.Errorf("--seconds %d is too short for the faults to be survived in; use %d or more", *seconds, minSeconds)
	case *seconds < 0:
		err = fmt.Errorf("--seconds %d is negative; use 0 to watch until interrupted", *seconds)
	case *seconds > int(24*time.Hour/time.Second):
		err = fmt.Errorf("--seconds %d is more than a day; with --uri, use 0 to watch until interrupted", *seconds)
	case s.readers < 1 || s.readers > maxActors:
		err = fmt.Errorf("--readers %d must be 1 to %d", s.readers, maxActors)
	case s.writers < 0 || s.writers > maxActors:
		err = fmt.Errorf("--writers %d must be 0 to %d", s.writers, maxActors)
	}
	if err != nil {
		return s, complain(fs, stderr, err)
	}
	return s, nil
}

func complain(fs *flag.FlagSet, stderr io.Writer, err error) error {
	fmt.Fprintf(stderr, "%s: %v\n\"%s --help\" lists the flags.\n", fs.Name(), err, fs.Name())
	return err
}

func printFlags(fs *flag.FlagSet, usage string, w io.Writer) {
	fmt.Fprint(w, usage)
	fs.SetOutput(w)
	fs.PrintDefaults()
}

var policies = []app.Policy{app.Adaptive, app.RoundRobin, app.LeastPending, app.Random}

func policyNames() []string {
	var names []string
	for _, p := range policies {
		names = append(names, p.String())
	}
	return names
}

// parsePolicy takes a policy's name in any case, with or without hyphens.
func parsePolicy(name string) (app.Policy, error) {
	for _, p := range policies {
		if strings.EqualFold(strings.ReplaceAll(name, "-", ""), p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("--policy %q is none; use one of %s", name, strings.Join(policyNames(), ", "))
}
