// Command evenkeel shows evenkeel at work.
//
//	go run ./cmd/evenkeel demo                      # a built-in replica set, with faults
//	go run ./cmd/evenkeel demo --uri mongodb://…    # the same table on a real one, without
//	go run ./cmd/evenkeel bench                     # evenkeel against the bare driver
//	go run ./cmd/evenkeel replset                   # the built-in replica set alone, for any client
//
// The demo's exit status is 0 when every promise was kept, 1 when one was broken or the
// demo could not run, and 2 when it was called wrongly. That of bench is 0 when every row
// was measured or skipped, whoever did better, 1 when one could not be, and 2 likewise.
// That of replset is 0 when it was ended, 1 when it could not start, and 2 when it was
// called wrongly.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit statuses.
const (
	exitKept   = 0
	exitBroken = 1
	exitUsage  = 2
)

const usage = `evenkeel keeps reads even across a MongoDB replica set, and writes in order.

Usage:

	evenkeel demo [flags]
	evenkeel bench [flags]
	evenkeel replset [flags]

Commands:

	demo    plays a game's load on a replica set, takes its members away one after
	        the other, and says at the end which promises were kept
	bench   compares evenkeel with the bare driver, and says where it does worse
	replset runs the built-in replica set for other programs, and does to it what
	        lines on standard input say

"evenkeel COMMAND --help" lists a command's flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process as it would any other.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the command; it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	switch args[0] {
	case "demo":
		return runDemo(ctx, args[1:], stdout, stderr)
	case "bench":
		return runBench(ctx, args[1:], stdout, stderr)
	case "replset":
		return runReplset(ctx, args[1:], stdin, stdout, stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return exitKept
	}
	fmt.Fprintf(stderr, "evenkeel: there is no command %q\n\n%s", args[0], usage)
	return exitUsage
}
