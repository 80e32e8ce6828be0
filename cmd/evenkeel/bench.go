package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel/evenkeel/cmd/evenkeel/internal/bench"
	"github.com/evenkeel/evenkeel/replset"
)

const benchUsage = `Usage: evenkeel bench [flags]

Compares evenkeel with the bare official driver, row by row: throughput, latency,
what members that are slow, frozen, gone or back again do to them, and what a request
costs. All rows take about ten minutes; --only a,b takes a part of them, each of
which takes less than 20 s.

Each row is measured in rounds, each of which measures both sides, now one and now the
other first. A ratio is evenkeel's value over the driver's, also for latencies; the
table shows the median of the rounds' ratios, the least and the greatest, and says
where evenkeel does worse. Where a fault is survived, both sides run at the same time
and survive the very same one, in fewer rounds unless --rounds says how many.

The server is the built-in replica set, in a process of its own. With --uri it is a
real one, and rows that need a fault which only the built-in set can have done to it
are skipped, as is said. The documents are in new collections of the database
evenkeel_bench, which are dropped at the end.

Both sides read from secondaries (the primary for want of one), have the same
documents, filters, deadlines and write concern, and check every answer. Evenkeel
has its defaults; where the server has no bulkWrite (before 8.0), its updates want errors
only and no counts (Collection.ErrorsOnly). The driver has what suits it best:
  - a client of its own for all members, with secondaryPreferred;
  - as many connections to a member as evenkeel may open (maxPoolSize %d, which with
    the monitoring ones of both comes to the same), and in rows of throughput the
    best of three pools: that one, one of as many as evenkeel has really open under
    that load, and the driver's default of 100;
  - heartbeats as frequent as evenkeel's, or it would find members that come back
    up to 10 s later;
  - retryable reads and writes.
No side decodes documents.

Flags:
`

// benchSettings is what the flags of bench say.
type benchSettings struct {
	bench.Settings
	list, json bool
}

func parseBenchSettings(args []string, stdout, stderr io.Writer) (benchSettings, error) {
	s := benchSettings{}
	fs := flag.NewFlagSet("evenkeel bench", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&s.URI, "uri", "", "connection string of a real replica set, instead of the built-in one")
	fs.IntVar(&s.Members, "members", bench.DefaultMembers, "how many members the built-in set has")
	fs.StringVar(&s.Version, "server-version", replset.DefaultVersion, "the series of server releases that the built-in set is to be taken for: "+strings.Join(replset.Versions(), ", "))
	only := fs.String("only", "", "the `ids` of the rows to measure, with commas between them")
	fs.IntVar(&s.Rounds, "rounds", 0, fmt.Sprintf("how often each row is measured (default %d, and fewer for faults)", bench.DefaultRounds))
	seconds := fs.Float64("seconds", bench.DefaultLength.Seconds(), "how long one side is measured in one round")
	fs.Float64Var(&s.Rate, "rate", bench.DefaultRate, "how many reads arrive a second where latencies are measured")
	fs.StringVar(&s.Concern, "w", "1", "the write concern of both sides: 1 or majority")
	fs.IntVar(&s.DriverPool, "driver-pool", 0, "the driver's maxPoolSize (default what suits it best)")
	fs.DurationVar(&s.DriverHeartbeat, "driver-heartbeat", bench.DefaultHeartbeat, "the driver's heartbeat interval; its own default is 10s")
	fs.BoolVar(&s.StepDown, "stepdown", false, "with --uri: let the primary step down where a row needs it")
	fs.BoolVar(&s.list, "list", false, "list the ids, with what each measures, and measure nothing")
	fs.BoolVar(&s.json, "json", false, "print one JSON object at the end instead of a table")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printFlags(fs, fmt.Sprintf(benchUsage, bench.EqualPool), stdout)
			return s, err
		}
		return s, complain(fs, stderr, err)
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	s.Length = time.Duration(*seconds * float64(time.Second))
	s.Only = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' || r == ' ' })
	var err error
	switch {
	case fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case s.URI == "" && given["uri"]:
		err = errors.New("--uri is empty; write mongodb://host1,host2/?replicaSet=NAME, or leave it away for the built-in set")
	case s.URI != "" && (given["members"] || given["server-version"]):
		err = errors.New("--members and --server-version are for the built-in set; --uri names another one")
	case s.Members < 3 || s.Members > replset.MaxVoters:
		err = fmt.Errorf("--members %d must be 3 to %d: one that reads can go to while another one is away", s.Members, replset.MaxVoters)
	case !slices.Contains(replset.Versions(), s.Version):
		err = fmt.Errorf("--server-version %q is none; use one of %s", s.Version, strings.Join(replset.Versions(), ", "))
	case given["only"] && len(s.Only) == 0:
		err = errors.New("--only is empty; --list names the rows")
	case given["rounds"] && s.Rounds < 1:
		err = fmt.Errorf("--rounds %d must be 1 or more", s.Rounds)
	case s.Length < time.Millisecond:
		err = fmt.Errorf("--seconds %v is too short to measure anything", *seconds)
	case s.Rate < 1:
		err = fmt.Errorf("--rate %v must be 1 or more", s.Rate)
	case given["driver-pool"] && s.DriverPool < 1:
		err = fmt.Errorf("--driver-pool %d must be 1 or more", s.DriverPool)
	default:
		err = s.Check()
	}
	if err != nil {
		return s, complain(fs, stderr, err)
	}
	return s, nil
}

// runBench is the command bench; it returns the exit status.
func runBench(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parseBenchSettings(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitKept
	case err != nil:
		return exitUsage
	}
	if s.list {
		for _, row := range bench.Rows() {
			fmt.Fprintf(stdout, "%-22s %s\n", row.ID, row.Does)
		}
		return exitKept
	}
	var progress benchProgress = plainProgress{stderr}
	if f, ok := terminal(stderr); ok {
		progress = newLiveProgress(f)
	}
	report, err := bench.Run(ctx, s.Settings, progress.say)
	progress.end()
	if report != nil && (err == nil || len(report.Results) > 0) {
		if s.json {
			jsonLines{stdout}.print(report)
		} else {
			for _, line := range benchTable(report) {
				fmt.Fprintln(stdout, line)
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "evenkeel bench: interrupted; only what was done by then is shown")
		return exitBroken
	case err != nil:
		fmt.Fprintln(stderr, "evenkeel bench:", err)
		return exitBroken
	}
	for _, skipped := range report.Skipped {
		if skipped.Failed {
			return exitBroken
		}
	}
	return exitKept
}
